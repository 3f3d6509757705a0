//! Repeatable receives: `ReceiveRequestAttemptId` of FIFO queues. Kept in memory only. After a
//! restart a repeated attempt is a new one, which finds its messages in flight and their groups
//! locked until the visibility timeout ends. A client without attempt ids sees the same, and
//! nothing is delivered twice because of it.

use std::collections::{HashMap, VecDeque};

use super::message::{Message, Millis, Seq};

const WINDOW: Millis = 5 * 60 * 1_000;

/// A message in its state after a receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Its place.
    pub seq: Seq,
    /// Its receive count.
    pub receive: u32,
    /// The end of its visibility timeout; differs if it was changed since.
    pub due_at: Millis,
}

impl Taken {
    /// Captures the state of a message after a receive.
    #[must_use]
    pub fn of(seq: Seq, message: &Message) -> Self {
        Self {
            seq,
            receive: message.receive_count,
            due_at: message.due_at,
        }
    }
}

/// The attempts of the last five minutes.
#[derive(Debug, Default)]
pub struct ReceiveAttempts {
    taken: HashMap<String, Vec<Taken>>,
    expiries: VecDeque<(Millis, String)>,
}

impl ReceiveAttempts {
    /// The messages that an attempt got, if it is remembered.
    pub fn taken(&mut self, id: &str, now: Millis) -> Option<&[Taken]> {
        while let Some((expires_at, _)) = self.expiries.front()
            && *expires_at <= now
            && let Some((_, expired)) = self.expiries.pop_front()
        {
            self.taken.remove(&expired);
        }
        self.taken.get(id).map(Vec::as_slice)
    }

    /// Remembers the messages of an attempt for five minutes from its first use.
    pub fn remember(&mut self, id: String, taken: Vec<Taken>, now: Millis) {
        if self.taken.insert(id.clone(), taken).is_none() {
            self.expiries.push_back((now + WINDOW, id));
        }
    }

    /// Forgets attempts that got this message, because their receive was taken back.
    pub fn forget_receives_of(&mut self, seq: Seq) {
        for taken in self.taken.values_mut() {
            if taken.iter().any(|one| one.seq == seq) {
                // The attempt stays without messages, so that its expiry is not counted twice.
                taken.clear();
            }
        }
    }
}
