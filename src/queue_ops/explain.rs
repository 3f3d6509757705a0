//! Explains why a run or step does not start: adds the queues' messages and this worker's state to
//! the findings from Dagster's storage.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{Ending, OperationError, Operator};
use crate::domain::{Explanation, MessageStage, QueueRole, Reason, they_wait};
use crate::fork_server::ForkServers;
use crate::sqs::{BrokerError, Delivery, Queue, REASON};
use crate::wire::TaskMessage;

/// Time limit for the broker; a user waits for the answer.
const BROKER_TIMEOUT: Duration = Duration::from_secs(8);

/// Maximum number of messages of a queue that are searched.
const LOOKED_THROUGH: usize = 1_000;

/// Position of a message.
enum Place {
    /// The broker shows messages only to those that receive them.
    NotShown,
    /// Not among the searched messages of the queue; `false`: the queue has more.
    Absent { all_seen: bool },
    /// Found, behind this number of receivable messages.
    Found { message: Delivery, before: usize },
}

impl Operator {
    /// Explains why a run or step does not start.
    ///
    /// # Errors
    /// [`OperationError`] if there is no such run or step, or Dagster's storage cannot be read.
    /// Data that the broker does not provide are reported as unknown.
    pub async fn explain(
        &self,
        run_id: &str,
        step_key: Option<&str>,
    ) -> Result<Explanation, OperationError> {
        let mut found = self.hosts()?.explain(run_id, step_key).await?;
        if found.is_in_queue() {
            self.add_queues(&mut found).await;
            self.add_rest(&mut found);
        }
        Ok(found)
    }

    /// Gives back the pool slot of a step that does not need it any more.
    ///
    /// # Errors
    /// [`OperationError`] if the step may need it, or Dagster's storage cannot be read.
    pub async fn free_slot(&self, run_id: &str, step_key: &str) -> Result<String, OperationError> {
        Ok(self.hosts()?.free_slot(run_id, step_key).await?)
    }

    pub(super) fn hosts(&self) -> Result<&ForkServers, OperationError> {
        let hosts = self.ending.as_ref().map(Ending::hosts);
        hosts.ok_or_else(|| OperationError::Refused("no Dagster storage is known here".to_owned()))
    }

    /// Adds the pause of a worker that could not start tasks and takes none for a while.
    fn add_rest(&self, found: &mut Explanation) {
        let now = Instant::now();
        if let Some(until) = self.rests_until.filter(|until| now < *until) {
            let seconds = (until - now).as_secs();
            let text = format!(
                "The worker that answers could not start tasks, and takes none for {seconds} s; its \
                 log says why."
            );
            found.reasons.push(Reason::new("worker_rests", text));
        }
    }

    async fn add_queues(&self, found: &mut Explanation) {
        let Some(name) = found.sent.as_ref().map(|sent| sent.queue.clone()) else {
            return;
        };
        let what = format!("what is in the queue {name}");
        match timeout(BROKER_TIMEOUT, self.look_for(found, &name)).await {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => found.unknown.push(format!("{what}: {problem}")),
            Err(_) => found.unknown.push(format!(
                "{what}: the broker did not answer within {} s",
                BROKER_TIMEOUT.as_secs()
            )),
        }
    }

    async fn look_for(&self, found: &mut Explanation, name: &str) -> Result<(), BrokerError> {
        let queue = self.queue(name).await?;
        let (counts, dead) = self.broker.count(&queue).await?;
        match self.place(found, &queue).await? {
            Place::Found { message, before } => found_in(found, name, &message, before),
            Place::Absent { all_seen: false } => found.unknown.push(format!(
                "where its message is: more than {LOOKED_THROUGH} lie in the queue {name}"
            )),
            Place::Absent { all_seen: true } => {
                self.look_among_the_dead(found, name, dead.as_deref())
                    .await?;
            }
            Place::NotShown => {
                let text = format!(
                    "About {} in the queue {name}, and about {} are in flight.",
                    they_wait(counts.visible, "message"),
                    counts.in_flight
                );
                found.reasons.push(Reason::new("queue_counts", text));
                let mut unknown = String::from("where its message is among them");
                if let Some(dead) = &dead {
                    unknown.push_str(" or in the dead-letter queue ");
                    unknown.push_str(dead);
                }
                unknown.push_str(": SQS shows messages only to those that receive them");
                found.unknown.push(unknown);
            }
        }
        self.add_higher_bands(found, &queue).await;
        Ok(())
    }

    async fn look_among_the_dead(
        &self,
        found: &mut Explanation,
        name: &str,
        dead: Option<&str>,
    ) -> Result<(), BrokerError> {
        if let Some(dead) = dead {
            let queue = self.queue(dead).await?;
            if let Place::Found { message, .. } = self.place(found, &queue).await? {
                let why = message.attributes.get(REASON).map_or_else(
                    || format!("it was received {} times", message.receive_count),
                    |reason| reason.shown().to_owned(),
                );
                let text = format!("Its message is in the dead-letter queue {dead}: {why}.");
                found.put_first(Reason::new("dead_letter", text));
                return Ok(());
            }
        }
        let text = format!(
            "Its message is not in the queue {name} any more: it was removed, or moved to another \
             queue. A sender of ours sends it again after its `resend_after`."
        );
        found.put_first(Reason::new("message_gone", text));
        Ok(())
    }

    /// Finds the newest message of a run or step in a queue.
    async fn place(&self, found: &Explanation, queue: &Arc<Queue>) -> Result<Place, BrokerError> {
        let Some(looked) = self.broker.peek(queue, LOOKED_THROUGH, None).await? else {
            return Ok(Place::NotShown);
        };
        let mut before = 0;
        let mut all_seen = !looked.more;
        for message in looked.messages {
            // Bodies in S3 are not fetched for this.
            all_seen &= !message.offloaded;
            if is_of(found, &message) {
                return Ok(Place::Found { message, before });
            }
            before += usize::from(message.stage == MessageStage::Waiting);
        }
        Ok(Place::Absent { all_seen })
    }

    /// Adds the messages waiting in bands that are received from first.
    async fn add_higher_bands(&self, found: &mut Explanation, own: &Queue) {
        let is_band = |queue: &Queue| matches!(queue.role, QueueRole::Base | QueueRole::Band(_));
        let known: Vec<Arc<Queue>> = self.known.lock().await.values().cloned().collect();
        let Some(own) = known
            .iter()
            .find(|queue| queue.name == own.name && is_band(queue))
        else {
            return;
        };
        let mut bands: Vec<_> = known
            .iter()
            .filter(|queue| is_band(queue) && queue.weight > own.weight)
            .collect();
        bands.sort_by_key(|queue| std::cmp::Reverse(queue.weight));
        for band in bands {
            // A band that does not exist or cannot be counted adds nothing.
            if let Ok(counts) = self.broker.counts(band).await
                && counts.visible > 0
            {
                let text = format!(
                    "About {} in the higher band {}, of which {} are received for {} of this one.",
                    they_wait(counts.visible, "message"),
                    band.name,
                    band.weight,
                    own.weight
                );
                found.reasons.push(Reason::new("higher_band", text));
            }
        }
    }
}

fn is_of(found: &Explanation, message: &Delivery) -> bool {
    TaskMessage::decode(&message.body)
        .is_ok_and(|task| task.run_id == found.run_id && task.step_key == found.step_key)
}

fn found_in(found: &mut Explanation, name: &str, message: &Delivery, before: usize) {
    let times = message.receive_count;
    match message.stage {
        MessageStage::Waiting => {
            let text = match before {
                0 => format!("Its message is the first that waits in the queue {name}."),
                1 => format!("1 message waits in the queue {name} before it."),
                _ => format!("{before} messages wait in the queue {name} before it."),
            };
            found.reasons.push(Reason::new("queue_place", text));
        }
        MessageStage::Delayed => {
            let text = format!("Its message is in the queue {name} with a delay that is not over.");
            found.put_first(Reason::new("delayed", text));
        }
        MessageStage::InFlight => {
            let text = format!(
                "Its message is in flight (received {times} times): a worker holds it, or gave it \
                 back with a pause, or is gone and its lease has not ended."
            );
            found.put_first(Reason::new("in_flight", text));
        }
    }
}
