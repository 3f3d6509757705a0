//! Deduplication ids of a FIFO queue: for five minutes after its first use an id answers with the
//! first message, whether that message still exists or not.

use std::collections::{HashMap, VecDeque};

use uuid::Uuid;

use super::message::{Millis, Seq};

/// Time for which an id is remembered.
pub const WINDOW: Millis = 5 * 60 * 1_000;

/// The ids in use.
#[derive(Debug, Default)]
pub struct Dedup {
    first: HashMap<String, First>,
    expiries: VecDeque<(Millis, String)>,
}

/// The message that used an id first.
#[derive(Clone, Copy, Debug)]
struct First {
    message_id: Uuid,
    seq: Seq,
    expires_at: Millis,
}

impl Dedup {
    /// The message that used this id first, in the five minutes before now.
    #[must_use]
    pub fn first_use(&self, now: Millis, key: &str) -> Option<(Uuid, Seq)> {
        let first = self.first.get(key)?;
        (first.expires_at > now).then_some((first.message_id, first.seq))
    }

    /// Remembers an id; calls come in the order of their expiries.
    pub fn remember(&mut self, key: String, expires_at: Millis, message_id: Uuid, seq: Seq) {
        let first = First {
            message_id,
            seq,
            expires_at,
        };
        self.first.insert(key.clone(), first);
        self.expiries.push_back((expires_at, key));
    }

    /// Forgets a recently remembered id.
    pub fn forget(&mut self, key: &str) {
        if self.first.remove(key).is_some()
            && let Some(index) = self.expiries.iter().rposition(|(_, other)| other == key)
        {
            self.expiries.remove(index);
        }
    }

    /// Forgets expired ids; returns whether there were any.
    pub fn expire(&mut self, now: Millis) -> bool {
        let mut any = false;
        while let Some((expires_at, _)) = self.expiries.front()
            && *expires_at <= now
            && let Some((_, key)) = self.expiries.pop_front()
        {
            // The id may have been used again since.
            if self
                .first
                .get(&key)
                .is_some_and(|first| first.expires_at <= now)
            {
                self.first.remove(&key);
            }
            any = true;
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_is_used_anew_before_its_expiry_was_noticed_is_remembered() {
        let mut dedup = Dedup::default();
        let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
        dedup.remember("key".to_owned(), WINDOW, first, 1);
        assert_eq!(dedup.first_use(WINDOW - 1, "key"), Some((first, 1)));
        assert_eq!(dedup.first_use(WINDOW, "key"), None);
        dedup.remember("key".to_owned(), 2 * WINDOW, second, 2);
        assert!(dedup.expire(WINDOW));
        assert_eq!(dedup.first_use(WINDOW, "key"), Some((second, 2)));
    }
}
