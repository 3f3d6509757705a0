//! Receives that a client may repeat: `ReceiveRequestAttemptId` of FIFO queues. Kept in memory
//! only; after a restart a repeated attempt is a new one.

use std::collections::{HashMap, VecDeque};

use super::message::{Millis, Seq};

const WINDOW: Millis = 5 * 60 * 1_000;

/// The attempts of the last five minutes.
#[derive(Debug, Default)]
pub struct Attempts {
    taken: HashMap<String, Vec<(Seq, u32)>>,
    expiries: VecDeque<(Millis, String)>,
}

impl Attempts {
    /// The messages and receive counts an attempt got, if it is remembered.
    pub fn taken(&mut self, id: &str, now: Millis) -> Option<&[(Seq, u32)]> {
        while let Some((expires_at, _)) = self.expiries.front()
            && *expires_at <= now
            && let Some((_, expired)) = self.expiries.pop_front()
        {
            self.taken.remove(&expired);
        }
        self.taken.get(id).map(Vec::as_slice)
    }

    /// Remembers what an attempt got.
    pub fn remember(&mut self, id: String, taken: Vec<(Seq, u32)>, now: Millis) {
        if self.taken.insert(id.clone(), taken).is_none() {
            self.expiries.push_back((now + WINDOW, id));
        }
    }
}
