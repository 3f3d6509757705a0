//! Deduplication ids of a FIFO queue: for five minutes after its first use an id answers with the
//! first message, whether that message still exists or not.

use std::collections::{HashMap, VecDeque};

use uuid::Uuid;

use super::message::{Millis, Seq};

/// For how long an id is remembered.
pub const WINDOW: Millis = 5 * 60 * 1_000;

/// The ids in use.
#[derive(Debug, Default)]
pub struct Dedup {
    first: HashMap<String, (Uuid, Seq)>,
    expiries: VecDeque<(Millis, String)>,
}

impl Dedup {
    /// The message that used this id first, if it is still remembered.
    #[must_use]
    pub fn first_use(&self, key: &str) -> Option<(Uuid, Seq)> {
        self.first.get(key).copied()
    }

    /// Remembers an id; calls come in the order of their expiries.
    pub fn remember(&mut self, key: String, expires_at: Millis, message_id: Uuid, seq: Seq) {
        self.first.insert(key.clone(), (message_id, seq));
        self.expiries.push_back((expires_at, key));
    }

    /// Forgets an id that was remembered lately.
    pub fn forget(&mut self, key: &str) {
        if self.first.remove(key).is_some()
            && let Some(index) = self.expiries.iter().rposition(|(_, other)| other == key)
        {
            self.expiries.remove(index);
        }
    }

    /// Forgets what expired; says whether anything did.
    pub fn expire(&mut self, now: Millis) -> bool {
        let mut any = false;
        while let Some((expires_at, _)) = self.expiries.front()
            && *expires_at <= now
            && let Some((_, key)) = self.expiries.pop_front()
        {
            self.first.remove(&key);
            any = true;
        }
        any
    }
}
