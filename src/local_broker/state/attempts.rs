//! Receives that a client may repeat: `ReceiveRequestAttemptId` of FIFO queues. Kept in memory
//! only: after a restart a repeated attempt is a new one, which finds its messages in flight and
//! their groups locked until the visibility timeout ends. That is what happens to a client without
//! attempt ids, and nothing is delivered twice for it.

use std::collections::{HashMap, VecDeque};

use super::message::{Message, Millis, Seq};

const WINDOW: Millis = 5 * 60 * 1_000;

/// A message as a receive left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Its place.
    pub seq: Seq,
    /// Its receive count.
    pub receive: u32,
    /// The end of its visibility timeout; changed when somebody changed it.
    pub due_at: Millis,
}

impl Taken {
    /// What a receive left of this message.
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
pub struct Attempts {
    taken: HashMap<String, Vec<Taken>>,
    expiries: VecDeque<(Millis, String)>,
}

impl Attempts {
    /// What an attempt got, if it is remembered.
    pub fn taken(&mut self, id: &str, now: Millis) -> Option<&[Taken]> {
        while let Some((expires_at, _)) = self.expiries.front()
            && *expires_at <= now
            && let Some((_, expired)) = self.expiries.pop_front()
        {
            self.taken.remove(&expired);
        }
        self.taken.get(id).map(Vec::as_slice)
    }

    /// Remembers what an attempt got: for five minutes from its first use.
    pub fn remember(&mut self, id: String, taken: Vec<Taken>, now: Millis) {
        if self.taken.insert(id.clone(), taken).is_none() {
            self.expiries.push_back((now + WINDOW, id));
        }
    }

    /// Forgets attempts that got this message: their receive was taken back.
    pub fn forget_receives_of(&mut self, seq: Seq) {
        for taken in self.taken.values_mut() {
            if taken.iter().any(|one| one.seq == seq) {
                // Kept without messages, so that its expiry is not counted twice.
                taken.clear();
            }
        }
    }
}
