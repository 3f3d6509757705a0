//! What is on disk is what was in memory: random calls, some of which cannot be written and are taken
//! back; at random moments the state is read back and goes on from there. The clock is the test's own.

use crate::clock;

use std::collections::BTreeMap;

use clock::{ARN, MINUTE, START, ask, in_group, message, receipt};
use dagster_taskiq_tui::sqs_server::journal::{Durability, Journal};
use dagster_taskiq_tui::sqs_server::state::Broker;
use dagster_taskiq_tui::sqs_server::state::message::{NewMessage, Received};
use proptest::bool::weighted;
use proptest::prelude::*;
use proptest::sample::select;
use tempfile::TempDir;

/// A standard and a FIFO queue, each with a dead-letter queue.
const QUEUES: [&str; 4] = ["q", "dead", "q.fifo", "dead.fifo"];

#[derive(Debug, Clone, Copy)]
enum Call {
    Send {
        group: u8,
        dedup: u8,
        delay: i64,
    },
    Receive {
        queue: &'static str,
        max: usize,
        visibility: i64,
    },
    Delete {
        which: usize,
    },
    ChangeVisibility {
        which: usize,
        seconds: i64,
    },
    GiveBack {
        which: usize,
    },
    Tag {
        queue: &'static str,
        key: u8,
    },
    SetDelay {
        queue: &'static str,
        seconds: i64,
    },
    Purge {
        queue: &'static str,
    },
    Pass {
        millis: i64,
    },
    Tidy,
    Reload,
}

fn call() -> impl Strategy<Value = Call> {
    let queue = || select(&QUEUES[..]);
    prop_oneof![
        8 => (0..3_u8, any::<u8>(), 0..4_i64)
            .prop_map(|(group, dedup, delay)| Call::Send { group, dedup, delay }),
        8 => (queue(), 1..5_usize, 0..9_i64)
            .prop_map(|(queue, max, visibility)| Call::Receive { queue, max, visibility }),
        4 => any::<usize>().prop_map(|which| Call::Delete { which }),
        2 => (any::<usize>(), 0..9_i64)
            .prop_map(|(which, seconds)| Call::ChangeVisibility { which, seconds }),
        1 => any::<usize>().prop_map(|which| Call::GiveBack { which }),
        1 => (queue(), any::<u8>()).prop_map(|(queue, key)| Call::Tag { queue, key }),
        1 => (queue(), 0..5_i64).prop_map(|(queue, seconds)| Call::SetDelay { queue, seconds }),
        1 => queue().prop_map(|queue| Call::Purge { queue }),
        4 => (0..8_000_i64).prop_map(|millis| Call::Pass { millis }),
        1 => (0..6 * MINUTE).prop_map(|millis| Call::Pass { millis }),
        1 => Just(Call::Tidy),
        3 => Just(Call::Reload),
    ]
}

struct World {
    folder: TempDir,
    journal: Journal,
    broker: Broker,
    now: i64,
    sent: u128,
    received: Vec<(&'static str, Received)>,
}

fn policy(target: &str) -> (String, String) {
    let policy = format!("{{\"deadLetterTargetArn\":\"{ARN}{target}\",\"maxReceiveCount\":2}}");
    ("RedrivePolicy".to_owned(), policy)
}

impl World {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let mut journal = open(&folder);
        let mut broker = journal.load().unwrap().broker;
        let fifo = || ("FifoQueue".to_owned(), "true".to_owned());
        for (name, attributes) in [
            ("dead", vec![]),
            ("q", vec![policy("dead")]),
            ("dead.fifo", vec![fifo()]),
            ("q.fifo", vec![fifo(), policy("dead.fifo")]),
        ] {
            let attributes = attributes.into_iter().collect();
            broker
                .create_queue(START, name, attributes, BTreeMap::new())
                .unwrap();
        }
        let mut world = Self {
            folder,
            journal,
            broker,
            now: START,
            sent: 0,
            received: Vec::new(),
        };
        world.commit();
        world
    }

    /// As the engine does it: time first, then the call, then one commit; or what it does when that
    /// fails.
    fn apply(&mut self, call: Call, fails: bool) -> Result<(), TestCaseError> {
        let received = self.received.len();
        self.call(call)?;
        if !fails {
            self.commit();
            return Ok(());
        }
        // What was received reached nobody.
        self.received.truncate(received);
        let changes = self.broker.take_changes();
        self.journal.write(&changes).unwrap();
        self.journal.roll_back();
        if !self.journal.take_back(&changes, &mut self.broker).unwrap() {
            self.broker = self.journal.load().unwrap().broker;
        }
        self.broker.tick(self.now);
        self.commit();
        self.compare().map(drop)
    }

    fn call(&mut self, call: Call) -> Result<(), TestCaseError> {
        self.broker.tick(self.now);
        let now = self.now;
        match call {
            Call::Send {
                group,
                dedup,
                delay,
            } => self.send(group, dedup, delay),
            Call::Receive {
                queue,
                max,
                visibility,
            } => {
                let received = self
                    .broker
                    .receive(now, queue, &ask(max, visibility))
                    .unwrap();
                self.received
                    .extend(received.into_iter().map(|one| (queue, one)));
            }
            // What is refused changes nothing, which is compared as well.
            Call::Delete { which } => self.with(which, |broker, queue, one| {
                let _ = broker.delete(now, queue, receipt(one));
            }),
            Call::ChangeVisibility { which, seconds } => self.with(which, |broker, queue, one| {
                let _ = broker.change_visibility(now, queue, receipt(one), seconds);
            }),
            Call::GiveBack { which } => self.with(which, |broker, queue, one| {
                broker.release(now, queue, &[receipt(one)]);
            }),
            Call::Tag { queue, key } => {
                let tags = BTreeMap::from([((key % 9).to_string(), now.to_string())]);
                self.broker.tag(queue, tags).unwrap();
            }
            Call::SetDelay { queue, seconds } => {
                let delay = BTreeMap::from([("DelaySeconds".to_owned(), seconds.to_string())]);
                self.broker.set_attributes(now, queue, delay).unwrap();
            }
            Call::Purge { queue } => {
                let _ = self.broker.purge(now, queue);
            }
            Call::Pass { millis } => {
                self.now += millis;
                self.broker.tick(self.now);
            }
            Call::Tidy => {
                self.commit();
                self.journal.tidy().unwrap();
            }
            Call::Reload => {
                self.commit();
                let (journal, broker) = self.compare()?;
                self.journal = journal;
                self.broker = broker;
            }
        }
        Ok(())
    }

    fn send(&mut self, group: u8, dedup: u8, delay: i64) {
        self.sent += 1;
        let priority = i32::from(group);
        let standard = NewMessage {
            delay: Some(delay),
            group: (group > 0).then(|| group.to_string()),
            priority,
            ..message(self.sent)
        };
        self.broker.send(self.now, "q", standard).unwrap();
        self.sent += 1;
        let fifo = NewMessage {
            dedup: Some((dedup % 20).to_string()),
            priority,
            ..in_group(self.sent, &group.to_string())
        };
        self.broker.send(self.now, "q.fifo", fifo).unwrap();
    }

    fn with(&mut self, which: usize, act: impl FnOnce(&mut Broker, &str, &Received)) {
        if let Some(index) = which.checked_rem(self.received.len()) {
            let (queue, one) = &self.received[index];
            act(&mut self.broker, queue, one);
        }
    }

    fn commit(&mut self) {
        self.journal.write(&self.broker.take_changes()).unwrap();
        self.journal.commit().unwrap();
    }

    /// Reads the state back and compares it.
    fn compare(&self) -> Result<(Journal, Broker), TestCaseError> {
        let mut journal = open(&self.folder);
        let mut loaded = journal.load().unwrap().broker;
        // On disk a message whose time is over is still in the stage before.
        loaded.tick(self.now);
        for name in QUEUES {
            let (was, is) = (
                self.broker.queue(name).unwrap(),
                loaded.queue(name).unwrap(),
            );
            // Name, storage id, attributes, tags and times.
            let (record, other) = (was.record(), is.record());
            prop_assert_eq!(format!("{record:?}"), format!("{other:?}"));
            prop_assert_eq!(was.counts(), is.counts());
            prop_assert_eq!(was.waiting_by_priority(), is.waiting_by_priority());
            prop_assert_eq!(was.pick(10), is.pick(10), "{} has another order", name);
            let messages: Vec<_> = was.iter().collect();
            prop_assert_eq!(messages, is.iter().collect::<Vec<_>>());
            for (seq, _) in is.iter() {
                prop_assert!(journal.payload(seq).unwrap().is_some(), "a body is lost");
            }
            for dedup in 0..20 {
                let key = dedup.to_string();
                let [was, is] = [was, is].map(|queue| queue.dedup.first_use(self.now, &key));
                prop_assert_eq!(was, is);
            }
        }
        Ok((journal, loaded))
    }
}

fn open(folder: &TempDir) -> Journal {
    Journal::open(&folder.path().join("broker.sqlite"), Durability::Os).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_read_back_is_what_was_in_memory(
        calls in proptest::collection::vec((call(), weighted(0.2)), 1..150),
    ) {
        let mut world = World::new();
        for (call, fails) in calls {
            world.apply(call, fails)?;
        }
        world.apply(Call::Reload, false)?;
    }
}
