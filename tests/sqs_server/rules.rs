//! Single rules of the queue state machine under random calls, each against a plain statement of it,
//! with a clock of the tests' own.

use crate::clock;

use std::collections::{BTreeMap, HashMap};

use clock::{ARN, MINUTE, START, ask, broker, in_group, message, receipt};
use dagster_taskiq_tui::sqs_server::receipt::Receipt;
use dagster_taskiq_tui::sqs_server::state::Broker;
use dagster_taskiq_tui::sqs_server::state::message::{NewMessage, Received, Sent, Stage};
use proptest::prelude::*;
use proptest::sample::select;
use uuid::Uuid;

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// An id is a duplicate for five minutes after its first use, whatever becomes of the message.
    #[test]
    fn a_deduplication_id_counts_for_five_minutes(
        per_group in any::<bool>(),
        sends in proptest::collection::vec((0..3_u8, 0..2_u8, 0..4 * MINUTE, any::<bool>()), 1..40),
    ) {
        let scope = if per_group { "messageGroup" } else { "queue" };
        let mut broker = broker(&[("q.fifo", &[("DeduplicationScope", scope)])]);
        let mut first: HashMap<(u8, u8), (i64, Sent)> = HashMap::new();
        let mut now = START;
        for (number, (id, group, pause, take)) in sends.into_iter().enumerate() {
            now += pause;
            broker.tick(now);
            let new = NewMessage { dedup: Some(id.to_string()), ..in_group(number as u128, &group.to_string()) };
            let sent = broker.send(now, "q.fifo", new).unwrap();
            let key = (id, if per_group { group } else { 0 });
            let remembered = first.get(&key).filter(|(since, _)| now < since + 5 * MINUTE);
            if let Some((_, earlier)) = remembered {
                prop_assert_eq!(&sent, earlier, "a duplicate is answered with the first message");
            } else {
                prop_assert_eq!(sent.message_id, Uuid::from_u128(number as u128));
                first.insert(key, (now, sent));
            }
            if take {
                for one in broker.receive(now, "q.fifo", &ask(10, 600)).unwrap() {
                    broker.delete(now, "q.fifo", receipt(&one)).unwrap();
                }
            }
        }
    }

    /// Nothing is received before its delay or visibility timeout is over, and everything is
    /// once it is; receives are counted one by one.
    #[test]
    fn delays_timeouts_and_receive_counts_are_exact(
        queue_delay in 0..5_i64,
        steps in proptest::collection::vec((proptest::option::of(0..9_i64), 0..3_000_i64, 0..6_i64), 1..60),
    ) {
        let delay = queue_delay.to_string();
        let mut broker = broker(&[("q", &[("DelaySeconds", &delay)])]);
        // By message: when it can be received, and how often it was.
        let mut known: BTreeMap<i64, (i64, u32)> = BTreeMap::new();
        let mut now = START;
        for (number, (own_delay, pause, visibility)) in steps.into_iter().enumerate() {
            let new = NewMessage { delay: own_delay, ..message(number as u128) };
            broker.send(now, "q", new).unwrap();
            let places: Vec<_> = broker.queue("q").unwrap().iter().map(|(seq, _)| seq).collect();
            for seq in places {
                let due = now + own_delay.unwrap_or(queue_delay) * 1_000;
                known.entry(seq).or_insert((due, 0));
            }
            now += pause;
            broker.tick(now);
            let expected: Vec<_> = known.iter().filter(|(_, (due, _))| *due <= now).map(|(seq, _)| *seq).take(3).collect();
            let received = broker.receive(now, "q", &ask(3, visibility)).unwrap();
            prop_assert_eq!(received.iter().map(|one| one.seq).collect::<Vec<_>>(), expected);
            for one in received {
                let (due, times) = known.get_mut(&one.seq).unwrap();
                *due = now + visibility * 1_000;
                *times += 1;
                prop_assert_eq!(one.message.receive_count, *times);
            }
        }
    }

    /// A quiet group's messages, and those without a group, come by age before any of a busy one;
    /// among busy groups the one that holds the fewest comes first.
    #[test]
    fn a_standard_queue_is_fair_between_groups(
        steps in proptest::collection::vec((select(vec!["", "a", "b", "c", "d"]), 1..12_u8, 0..4_usize, any::<u8>()), 1..40),
    ) {
        let mut broker = broker(&[("q", &[])]);
        let mut held: Vec<Received> = Vec::new();
        let mut number = 0;
        for (group, sends, max, deletes) in steps {
            for _ in 0..sends {
                number += 1;
                let new = NewMessage { group: (!group.is_empty()).then(|| group.to_owned()), ..message(number) };
                broker.send(START, "q", new).unwrap();
            }
            let expected = fairly(&broker, max);
            let received = broker.receive(START, "q", &ask(max, 600)).unwrap();
            prop_assert_eq!(received.iter().map(|one| one.seq).collect::<Vec<_>>(), expected);
            held.extend(received);
            if deletes % 3 == 0 && !held.is_empty() {
                let one = held.swap_remove(usize::from(deletes) % held.len());
                broker.delete(START, "q", receipt(&one)).unwrap();
            }
        }
    }

    /// The receivable messages of a group are the waiting ones before the first that is in flight or
    /// delayed; the group whose first has been visible for longest comes first.
    #[test]
    fn a_group_is_received_in_order_up_to_the_first_that_is_hidden(
        delay in 0..3_i64,
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let seconds = delay.to_string();
        let mut broker = broker(&[("q.fifo", &[("DelaySeconds", &seconds)])]);
        let mut model = GroupModel::default();
        let mut now = START;
        for (number, step) in steps.into_iter().enumerate() {
            broker.tick(now);
            match step {
                Step::Send { group } => {
                    let new = in_group(number as u128, &group.to_string());
                    broker.send(now, "q.fifo", new).unwrap();
                    model.sent(broker.queue("q.fifo").unwrap().iter().last().unwrap().0, group, now + delay * 1_000);
                }
                Step::Receive { max, visibility } => {
                    let received = broker.receive(now, "q.fifo", &ask(max, visibility)).unwrap();
                    let places: Vec<_> = received.iter().map(|one| one.seq).collect();
                    prop_assert_eq!(places, model.receive(now, max, now + visibility * 1_000));
                    model.receipts.extend(received.iter().map(receipt));
                }
                Step::Delete { which } => if let Some(receipt) = model.receipt(which) {
                    let outcome = broker.delete(now, "q.fifo", receipt).is_ok();
                    prop_assert_eq!(outcome, model.delete(now, receipt));
                },
                Step::Hide { which, seconds } => if let Some(receipt) = model.receipt(which) {
                    let outcome = broker.change_visibility(now, "q.fifo", receipt, seconds).is_ok();
                    prop_assert_eq!(outcome, model.hide(now, receipt, now + seconds * 1_000));
                },
                Step::Pass { millis } => now += millis,
            }
        }
    }

    /// A message that is received too often is in the dead-letter queue, once, with its count;
    /// the others are not there.
    #[test]
    fn a_message_is_dead_lettered_once_with_its_count(
        fifo in any::<bool>(),
        most in 1..4_u32,
        steps in proptest::collection::vec((1..4_usize, 0..3_i64, 0..3_000_i64, any::<bool>()), 1..60),
    ) {
        let (name, dead) = if fifo { ("q.fifo", "dead.fifo") } else { ("q", "dead") };
        let policy = format!("{{\"deadLetterTargetArn\":\"{ARN}{dead}\",\"maxReceiveCount\":{most}}}");
        let mut broker = broker(&[(dead, &[]), (name, &[("RedrivePolicy", &policy)])]);
        let mut now = START;
        let mut deleted = 0;
        for number in 0..8 {
            let new = if fifo { in_group(number, &(number % 3).to_string()) } else { message(number) };
            broker.send(now, name, new).unwrap();
        }
        for (max, visibility, pause, delete) in steps {
            let received = broker.receive(now, name, &ask(max, visibility)).unwrap();
            if delete && let Some(one) = received.first()
                && broker.delete(now, name, receipt(one)).is_ok() {
                deleted += 1;
            }
            now += pause;
            broker.tick(now);
            let here = broker.queue(name).unwrap();
            let there = broker.queue(dead).unwrap();
            prop_assert_eq!(here.iter().count() + there.iter().count() + deleted, 8);
            for (_, message) in there.iter() {
                prop_assert_eq!(message.receive_count, most);
                prop_assert_eq!(message.source.as_deref(), Some(name));
            }
            for (_, message) in here.iter() {
                let is_held = message.stage == Stage::InFlight;
                prop_assert!(message.receive_count < most || (is_held && message.receive_count == most));
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Send { group: u8 },
    Receive { max: usize, visibility: i64 },
    Delete { which: usize },
    Hide { which: usize, seconds: i64 },
    Pass { millis: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..3_u8).prop_map(|group| Step::Send { group }),
        3 => (1..5_usize, 0..9_i64).prop_map(|(max, visibility)| Step::Receive { max, visibility }),
        2 => any::<usize>().prop_map(|which| Step::Delete { which }),
        3 => (any::<usize>(), 0..5_i64).prop_map(|(which, seconds)| Step::Hide { which, seconds }),
        2 => (0..4_000_i64).prop_map(|millis| Step::Pass { millis }),
    ]
}

/// A FIFO queue said the slow way: messages in the order they were sent.
#[derive(Default)]
struct GroupModel {
    messages: Vec<Sequenced>,
    receipts: Vec<Receipt>,
}

struct Sequenced {
    seq: i64,
    group: u8,
    /// Until when it is hidden, and so since when it is visible.
    until: i64,
    receives: u32,
}

impl GroupModel {
    fn sent(&mut self, seq: i64, group: u8, until: i64) {
        self.messages.push(Sequenced {
            seq,
            group,
            until,
            receives: 0,
        });
    }

    fn receive(&mut self, now: i64, max: usize, until: i64) -> Vec<i64> {
        let mut groups: BTreeMap<u8, Vec<&Sequenced>> = BTreeMap::new();
        for one in &self.messages {
            groups.entry(one.group).or_default().push(one);
        }
        let mut receivable: Vec<_> = groups
            .into_values()
            .map(|group| {
                let visible = group.into_iter().take_while(|one| one.until <= now);
                visible.map(|one| (one.until, one.seq)).collect::<Vec<_>>()
            })
            .filter(|group| !group.is_empty())
            .collect();
        receivable.sort();
        let taken: Vec<_> = receivable.into_iter().flatten().take(max).collect();
        let taken: Vec<_> = taken.into_iter().map(|(_, seq)| seq).collect();
        for one in &mut self.messages {
            if taken.contains(&one.seq) {
                one.until = until;
                one.receives += 1;
            }
        }
        taken
    }

    fn receipt(&self, which: usize) -> Option<Receipt> {
        let index = which.checked_rem(self.receipts.len())?;
        Some(self.receipts[index])
    }

    /// The message that is held by a receipt; an error when it is not, nothing when it is gone.
    fn held(&mut self, now: i64, receipt: Receipt) -> Option<Result<&mut Sequenced, ()>> {
        let mut all = self.messages.iter_mut();
        let one = all.find(|one| one.seq == receipt.seq)?;
        let is_held = one.receives == receipt.receive && one.until > now;
        Some(if is_held { Ok(one) } else { Err(()) })
    }

    fn delete(&mut self, now: i64, receipt: Receipt) -> bool {
        match self.held(now, receipt) {
            None => true,
            Some(Err(())) => false,
            Some(Ok(_)) => {
                self.messages.retain(|one| one.seq != receipt.seq);
                true
            }
        }
    }

    fn hide(&mut self, now: i64, receipt: Receipt, until: i64) -> bool {
        match self.held(now, receipt) {
            Some(Ok(one)) => {
                one.until = until;
                true
            }
            _ => false,
        }
    }
}

/// What a fair receive takes, said the slow way.
fn fairly(broker: &Broker, max: usize) -> Vec<i64> {
    let queue = broker.queue("q").unwrap();
    let mut waiting: Vec<(i64, Option<&str>)> = Vec::new();
    let mut holds: HashMap<&str, usize> = HashMap::new();
    let mut in_flight = 0;
    for (seq, message) in queue.iter() {
        let group = message.group.as_deref();
        if message.stage == Stage::Waiting {
            waiting.push((seq, group));
        } else {
            in_flight += 1;
            *holds.entry(group.unwrap_or("")).or_default() += 1;
        }
    }
    let mut taken = Vec::new();
    while taken.len() < max && !waiting.is_empty() {
        let next = waiting.iter().enumerate().min_by_key(|(_, (seq, group))| {
            let held = group.map_or(0, |group| holds.get(group).copied().unwrap_or(0));
            let is_busy = held * 10 > in_flight;
            (is_busy, if is_busy { held } else { 0 }, *seq)
        });
        let (seq, group) = waiting.remove(next.unwrap().0);
        taken.push(seq);
        in_flight += 1;
        *holds.entry(group.unwrap_or("")).or_default() += 1;
    }
    taken
}
