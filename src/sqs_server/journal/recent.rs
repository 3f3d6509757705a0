//! Cache of the fixed parts of recently written messages: most are received soon, and need not be
//! read back from the database then.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::sqs_server::state::message::{Payload, Seq};

/// Maximum size of the cached bodies, in bytes.
const ROOM: usize = 4 << 20;

/// The cached messages, oldest first.
#[derive(Debug, Default)]
pub struct Recent {
    payloads: HashMap<Seq, Arc<Payload>>,
    order: VecDeque<(Seq, usize)>,
    bytes: usize,
}

impl Recent {
    /// Adds a message, and evicts the oldest where there is no room.
    pub fn keep(&mut self, seq: Seq, payload: &Arc<Payload>) {
        let bytes = payload.body.len();
        // A message with attributes may be much larger than its body.
        if bytes > ROOM / 8 || payload.extra.is_some() {
            return;
        }
        self.bytes += bytes;
        self.order.push_back((seq, bytes));
        self.payloads.insert(seq, payload.clone());
        while self.bytes > ROOM
            && let Some((oldest, bytes)) = self.order.pop_front()
        {
            self.bytes -= bytes;
            self.payloads.remove(&oldest);
        }
    }

    /// A cached message.
    pub fn get(&self, seq: Seq) -> Option<Arc<Payload>> {
        self.payloads.get(&seq).cloned()
    }

    /// Clears the cache: its messages may not have been written.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_by_its_bytes() {
        let mut recent = Recent::default();
        let payload = Arc::new(Payload {
            message_id: uuid::Uuid::nil(),
            body: "x".repeat(ROOM / 8),
            body_md5: None,
            extra: None,
        });
        for seq in 0..100 {
            recent.keep(seq, &payload);
        }
        let kept: Vec<_> = (0..100).filter(|seq| recent.get(*seq).is_some()).collect();
        assert_eq!(kept, (92..100).collect::<Vec<_>>());
        assert_eq!(recent.order.len(), 8);
        recent.clear();
        assert!(recent.get(99).is_none());
    }
}
