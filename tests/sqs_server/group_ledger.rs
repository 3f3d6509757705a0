//! What clients of a FIFO queue know of its groups. Each group's messages are numbered in the order
//! they were sent; the bounds are those of [`super::ledger`].

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use aws_sdk_sqs::types::Message;

use super::ledger::{Delete, SLACK, receive_count};

#[derive(Debug, Default)]
struct Numbered {
    is_acknowledged: bool,
    id: Option<String>,
    receives: u32,
    delete: Delete,
}

#[derive(Debug, Default)]
struct Group {
    messages: BTreeMap<u32, Numbered>,
    /// What is in flight for certain, and until when.
    held: BTreeMap<u32, Instant>,
}

/// All groups, by name.
#[derive(Debug, Default)]
pub struct GroupLedger(Mutex<BTreeMap<String, Group>>);

impl GroupLedger {
    fn change<T>(&self, group: &str, change: impl FnOnce(&mut Group) -> T) -> T {
        let mut all = self.0.lock().unwrap();
        change(all.entry(group.to_owned()).or_default())
    }

    /// A send is about to be asked for, perhaps again.
    pub fn sending(&self, group: &str, number: u32) {
        self.change(group, |group| {
            group.messages.entry(number).or_default();
        });
    }

    /// A send was answered; asked again it must be answered with the same message.
    pub fn sent(&self, group: &str, number: u32, id: Option<&str>) {
        self.change(group, |known| {
            let one = known.messages.entry(number).or_default();
            assert!(
                one.id.is_none() || one.id.as_deref() == id,
                "{group} {number}: a duplicate was not answered with the first message"
            );
            one.id = id.map(ToOwned::to_owned);
            one.is_acknowledged = true;
        });
    }

    /// The first of a group's numbers whose send was not answered.
    pub fn unanswered(&self, group: &str) -> u32 {
        self.change(group, |known| {
            let first = known.messages.iter().find(|(_, one)| !one.is_acknowledged);
            let end = known
                .messages
                .last_key_value()
                .map_or(0, |(last, _)| last + 1);
            first.map_or(end, |(number, _)| *number)
        })
    }

    /// What came of a group by one receive, asked for at `asked` and hidden for `visibility`;
    /// `false` when later receives of it are known already.
    pub fn received(
        &self,
        group: &str,
        batch: &[&Message],
        asked: Instant,
        visibility: Duration,
    ) -> bool {
        let now = Instant::now() + SLACK;
        self.change(group, |known| {
            for message in batch {
                let one = known.messages.get_mut(&number_of(message)).unwrap();
                let id = message.message_id().map(ToOwned::to_owned);
                assert!(
                    one.id.is_none() || one.id == id,
                    "{group} {} is there twice",
                    number_of(message)
                );
                one.id = id;
                if receive_count(message) < one.receives {
                    return false;
                }
            }
            let last = batch.iter().copied().map(number_of).max().unwrap_or(0);
            for (number, until) in known.held.range(..=last) {
                assert!(
                    now >= *until,
                    "{group}: {last} was received while {number} was in flight"
                );
            }
            known.held.retain(|number, _| *number > last);
            let mut next = 0;
            for message in batch {
                let number = number_of(message);
                assert!(number >= next, "{group}: {number} came after {next}");
                let skipped = known.messages.range(next..number);
                for (skipped, one) in skipped {
                    assert_ne!(
                        one.delete,
                        Delete::No,
                        "{group}: {number} came before {skipped}"
                    );
                }
                next = number + 1;
                let one = known.messages.get_mut(&number).unwrap();
                assert_ne!(
                    one.delete,
                    Delete::Done,
                    "{group}: {number} was deleted and came again"
                );
                assert_ne!(
                    receive_count(message),
                    one.receives,
                    "{group}: {number} came twice at once"
                );
                one.receives = receive_count(message);
                known.held.insert(number, asked + visibility);
            }
            true
        })
    }

    /// A delete is about to be asked for.
    pub fn deleting(&self, group: &str, number: u32) {
        self.change(group, |group| {
            group.held.remove(&number);
            let one = group.messages.get_mut(&number).unwrap();
            one.delete = one.delete.max(Delete::Asked);
        });
    }

    /// A delete was answered, or refused because somebody else has the message by now.
    pub fn answered(&self, group: &str, number: u32, is_deleted: bool) {
        self.change(group, |group| {
            let one = group.messages.get_mut(&number).unwrap();
            if is_deleted {
                one.delete = Delete::Done;
            } else if one.delete == Delete::Asked {
                one.delete = Delete::No;
            }
        });
    }

    /// A message is about to be given back.
    pub fn giving_back(&self, group: &str, number: u32) {
        self.change(group, |group| group.held.remove(&number));
    }

    fn count(&self, is: impl Fn(&Numbered) -> bool) -> usize {
        let all = self.0.lock().unwrap();
        let messages = all.values().flat_map(|group| group.messages.values());
        messages.filter(|one| is(one)).count()
    }

    /// How many sends were answered.
    pub fn acknowledged(&self) -> usize {
        self.count(|one| one.is_acknowledged)
    }

    /// How many messages nobody asked to delete.
    pub fn left(&self) -> usize {
        self.count(|one| one.delete == Delete::No)
    }
}

/// The number in a body.
pub fn number_of(message: &Message) -> u32 {
    message.body().unwrap().parse().unwrap()
}
