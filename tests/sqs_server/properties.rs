//! The queue state machine under random calls and a clock of its own, against a plain model.

use std::collections::BTreeMap;

use dagster_taskiq_tui::sqs_server::receipt::Receipt;
use dagster_taskiq_tui::sqs_server::state::Broker;
use dagster_taskiq_tui::sqs_server::state::message::{NewMessage, Received, Stage};
use dagster_taskiq_tui::sqs_server::state::receiving::ReceiveRequest;
use proptest::prelude::*;
use uuid::Uuid;

#[derive(Debug, Clone, Copy)]
enum Call {
    Send { group: u8, delay: i64 },
    Receive { max: usize, visibility: i64 },
    Delete { which: usize },
    ChangeVisibility { which: usize, seconds: i64 },
    GiveBack { which: usize },
    Pass { millis: i64 },
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        3 => (0..3_u8, 0..4_i64).prop_map(|(group, delay)| Call::Send { group, delay }),
        4 => (1..5_usize, 0..20_i64)
            .prop_map(|(max, visibility)| Call::Receive { max, visibility }),
        2 => any::<usize>().prop_map(|which| Call::Delete { which }),
        1 => (any::<usize>(), 0..20_i64)
            .prop_map(|(which, seconds)| Call::ChangeVisibility { which, seconds }),
        1 => any::<usize>().prop_map(|which| Call::GiveBack { which }),
        3 => (0..8_000_i64).prop_map(|millis| Call::Pass { millis }),
    ]
}

const START: i64 = 1_000_000_000;
const ARN: &str = "arn:aws:sqs:us-east-1:000000000000:";

/// A broker with a queue and its dead-letter queue, and what a client knows of them.
struct World {
    broker: Broker,
    now: i64,
    fifo: bool,
    queue: &'static str,
    dead: &'static str,
    sent: u128,
    deleted: usize,
    /// Every receive so far, with the time its visibility ends.
    received: Vec<(Received, i64)>,
}

impl World {
    fn new(fifo: bool) -> Self {
        let (queue, dead) = if fifo {
            ("q.fifo", "dead.fifo")
        } else {
            ("q", "dead")
        };
        let mut broker = Broker::default();
        let kind: BTreeMap<_, _> = fifo
            .then_some([("FifoQueue", "true"), ("ContentBasedDeduplication", "true")])
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        broker
            .create_queue(START, dead, kind.clone(), BTreeMap::new())
            .unwrap();
        let mut attributes = kind;
        let policy = format!("{{\"deadLetterTargetArn\":\"{ARN}{dead}\",\"maxReceiveCount\":3}}");
        attributes.insert("RedrivePolicy".to_owned(), policy);
        broker
            .create_queue(START, queue, attributes, BTreeMap::new())
            .unwrap();
        Self {
            broker,
            now: START,
            fifo,
            queue,
            dead,
            sent: 0,
            deleted: 0,
            received: Vec::new(),
        }
    }

    fn apply(&mut self, call: Call) -> Result<(), TestCaseError> {
        match call {
            Call::Send { group, delay } => self.send(group, delay),
            Call::Receive { max, visibility } => self.receive(max, visibility)?,
            Call::Delete { which } => self.delete(which),
            Call::ChangeVisibility { which, seconds } => self.change_visibility(which, seconds),
            Call::GiveBack { which } => self.release(which),
            Call::Pass { millis } => {
                self.now += millis;
                self.broker.tick(self.now);
            }
        }
        self.nothing_is_lost()
    }

    fn send(&mut self, group: u8, delay: i64) {
        self.sent += 1;
        let new = NewMessage {
            message_id: Uuid::from_u128(self.sent),
            body: self.sent.to_string(),
            body_md5: String::new(),
            size: 1,
            delay: (!self.fifo).then_some(delay),
            attributes: Vec::new(),
            trace: None,
            group: self.fifo.then(|| group.to_string()),
            dedup: None,
            priority: i32::from(group),
        };
        self.broker.send(self.now, self.queue, new).unwrap();
    }

    fn receive(&mut self, max: usize, visibility: i64) -> Result<(), TestCaseError> {
        self.broker.tick(self.now);
        let ask = ReceiveRequest {
            max,
            visibility: Some(visibility),
            attempt: None,
            duplicate: false,
        };
        let received = self.broker.receive(self.now, self.queue, &ask).unwrap();
        prop_assert!(received.len() <= max);
        for one in &received {
            let message = &one.message;
            prop_assert!(
                message.receive_count <= 3,
                "received more often than allowed"
            );
            let held = self.received.iter().any(|(earlier, until)| {
                let is_before = earlier.seq < one.seq;
                let same_group = self.fifo && earlier.message.group == message.group;
                *until > self.now && (earlier.seq == one.seq || (same_group && is_before))
            });
            prop_assert!(
                !held,
                "a held message, or one behind a held one of its group, was received"
            );
        }
        if self.fifo {
            let is_sorted = received.iter().enumerate().all(|(index, one)| {
                let after = &received[index + 1..];
                after
                    .iter()
                    .all(|later| later.message.group != one.message.group || later.seq > one.seq)
            });
            prop_assert!(is_sorted, "a group is out of order");
        }
        let until = self.now + visibility * 1_000;
        self.received
            .extend(received.into_iter().map(|one| (one, until)));
        Ok(())
    }

    fn pick(&self, which: usize) -> Option<(usize, Receipt)> {
        let index = which.checked_rem(self.received.len())?;
        let (one, _) = &self.received[index];
        let receive = one.message.receive_count;
        Some((
            index,
            Receipt {
                store: one.store,
                seq: one.seq,
                receive,
            },
        ))
    }

    fn delete(&mut self, which: usize) {
        let Some((_, receipt)) = self.pick(which) else {
            return;
        };
        let before = self.total();
        let outcome = self.broker.delete(self.now, self.queue, receipt);
        if outcome.is_ok() && self.total() < before {
            self.deleted += 1;
            self.forget(receipt);
        }
    }

    fn change_visibility(&mut self, which: usize, seconds: i64) {
        let Some((_, receipt)) = self.pick(which) else {
            return;
        };
        let message = self.broker.queue(self.queue).unwrap().get(receipt.seq);
        let is_held = message
            .is_some_and(|message| message.stage == Stage::InFlight && message.due_at > self.now);
        if !is_held {
            // Refused, or without effect.
            let _ = self
                .broker
                .change_visibility(self.now, self.queue, receipt, seconds);
            return;
        }
        if self
            .broker
            .change_visibility(self.now, self.queue, receipt, seconds)
            .is_ok()
        {
            let until = self.now + seconds * 1_000;
            let same = self
                .received
                .iter_mut()
                .filter(|(one, _)| one.seq == receipt.seq);
            // The last receive is the one that holds it.
            if let Some((_, held_until)) = same.last() {
                *held_until = until;
            }
        }
    }

    fn release(&mut self, which: usize) {
        let Some((index, receipt)) = self.pick(which) else {
            return;
        };
        let before = self.in_flight();
        self.broker.release(self.now, self.queue, &[receipt]);
        if self.in_flight() < before {
            // Nobody got it: the next receive is this one again, with the same receipt.
            self.received.remove(index);
        }
    }

    fn in_flight(&self) -> usize {
        self.broker.queue(self.queue).unwrap().counts().in_flight
    }

    fn forget(&mut self, receipt: Receipt) {
        self.received.retain(|(one, _)| one.seq != receipt.seq);
    }

    fn total(&self) -> usize {
        [self.queue, self.dead]
            .map(|name| {
                let counts = self.broker.queue(name).unwrap().counts();
                counts.waiting + counts.delayed + counts.in_flight
            })
            .iter()
            .sum()
    }

    fn nothing_is_lost(&self) -> Result<(), TestCaseError> {
        let sent = usize::try_from(self.sent).unwrap();
        prop_assert_eq!(
            self.total() + self.deleted,
            sent,
            "a message is lost or doubled"
        );
        for name in [self.queue, self.dead] {
            let queue = self.broker.queue(name).unwrap();
            let by_priority: usize = queue.waiting_by_priority().values().sum();
            prop_assert_eq!(by_priority, queue.counts().waiting);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_queue_loses_doubles_and_reorders_nothing(
        fifo in any::<bool>(),
        calls in proptest::collection::vec(call(), 1..120),
    ) {
        let mut world = World::new(fifo);
        for call in calls {
            world.apply(call)?;
        }
        // Once every hold is over, all that was not deleted can be received or is dead.
        world.now += 60_000;
        world.broker.tick(world.now);
        let counts = world.broker.queue(world.queue).unwrap().counts();
        prop_assert_eq!((counts.delayed, counts.in_flight), (0, 0));
    }
}

#[test]
fn a_standard_queue_refuses_a_receive_beyond_120000_in_flight() {
    let mut world = World::new(false);
    for _ in 0..120_001 {
        world.send(0, 0);
    }
    let ask = ReceiveRequest {
        max: 10,
        visibility: Some(60),
        attempt: None,
        duplicate: false,
    };
    for _ in 0..12_000 {
        world.broker.receive(world.now, world.queue, &ask).unwrap();
    }
    let refused = world
        .broker
        .receive(world.now, world.queue, &ask)
        .unwrap_err();
    assert_eq!(refused.kind.query_code(), "OverLimit");
}

#[test]
fn a_message_past_its_retention_is_gone() {
    let mut world = World::new(false);
    let minute = BTreeMap::from([("MessageRetentionPeriod".to_owned(), "60".to_owned())]);
    world
        .broker
        .set_attributes(world.now, world.queue, minute)
        .unwrap();
    world.send(0, 0);
    world.now += 59_000;
    world.send(0, 0);
    world.broker.tick(world.now);
    assert_eq!(world.total(), 2);
    world.now += 2_000;
    world.broker.tick(world.now);
    assert_eq!(world.total(), 1);
}
