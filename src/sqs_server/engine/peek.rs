//! Looking at messages without receiving them: nothing is hidden and no receive is counted.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Engine, EngineRequest};
use crate::sqs_server::error::SqsError;
use crate::sqs_server::journal::Journal;
use crate::sqs_server::state::Broker;
use crate::sqs_server::state::message::{Message, Payload, Seq};

/// Selection of messages to peek at.
#[derive(Debug)]
pub struct PeekRequest {
    /// The queue's name.
    pub queue: String,
    /// Only messages that came after this one.
    pub after: Seq,
    /// Maximum number of messages.
    pub max: usize,
    /// Maximum total size of the bodies in bytes; at least one message is returned.
    pub bytes: usize,
}

/// Messages without receiving them, oldest first.
#[derive(Debug)]
pub struct Peeked {
    /// Each message with its state in memory and its part on disk.
    pub messages: Vec<(Message, Arc<Payload>)>,
    /// Position of the next page, if there are more.
    pub next: Option<Seq>,
}

/// A peek on its way through the engine.
pub struct Peek {
    request: PeekRequest,
    reply: oneshot::Sender<Result<Peeked, SqsError>>,
}

impl Peek {
    /// Answers from the committed state: a message of the same group has no body on disk yet and is
    /// left for the next peek.
    pub fn serve(self, broker: &Broker, journal: &Journal) {
        let found = look(&self.request, broker, journal);
        // A client that hung up does not read its answer.
        let _ = self.reply.send(found);
    }

    /// Answers with an error.
    pub fn refuse(self, error: SqsError) {
        let _ = self.reply.send(Err(error));
    }
}

fn look(request: &PeekRequest, broker: &Broker, journal: &Journal) -> Result<Peeked, SqsError> {
    let queue = broker.queue(&request.queue)?;
    let mut peeked = Peeked {
        messages: Vec::new(),
        next: None,
    };
    let (mut last, mut bytes) = (request.after, 0);
    for (seq, message) in queue.iter_after(request.after) {
        if peeked.messages.len() >= request.max || bytes >= request.bytes {
            peeked.next = Some(last);
            break;
        }
        let payload = journal
            .payload(seq)
            .map_err(|error| SqsError::storage(&error.to_string()))?;
        if let Some(payload) = payload {
            bytes += payload.body.len();
            peeked.messages.push((message.clone(), payload));
        }
        last = seq;
    }
    Ok(peeked)
}

impl Engine {
    /// Looks at messages without receiving them.
    ///
    /// # Errors
    /// There is no such queue, or `ServiceUnavailable`.
    pub async fn peek(&self, request: PeekRequest) -> Result<Peeked, SqsError> {
        let (reply, answer) = oneshot::channel();
        self.give(EngineRequest::Peek(Peek { request, reply }))?;
        answer.await.unwrap_or_else(|_| Err(super::stopped()))
    }
}
