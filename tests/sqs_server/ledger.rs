//! What clients of a standard queue know of their messages, and what must then be true of each
//! answer, whatever happened to the broker in between. Every bound holds by the clients' own clock:
//! a request that was sent before an answer came cannot have been served after it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};

/// The broker counts in milliseconds and by another clock.
pub const SLACK: Duration = Duration::from_millis(50);

/// What became of a message's delete.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Delete {
    /// Nobody asked.
    #[default]
    No,
    /// Asked for; no answer was seen.
    Asked,
    /// Answered.
    Done,
}

/// What is known of a message.
#[derive(Debug, Default)]
struct Known {
    is_acknowledged: bool,
    not_before: Option<Instant>,
    id: Option<String>,
    receives: u32,
    hidden_until: Option<Instant>,
    /// Somebody gave it back, perhaps by an old handle: it may come at any time.
    is_loose: bool,
    delete: Delete,
    handle: String,
}

/// All messages, by body.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<BTreeMap<String, Known>>);

impl Ledger {
    fn change<T>(&self, body: &str, change: impl FnOnce(&mut Known) -> T) -> T {
        let mut all = self.0.lock().unwrap();
        change(all.entry(body.to_owned()).or_default())
    }

    fn count(&self, is: impl Fn(&Known) -> bool) -> usize {
        self.0
            .lock()
            .unwrap()
            .values()
            .filter(|one| is(one))
            .count()
    }

    /// A send is about to be asked for.
    pub fn sending(&self, body: &str, delay: Duration) {
        self.change(body, |one| one.not_before = Some(Instant::now() + delay));
    }

    /// A send was answered.
    pub fn sent(&self, body: &str, id: Option<&str>) {
        self.change(body, |one| {
            one.is_acknowledged = true;
            assert!(
                one.id.is_none() || one.id.as_deref() == id,
                "{body}: two ids"
            );
            one.id = id.map(ToOwned::to_owned);
        });
    }

    /// A message came, of a receive asked for at `asked` that hides for `visibility`; `false` when
    /// a later receive of it is known already, so that this one says nothing.
    pub fn received(&self, message: &Message, asked: Instant, visibility: Duration) -> bool {
        let now = Instant::now() + SLACK;
        let body = message.body().unwrap();
        let count = receive_count(message);
        self.change(body, |one| {
            let not_before = one
                .not_before
                .unwrap_or_else(|| panic!("{body}: never sent"));
            let id = message.message_id().map(ToOwned::to_owned);
            assert!(one.id.is_none() || one.id == id, "{body} is there twice");
            one.id = id;
            let attribute = message.message_attributes().and_then(|all| all.get("body"));
            let attribute = attribute.and_then(|value| value.string_value());
            assert_eq!(attribute, Some(body), "its attribute is another's");
            assert_ne!(
                count, one.receives,
                "{body}: one receive was delivered twice"
            );
            if count < one.receives {
                return false;
            }
            assert_ne!(
                one.delete,
                Delete::Done,
                "{body} was deleted and came again"
            );
            assert!(now >= not_before, "{body} came before its delay was over");
            let is_early = !one.is_loose && one.hidden_until.is_some_and(|until| now < until);
            assert!(!is_early, "{body} came again while it was hidden");
            one.receives = count;
            one.hidden_until = Some(asked + visibility);
            message
                .receipt_handle()
                .unwrap()
                .clone_into(&mut one.handle);
            true
        })
    }

    /// A message is about to be given back.
    pub fn giving_back(&self, body: &str) {
        self.change(body, |one| one.is_loose = true);
    }

    /// A message was hidden for longer.
    pub fn hidden(&self, body: &str, until: Instant) {
        self.change(body, |one| {
            one.hidden_until = one.hidden_until.max(Some(until));
        });
    }

    /// Deletes are about to be asked for.
    pub fn deleting(&self, body: &str) {
        self.change(body, |one| one.delete = one.delete.max(Delete::Asked));
    }

    /// A delete was answered.
    pub fn deleted(&self, body: &str) {
        self.change(body, |one| one.delete = Delete::Done);
    }

    /// Some messages that are held, with their handles.
    pub fn held(&self, some: usize) -> Vec<(String, String)> {
        let all = self.0.lock().unwrap();
        let held = all.iter().filter(|(_, one)| {
            one.is_acknowledged && one.delete == Delete::No && !one.handle.is_empty()
        });
        held.take(some)
            .map(|(body, one)| (body.clone(), one.handle.clone()))
            .collect()
    }

    /// The fewest and the most messages there can be.
    pub fn bounds(&self) -> (usize, usize) {
        (
            self.count(|one| one.is_acknowledged && one.delete == Delete::No),
            self.count(|one| one.delete != Delete::Done),
        )
    }

    /// Nothing that was acknowledged may be missing once the queue is empty.
    pub fn check_emptied(&self) {
        let all = self.0.lock().unwrap();
        let lost: Vec<_> = all
            .iter()
            .filter(|(_, one)| one.is_acknowledged && one.delete == Delete::No)
            .map(|(body, _)| body)
            .collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
    }

    /// How many sends were answered.
    pub fn acknowledged(&self) -> usize {
        self.count(|one| one.is_acknowledged)
    }
}

/// A received message's receive count.
pub fn receive_count(message: &Message) -> u32 {
    message.attributes().unwrap()[&MessageSystemAttributeName::ApproximateReceiveCount]
        .parse()
        .unwrap()
}
