//! Injected faults: failures that a client must survive on AWS and hardly ever sees in a test. They
//! are kept in memory, and come from the configuration file or from [`admin`](super::admin).

mod chance;
mod spec;

use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use serde::Serialize;

use super::error::SqsError;
use super::{account, pattern};
use chance::Chance;
pub use spec::{Effect, Fault};

/// Maximum number of faults; each request is compared with all of them.
const MOST: usize = 100;

/// Combined effect of the faults on a request.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Delay before the request is processed.
    pub delay: Duration,
    /// The request is not processed and gets this error.
    pub error: Option<SqsError>,
    /// Messages it receives stay in the queue as well.
    pub duplicate: bool,
    /// It receives nothing and returns at once.
    pub empty: bool,
    /// It is processed, and the connection is closed without an answer.
    pub lose_answer: bool,
}

#[derive(Debug)]
struct Active {
    id: u64,
    fault: Fault,
    chance: Chance,
    /// Number of requests that matched.
    matched: AtomicU64,
    /// Number of matched requests that were affected.
    injected: AtomicU64,
}

/// A fault in a listing.
#[derive(Debug, Serialize)]
pub struct Shown {
    /// Identifier of the fault.
    pub id: u64,
    /// The fault as it was given.
    #[serde(flatten)]
    pub fault: Fault,
    /// Number of requests that matched.
    pub matched: u64,
    /// Number of matched requests that were affected.
    pub injected: u64,
}

impl Active {
    fn new(id: u64, fault: Fault) -> Self {
        Self {
            id,
            chance: Chance::new(fault.seed),
            fault,
            matched: AtomicU64::new(0),
            injected: AtomicU64::new(0),
        }
    }

    fn shown(&self) -> Shown {
        Shown {
            id: self.id,
            fault: self.fault.clone(),
            matched: self.matched.load(Ordering::Relaxed),
            injected: self.injected.load(Ordering::Relaxed),
        }
    }

    fn is_about(&self, action: &str, queue: Option<&str>) -> bool {
        let Some(pattern) = &self.fault.queue else {
            return self.fault.has_action(action);
        };
        let fits = |key: &str| {
            pattern::fits(pattern, key) || {
                let (account, name) = account::split(key);
                pattern::fits(pattern, name) || pattern::fits(pattern, &format!("{account}/{name}"))
            }
        };
        self.fault.has_action(action) && queue.is_some_and(fits)
    }

    /// Whether the fault affects a request that matches it.
    fn strikes(&self) -> bool {
        self.matched.fetch_add(1, Ordering::Relaxed);
        if !self.chance.is_below(self.fault.share) {
            return false;
        }
        let most = self.fault.count.unwrap_or(u64::MAX);
        let one_more = |injected: u64| (injected < most).then_some(injected + 1);
        self.injected
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .is_ok()
    }
}

/// All active faults.
#[derive(Debug)]
pub struct Faults {
    /// Faults of the configuration file.
    declared: Vec<Fault>,
    active: RwLock<Vec<Active>>,
    /// Number of active faults: with none, a request costs a single load.
    count: AtomicUsize,
    last_id: AtomicU64,
}

impl Faults {
    /// Starts with the faults of the configuration file.
    #[must_use]
    pub fn new(declared: Vec<Fault>) -> Self {
        let faults = Self {
            declared,
            active: RwLock::default(),
            count: AtomicUsize::new(0),
            last_id: AtomicU64::new(0),
        };
        faults.reset();
        faults
    }

    /// Whether there are no faults.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Adds a fault.
    ///
    /// # Errors
    /// The maximum number is reached.
    pub fn add(&self, fault: Fault) -> Result<Shown, String> {
        self.change(|active, id| {
            if active.len() >= MOST {
                return Err(format!("there are {MOST} faults already: remove some"));
            }
            let added = Active::new(id, fault);
            let shown = added.shown();
            active.push(added);
            Ok(shown)
        })
    }

    /// Removes one fault, or all; returns the number removed.
    pub fn remove(&self, id: Option<u64>) -> usize {
        self.change(|active, _| {
            let before = active.len();
            active.retain(|one| id.is_some_and(|id| one.id != id));
            before - active.len()
        })
    }

    /// Restores the faults of the configuration file, with their seeds and counts reset.
    pub fn reset(&self) {
        self.remove(None);
        for fault in &self.declared {
            // The file has few faults, so this cannot fail.
            let _ = self.add(fault.clone());
        }
    }

    /// All faults, with their counts.
    #[must_use]
    pub fn shown(&self) -> Vec<Shown> {
        let active = self.active.read();
        active.map_or_else(
            |_| Vec::new(),
            |active| active.iter().map(Active::shown).collect(),
        )
    }

    /// Determines the effect of the faults on a request. `queue` is the key of its queue.
    #[must_use]
    pub fn judge(&self, action: &str, queue: Option<&str>, strike: &dyn Fn(&Effect)) -> Verdict {
        let mut verdict = Verdict::default();
        let Ok(active) = self.active.read() else {
            return verdict;
        };
        for one in active.iter().filter(|one| one.is_about(action, queue)) {
            if !one.strikes() {
                continue;
            }
            strike(&one.fault.effect);
            match &one.fault.effect {
                Effect::Latency => verdict.delay += one.fault.latency(),
                Effect::Duplicate => verdict.duplicate = true,
                Effect::EmptyReceive => verdict.empty = true,
                Effect::LoseAnswer => verdict.lose_answer = true,
                Effect::Throttle | Effect::Error => {
                    // The request is not processed any further.
                    verdict.error = Some(one.fault.error());
                    return verdict;
                }
            }
        }
        verdict
    }

    fn change<T>(&self, change: impl FnOnce(&mut Vec<Active>, u64) -> T) -> T {
        let mut active = match self.active.write() {
            Ok(active) => active,
            Err(poisoned) => poisoned.into_inner(),
        };
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let outcome = change(&mut active, id);
        self.count.store(active.len(), Ordering::Relaxed);
        outcome
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

    use super::*;

    fn faults(texts: &[&str]) -> Faults {
        let parse = |text: &&str| serde_json::from_str(text).unwrap();
        Faults::new(texts.iter().map(parse).collect())
    }

    fn struck(faults: &Faults, action: &str, queue: &str) -> Vec<bool> {
        let judge = |_| faults.judge(action, Some(queue), &|_| ()) != Verdict::default();
        (0..100).map(judge).collect()
    }

    #[test]
    fn a_seed_makes_the_same_requests_fail() {
        let text = r#"{"kind": "throttle", "share": 0.3, "seed": 7}"#;
        let first = struck(&faults(&[text]), "SendMessage", "q");
        assert_eq!(first, struck(&faults(&[text]), "SendMessage", "q"));
        let hits = first.iter().filter(|hit| **hit).count();
        assert!((15..45).contains(&hits), "{hits} of 100");
        let other = text.replace('7', "8");
        assert_ne!(first, struck(&faults(&[&other]), "SendMessage", "q"));
        let again = faults(&[text]);
        struck(&again, "SendMessage", "q");
        again.reset();
        assert_eq!(first, struck(&again, "SendMessage", "q"));
    }

    #[test]
    fn a_fault_is_about_its_action_and_queue_and_ends_with_its_count() {
        let text = r#"{"kind": "error", "action": ["SendMessage", "SendMessageBatch"],
            "queue": "orders-*", "count": 3}"#;
        let faults = faults(&[text]);
        let hits = |action, queue| {
            let struck = struck(&faults, action, queue);
            struck.into_iter().filter(|hit| *hit).count()
        };
        assert_eq!(hits("ReceiveMessage", "orders-1"), 0);
        assert_eq!(hits("SendMessage", "invoices"), 0);
        assert_eq!(hits("SendMessage", "111111111111/orders-1"), 3);
        assert_eq!(hits("SendMessage", "orders-1"), 0);
        let shown = &faults.shown()[0];
        assert_eq!((shown.matched, shown.injected), (200, 3));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (text, word) in [
            (r#"{"kind": "explode"}"#, "explode"),
            (r#"{"kind": "throttle", "shore": 1}"#, "shore"),
            (r#"{"kind": "throttle", "share": 1.5}"#, "share"),
            (r#"{"kind": "throttle", "action": "Sned"}"#, "Sned"),
            (r#"{"kind": "latency"}"#, "latency_ms"),
            (r#"{"kind": "throttle", "latency_ms": 5}"#, "latency_ms"),
            (
                r#"{"kind": "duplicate", "action": "SendMessage"}"#,
                "ReceiveMessage",
            ),
            (r#"{"kind": "throttle", "code": "X"}"#, "code"),
            (r#"{"kind": "error", "status": 200}"#, "status"),
            (r#"{"kind": "error", "code": "a b"}"#, "code"),
        ] {
            let error = serde_json::from_str::<Fault>(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
