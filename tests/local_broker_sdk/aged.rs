//! Rules that take minutes, hours or days, seen over the wire: the broker is started on a folder that
//! was written by an earlier clock, so that little is left to wait for. Each rule's very moment is
//! checked with a clock of the tests' own, in `local_broker_limits.rs` and `local_broker_rules.rs`.

use std::collections::BTreeMap;

use dagster_taskiq_tui::local_broker::engine::wall_clock;
use dagster_taskiq_tui::local_broker::journal::{Durability, Journal};
use dagster_taskiq_tui::local_broker::state::Broker;
use tempfile::TempDir;

use crate::clock::{in_group, message};
use crate::sqs::{LONG, Sqs, bodies, on, refused, wait_for};

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;

/// A folder of a broker, with what `fill` does to it.
pub fn folder(fill: impl FnOnce(&mut Broker)) -> TempDir {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("broker.sqlite");
    let mut journal = Journal::open(&path, Durability::Os).unwrap();
    let mut broker = journal.load().unwrap().broker;
    fill(&mut broker);
    journal.write(broker.take_changes()).unwrap();
    assert!(journal.commit().unwrap());
    folder
}

pub async fn url_of(sqs: &Sqs, name: &str) -> String {
    let found = sqs.client.get_queue_url().queue_name(name).send().await;
    found.unwrap().queue_url.unwrap()
}

fn create(broker: &mut Broker, now: i64, name: &str, attributes: &[(&str, &str)]) {
    let attributes = attributes.iter();
    let attributes = attributes.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let made = broker.create_queue(now, name, attributes.collect(), BTreeMap::new());
    made.unwrap();
}

#[tokio::test]
async fn a_message_is_dropped_when_its_retention_is_over() {
    let now = wall_clock();
    let folder = folder(|broker| {
        create(
            broker,
            now - 9 * MINUTE,
            "q",
            &[("MessageRetentionPeriod", "300")],
        );
        broker.send(now - 5 * MINUTE, "q", message(1)).unwrap();
        broker
            .send(now - 5 * MINUTE + 8 * SECOND, "q", message(2))
            .unwrap();
        broker.send(now, "q", message(3)).unwrap();
        create(broker, now, "default", &[]);
        let days = 24 * 60 * MINUTE;
        broker
            .send(now - 4 * days - SECOND, "default", message(4))
            .unwrap();
        broker
            .send(now - 4 * days + MINUTE, "default", message(5))
            .unwrap();
    });
    let sqs = on(folder);
    let url = url_of(&sqs, "q").await;
    let default = url_of(&sqs, "default").await;
    wait_for("the default of four days is over for one", async || {
        sqs.counts(&default).await == [1, 0, 0]
    })
    .await;
    wait_for("only what was sent last is left", async || {
        sqs.counts(&url).await == [1, 0, 0]
    })
    .await;
    assert_eq!(bodies(&sqs.receive(&url).await), ["3"]);
    assert_eq!(bodies(&sqs.receive(&default).await), ["5"]);
}

#[tokio::test]
async fn a_deduplication_id_may_be_used_again_after_five_minutes() {
    let now = wall_clock();
    let folder = folder(|broker| {
        create(
            broker,
            now - 10 * MINUTE,
            "q.fifo",
            &[("FifoQueue", "true")],
        );
        for (id, age) in [(1, 5 * MINUTE), (2, MINUTE)] {
            broker.send(now - age, "q.fifo", in_group(id, "g")).unwrap();
        }
    });
    let sqs = on(folder);
    let url = url_of(&sqs, "q.fifo").await;
    for id in ["1", "2"] {
        let call = sqs.send(&url, "again").message_group_id("g");
        call.message_deduplication_id(id).send().await.unwrap();
    }
    assert_eq!(bodies(&sqs.receive(&url).await), ["1", "2", "again"]);
}

#[tokio::test]
async fn a_queue_may_be_purged_again_after_60_seconds() {
    let now = wall_clock();
    let folder = folder(|broker| {
        for (name, age) in [("early", MINUTE), ("late", 0)] {
            create(broker, now - 10 * MINUTE, name, &[]);
            broker.purge(now - age, name).unwrap();
        }
    });
    let sqs = on(folder);
    let purge = async |name: &str| {
        let call = sqs.client.purge_queue().queue_url(url_of(&sqs, name).await);
        call.send().await
    };
    purge("early").await.unwrap();
    let code = format!("{LONG}PurgeQueueInProgress");
    refused(purge("late").await, &code, "60 seconds");
}

#[tokio::test]
async fn delays_and_visibility_timeouts_end_twelve_hours_and_fifteen_minutes_later() {
    let now = wall_clock();
    let hours = 12 * 60 * MINUTE;
    let folder = folder(|broker| {
        create(broker, now - 2 * hours, "q", &[]);
        for (id, sent_at) in [
            (1, now - hours + 5 * SECOND),
            (2, now - hours + 10 * MINUTE),
        ] {
            broker.send(sent_at, "q", message(id)).unwrap();
            let held = broker.receive(sent_at, "q", &crate::clock::ask(1, 43_200));
            assert_eq!(held.unwrap().len(), 1);
        }
        for (id, sent_at) in [(3, now - 15 * MINUTE + 5 * SECOND), (4, now)] {
            let mut new = message(id);
            new.delay = Some(900);
            broker.send(sent_at, "q", new).unwrap();
        }
    });
    let sqs = on(folder);
    let url = url_of(&sqs, "q").await;
    wait_for("one of each is over", async || {
        sqs.counts(&url).await == [2, 1, 1]
    })
    .await;
    assert_eq!(bodies(&sqs.receive(&url).await), ["1", "3"]);
}
