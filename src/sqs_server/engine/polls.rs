//! Waiting receives: served in order of arrival, as soon as their queue has a message.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Sender;

use super::actor::Group;
use super::{Delivered, Delivery, EngineRequest, Reply};
use crate::sqs_server::error::{ErrorKind, SqsError};
use crate::sqs_server::state::Broker;
use crate::sqs_server::state::message::Millis;
use crate::sqs_server::state::receiving::ReceiveRequest;

/// A pending receive.
pub struct Poll {
    pub queue: String,
    pub request: ReceiveRequest,
    /// Wait time; the queue's own wait time when absent.
    pub wait: Option<Duration>,
    pub reply: Reply,
    pub orders: Sender<EngineRequest>,
}

impl Poll {
    pub fn refuse(self, error: SqsError) {
        // A client that hung up does not read its answer.
        let _ = self.reply.send(Err(error));
    }

    /// Sends the messages. If the client has gone, dropping the delivery gives them back.
    pub fn deliver(self, messages: Vec<Delivered>) {
        let delivery = Delivery {
            queue: self.queue,
            messages,
            orders: self.orders,
        };
        let _ = self.reply.send(Ok(delivery));
    }
}

#[derive(Default)]
pub struct Polls {
    parked: HashMap<String, VecDeque<(Instant, Poll)>>,
    /// Lower bound of the deadlines of all parked receives.
    next_deadline: Option<Instant>,
    quiet: bool,
    /// Offset of the broker's clock at the last look, in milliseconds.
    ahead: Millis,
}

impl Polls {
    pub fn new(ahead: Millis) -> Self {
        Self {
            ahead,
            ..Self::default()
        }
    }

    /// Ages parked receives with a clock that was moved; returns whether it was.
    pub fn follow(&mut self, ahead: Millis) -> bool {
        let by = u64::try_from(ahead - self.ahead).unwrap_or(0);
        self.ahead = ahead;
        if by == 0 {
            return false;
        }
        let earlier = |at: Instant| at.checked_sub(Duration::from_millis(by)).unwrap_or(at);
        for polls in self.parked.values_mut() {
            for (deadline, _) in polls.iter_mut() {
                *deadline = earlier(*deadline);
            }
        }
        self.next_deadline = self.next_deadline.map(earlier);
        true
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.next_deadline
    }

    /// Serves a new receive, or parks it.
    pub fn take(&mut self, poll: Poll, broker: &mut Broker, now: Millis, group: &mut Group) {
        if poll.reply.is_closed() {
            return;
        }
        let wait = match (poll.wait, broker.queue(&poll.queue)) {
            (_, Err(error)) => return poll.refuse(error),
            (Some(wait), Ok(_)) => wait,
            (None, Ok(queue)) => {
                Duration::from_secs(u64::try_from(queue.settings.wait).unwrap_or(0))
            }
        };
        let may_wait = !wait.is_zero() && !self.quiet;
        if let Some(earlier) = self.parked.get_mut(&poll.queue) {
            // New messages go first to the receives that have waited for them.
            serve_queue(&poll.queue, earlier, broker, now, group);
        }
        match broker.receive(now, &poll.queue, &poll.request) {
            Ok(received) if !received.is_empty() || !may_wait => {
                group.receives.push((poll, received));
            }
            // A long poll waits until there is room in flight; only a short one gets the error.
            Err(error) if error.kind != ErrorKind::OverLimit || !may_wait => poll.refuse(error),
            _ => self.park(poll, Instant::now() + wait),
        }
    }

    /// Serves parked receives whose queue has messages, and ends those whose wait time is over.
    pub fn serve(&mut self, broker: &mut Broker, now: Millis, group: &mut Group) {
        self.parked.retain(|name, polls| {
            serve_queue(name, polls, broker, now, group);
            !polls.is_empty()
        });
        if self.next_deadline.is_some_and(|at| at <= Instant::now()) {
            self.end_overdue(Instant::now(), group);
        }
    }

    /// Ends every parked receive at the next [`Polls::serve`], and parks no more.
    pub fn quiesce(&mut self) {
        self.quiet = true;
        let now = Instant::now();
        for polls in self.parked.values_mut() {
            for (deadline, _) in polls.iter_mut() {
                *deadline = now;
            }
        }
        self.next_deadline = Some(now);
    }

    fn park(&mut self, poll: Poll, deadline: Instant) {
        self.next_deadline = Some(
            self.next_deadline
                .map_or(deadline, |next| next.min(deadline)),
        );
        self.parked
            .entry(poll.queue.clone())
            .or_default()
            .push_back((deadline, poll));
    }

    fn end_overdue(&mut self, now: Instant, group: &mut Group) {
        let mut next: Option<Instant> = None;
        self.parked.retain(|_, polls| {
            for (deadline, poll) in std::mem::take(polls) {
                if deadline <= now {
                    group.receives.push((poll, Vec::new()));
                } else if !poll.reply.is_closed() {
                    next = Some(next.map_or(deadline, |next| next.min(deadline)));
                    polls.push_back((deadline, poll));
                }
            }
            !polls.is_empty()
        });
        self.next_deadline = next;
    }
}

fn serve_queue(
    name: &str,
    polls: &mut VecDeque<(Instant, Poll)>,
    broker: &mut Broker,
    now: Millis,
    group: &mut Group,
) {
    while !polls.is_empty() {
        match broker.queue(name) {
            Ok(queue) if !queue.has_receivable() => return,
            _ => {}
        }
        let Some((deadline, poll)) = polls.pop_front() else {
            return;
        };
        if poll.reply.is_closed() {
            continue;
        }
        match broker.receive(now, name, &poll.request) {
            Ok(received) if received.is_empty() => {
                // Everything receivable was dead-lettered, or a FIFO queue has no room.
                polls.push_front((deadline, poll));
                return;
            }
            Ok(received) => group.receives.push((poll, received)),
            Err(error) if error.kind == ErrorKind::OverLimit => {
                polls.push_front((deadline, poll));
                return;
            }
            Err(error) => poll.refuse(error),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

    use std::collections::BTreeMap;

    use tokio::sync::mpsc;
    use tokio::sync::oneshot::{Receiver, channel};
    use uuid::Uuid;

    use super::*;
    use crate::sqs_server::state::message::NewMessage;

    type Answer = Receiver<Result<Delivery, SqsError>>;

    fn poll(seconds: u64) -> (Poll, Answer) {
        let (reply, answer) = channel();
        let poll = Poll {
            queue: "q".to_owned(),
            request: ReceiveRequest {
                max: 1,
                ..ReceiveRequest::default()
            },
            wait: Some(Duration::from_secs(seconds)),
            reply,
            orders: mpsc::channel(1).0,
        };
        (poll, answer)
    }

    fn send(broker: &mut Broker) {
        let new = NewMessage {
            message_id: Uuid::nil(),
            body: "x".to_owned(),
            body_md5: String::new(),
            size: 1,
            delay: None,
            attributes: Vec::new(),
            trace: None,
            group: None,
            dedup: None,
            priority: 5,
        };
        broker.send(0, "q", new).unwrap();
    }

    #[test]
    fn a_receive_that_comes_with_a_message_does_not_take_it_from_one_that_waits() {
        let mut broker = Broker::default();
        let none = BTreeMap::new();
        broker.create_queue(0, "q", none.clone(), none).unwrap();
        let (mut polls, mut group) = (Polls::default(), Group::default());
        let ((first, _first), (second, _second), (late, _late)) = (poll(20), poll(20), poll(0));
        polls.take(first, &mut broker, 0, &mut group);
        polls.take(second, &mut broker, 0, &mut group);
        assert!(group.receives.is_empty(), "they wait");
        send(&mut broker);
        polls.take(late, &mut broker, 0, &mut group);
        let waits: Vec<_> = group
            .receives
            .iter()
            .map(|(poll, received)| (poll.wait.unwrap().as_secs(), received.len()))
            .collect();
        assert_eq!(waits, [(20, 1), (0, 0)]);
        send(&mut broker);
        polls.serve(&mut broker, 0, &mut group);
        assert_eq!(group.receives[2].1.len(), 1, "the other one that waits");
    }

    #[test]
    fn a_receive_whose_client_hung_up_takes_nothing() {
        let mut broker = Broker::default();
        let none = BTreeMap::new();
        broker.create_queue(0, "q", none.clone(), none).unwrap();
        let (mut polls, mut group) = (Polls::default(), Group::default());
        let ((gone, answer), (there, _there)) = (poll(20), poll(20));
        polls.take(gone, &mut broker, 0, &mut group);
        polls.take(there, &mut broker, 0, &mut group);
        drop(answer);
        send(&mut broker);
        polls.serve(&mut broker, 0, &mut group);
        assert_eq!(group.receives.len(), 1);
        assert!(!group.receives[0].0.reply.is_closed());
    }
}
