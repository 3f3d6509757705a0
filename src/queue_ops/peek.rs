//! Shows messages, with secrets redacted.

use std::sync::Arc;

use jiff::Timestamp;

use super::{OperationError, Operator};
use crate::domain::{Envelope, MAX_PEEKED, MAX_PEEKED_BYTES, Peek, PeekedMessage};
use crate::sqs::{Delivery, Queue, REASON, SOURCE_QUEUE};
use crate::wire::TaskMessage;
use crate::wire::redact::{redact, redact_text};

impl Operator {
    /// Shows up to `limit` messages of a queue. If the broker cannot show them in place, they are
    /// received and given back, provided that `receive` allows it.
    ///
    /// # Errors
    /// [`OperationError`]
    pub async fn peek(
        &self,
        queue: &Arc<Queue>,
        limit: usize,
        only: Option<&str>,
        receive: bool,
    ) -> Result<Peek, OperationError> {
        let limit = limit.clamp(1, MAX_PEEKED);
        let looked = match self.broker.peek(queue, limit, only).await? {
            Some(looked) => looked,
            None if receive => self.broker.peek_by_receiving(queue, limit, only).await?,
            None => {
                let queue = queue.name.clone();
                return Err(OperationError::OnlyByReceiving { queue });
            }
        };
        let mut room = MAX_PEEKED_BYTES;
        let mut messages = Vec::with_capacity(looked.messages.len());
        for delivery in &looked.messages {
            messages.push(self.shown(delivery, &mut room).await);
        }
        Ok(Peek {
            queue: queue.name.clone(),
            at: Timestamp::now(),
            messages,
            received: looked.received,
            more: looked.more,
        })
    }

    async fn shown(&self, delivery: &Delivery, room: &mut usize) -> PeekedMessage {
        let text = self.broker.text(delivery).await;
        let text = text.map_err(|problem| problem.to_string());
        let decoded = text
            .as_deref()
            .map_err(Clone::clone)
            .and_then(|text| TaskMessage::decode(text).map_err(|problem| problem.to_string()));
        let (envelope, problem) = match decoded {
            Ok(message) => (Some(envelope(message)), None),
            Err(problem) => (None, Some(redact_text(&problem).into_owned())),
        };
        let text = text.as_deref().unwrap_or(&delivery.body);
        let body = redact(text);
        let body = (body.len() <= *room).then(|| {
            *room -= body.len();
            body
        });
        let attribute =
            |name: &str| Some(redact_text(delivery.attributes.get(name)?.shown()).into_owned());
        let others = delivery
            .attributes
            .iter()
            .filter(|(name, _)| ![REASON, SOURCE_QUEUE].contains(&name.as_str()));
        PeekedMessage {
            queue: delivery.queue.name.clone(),
            message_id: delivery.message_id.clone(),
            stage: delivery.stage,
            body,
            body_bytes: text.len(),
            offloaded: delivery.offloaded,
            receive_count: delivery.receive_count,
            sent_at: delivery.sent_at,
            group: delivery.group.clone(),
            reason: attribute(REASON),
            source: delivery.source.clone(),
            attributes: others
                .map(|(name, value)| (name.clone(), redact_text(value.shown()).into_owned()))
                .collect(),
            envelope,
            problem,
        }
    }
}

fn envelope(message: TaskMessage) -> Envelope {
    Envelope {
        task_id: message.task_id,
        kind: message.kind,
        run_id: message.run_id,
        step_key: message.step_key,
        job: message.job,
        priority: message.priority,
        attempt: message.attempt,
    }
}
