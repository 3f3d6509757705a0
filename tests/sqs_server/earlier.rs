//! Folders as a broker left them minutes, hours or days ago, so that rules that take so long are seen
//! over the wire with little left to wait for.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::collections::BTreeMap;

use dagster_taskiq_tui::sqs_server::engine::wall_clock;
use dagster_taskiq_tui::sqs_server::journal::{Durability, Journal};
use dagster_taskiq_tui::sqs_server::state::Broker;
use tempfile::TempDir;

use crate::clock::{ask, in_group, message};

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// The most messages a standard queue may have in flight.
pub const LIMIT: usize = 120_000;
/// How many of them [`full`] leaves out, and how many messages wait beside them.
pub const ROOM: usize = 12;
pub const WAITING: usize = 15;

/// A folder in which these happened; each is told what time it is now.
pub fn folder(happened: &[fn(&mut Broker, i64)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("broker.sqlite");
    let mut journal = Journal::open(&path, Durability::Os).unwrap();
    let mut broker = journal.load().unwrap().broker;
    let now = wall_clock();
    for one in happened {
        one(&mut broker, now);
    }
    journal.write(&broker.take_changes()).unwrap();
    assert!(journal.commit().unwrap());
    folder
}

/// `short` keeps messages for five minutes: the retention of 1 is over, that of 2 soon will be, 3 is
/// new. `long` keeps them for the default of four days: 4 is past that, 5 is not.
pub fn sent(broker: &mut Broker, now: i64) {
    let short = [("MessageRetentionPeriod", "300")];
    create(broker, now - HOUR, "short", &short);
    create(broker, now - 5 * DAY, "long", &[]);
    for (id, queue, at) in [
        (1, "short", now - 5 * MINUTE),
        (2, "short", now - 5 * MINUTE + 8 * SECOND),
        (3, "short", now),
        (4, "long", now - 4 * DAY - SECOND),
        (5, "long", now - 4 * DAY + HOUR),
    ] {
        broker.send(at, queue, message(id)).unwrap();
    }
}

/// `ids.fifo` has messages of one group whose deduplication ids were used five minutes ago (1) and
/// one minute ago (2).
pub fn deduplicated(broker: &mut Broker, now: i64) {
    create(broker, now - HOUR, "ids.fifo", &[("FifoQueue", "true")]);
    for (id, age) in [(1, 5 * MINUTE), (2, MINUTE)] {
        broker
            .send(now - age, "ids.fifo", in_group(id, "g"))
            .unwrap();
    }
}

/// `purged-before` was purged a minute ago, `purged-now` just now.
pub fn purged(broker: &mut Broker, now: i64) {
    for (name, age) in [("purged-before", MINUTE), ("purged-now", 0)] {
        create(broker, now - HOUR, name, &[]);
        broker.purge(now - age, name).unwrap();
    }
}

/// In `hidden`, 1 and 2 were received for twelve hours, 3 and 4 sent with a delay of 15 minutes;
/// that of 1 and of 3 is soon over.
pub fn hidden(broker: &mut Broker, now: i64) {
    create(broker, now - DAY, "hidden", &[]);
    for (id, at) in [(1, now - 12 * HOUR + 5 * SECOND), (2, now - 11 * HOUR)] {
        broker.send(at, "hidden", message(id)).unwrap();
        let held = broker.receive(at, "hidden", &ask(1, 43_200)).unwrap();
        assert_eq!(held.len(), 1);
    }
    for (id, at) in [(3, now - 15 * MINUTE + 5 * SECOND), (4, now)] {
        let mut new = message(id);
        new.delay = Some(900);
        broker.send(at, "hidden", new).unwrap();
    }
}

/// `full` has nearly as many messages in flight as it may.
pub fn full(broker: &mut Broker, now: i64) {
    create(broker, now, "full", &[]);
    let most = LIMIT - ROOM;
    for number in 0..most + WAITING {
        broker.send(now, "full", message(number as u128)).unwrap();
    }
    let mut held = 0;
    while held < most {
        let ask = ask((most - held).min(10), 43_200);
        held += broker.receive(now, "full", &ask).unwrap().len();
    }
}

fn create(broker: &mut Broker, at: i64, name: &str, attributes: &[(&str, &str)]) {
    let attributes = attributes.iter();
    let attributes = attributes.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    broker
        .create_queue(at, name, attributes.collect(), BTreeMap::new())
        .unwrap();
}
