//! Queue depths, read at intervals and published as events: by a worker, and by a console without
//! one.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::domain::{
    Event, EventSink, QueueCounts, QueueRole, QueueView, Source, SourceHealth, SourceKind, Trend,
};
use crate::sqs::{Broker, BrokerError, Queue, QueueSet};

/// Interval of the counts, one request per queue: every two seconds costs little and looks live.
pub const COUNTS: Duration = Duration::from_secs(2);

/// Interval of a worker's counts without viewers: short enough for a trend without gaps when a
/// viewer comes, and rare compared to the three long polls a minute of each queue.
pub const UNSEEN: Duration = Duration::from_mins(2);

/// Interval of a worker's counts of queues that others serve: they are counted only to show that no
/// worker serves them.
pub const FOREIGN_QUEUE_EVERY: Duration = Duration::from_secs(20);

/// Time after which a silent broker is reported as down. The client itself waits longer, because
/// calls for a step must not be given up; counts are repeated anyway.
const ANSWERS_WITHIN: Duration = Duration::from_secs(8);

/// Reason why a queue could not be counted.
enum CountError {
    /// The broker, or the connection to it, refused.
    Refused(String),
    /// No answer came: waiting for the other queues would be useless, too.
    Silence,
}

/// Counts queues, round by round.
#[derive(Debug)]
pub struct DepthPoller {
    broker: Broker,
    events: EventSink,
    /// Dead-letter queues by the URL of their source queue.
    pairs: HashMap<String, Pair>,
    /// Other workers' queues that exist and may be counted, by URL.
    others: BTreeSet<String>,
    /// Interval of the counts of those.
    others_every: Duration,
    others_at: Option<Instant>,
    /// Whether there was a viewer when the current round began. A scrape may be gone before it
    /// ends.
    is_watched: bool,
    is_down: bool,
    seen_at: Option<Timestamp>,
}

/// Counts, and the name of the dead-letter queue.
type CountResult = Result<(QueueCounts, Option<String>), BrokerError>;

/// A dead-letter queue by its name in a redrive policy, with its URL if known.
#[derive(Debug)]
struct Pair {
    name: String,
    url: Option<String>,
}

impl DepthPoller {
    /// Creates a poller that has not begun. Other workers' queues are counted together with the
    /// served ones once `others_every` has passed.
    #[must_use]
    pub fn new(broker: Broker, events: EventSink, others_every: Duration) -> Self {
        Self {
            broker,
            events,
            pairs: HashMap::new(),
            others: BTreeSet::new(),
            others_every,
            others_at: None,
            is_down: false,
            is_watched: false,
            seen_at: None,
        }
    }

    /// Counts every queue of a set and their dead-letter queues, and reports the broker's state.
    pub async fn take(&mut self, queues: &QueueSet) {
        self.is_watched = self.events.audience().is_present();
        let mut health = SourceHealth::Up;
        for queue in queues.all() {
            match self.count(queue).await {
                Ok(()) => {}
                Err(CountError::Refused(reason)) => health = SourceHealth::Down { reason },
                Err(CountError::Silence) => return self.report_broker(silence()),
            }
        }
        let counted = self.others_at.map(|at| at.elapsed());
        if counted.is_none_or(|ago| ago >= self.others_every) {
            self.others_at = Some(Instant::now());
            for queue in &queues.others {
                if self.count_other(queue).await.is_err() {
                    return self.report_broker(silence());
                }
            }
        }
        let dead = self.dead_letter_queues(queues);
        for queue in &dead {
            // A queue that may not be read does not mean that the broker is down.
            if let Err(CountError::Silence) = self.count(queue).await {
                return self.report_broker(silence());
            }
        }
        let others = queues.others.iter();
        let others = others.filter(|queue| self.others.contains(&queue.url));
        let reported = queues.all().chain(others).chain(&dead);
        self.events.send(Event::Queues {
            served: queues.all().map(|queue| queue.name.clone()).collect(),
            reported: reported.map(|queue| queue.url.clone()).collect(),
        });
        self.report_broker(health);
    }

    /// Whether the broker did not answer the last count.
    #[must_use]
    pub fn is_broker_down(&self) -> bool {
        self.is_down
    }

    fn report_broker(&mut self, health: SourceHealth) {
        let down = health != SourceHealth::Up;
        self.is_down = down;
        self.events.send(Event::Source {
            source: Source {
                kind: SourceKind::Broker,
                address: self.broker.endpoint().into_owned(),
                health,
                seen_at: self.seen_at,
                retry_at: down.then(|| Timestamp::now() + COUNTS),
            },
        });
    }

    /// Counts a queue and publishes the result.
    async fn count(&mut self, queue: &Arc<Queue>) -> Result<(), CountError> {
        let counted = async {
            let counted = self.broker.count(queue).await;
            self.report_count(queue, counted).await
        };
        match timeout(ANSWERS_WITHIN, counted).await {
            Ok(None) => Ok(()),
            Ok(Some(reason)) => Err(CountError::Refused(reason)),
            Err(_) => Err(CountError::Silence),
        }
    }

    /// Counts a queue that this worker does not serve, if it exists and may be read.
    async fn count_other(&mut self, queue: &Arc<Queue>) -> Result<(), Elapsed> {
        timeout(ANSWERS_WITHIN, async {
            let counted = self.broker.count(queue).await;
            if counted.is_ok() {
                self.others.insert(queue.url.clone());
                let _ = self.report_count(queue, counted).await;
            } else {
                self.others.remove(&queue.url);
            }
        })
        .await
    }

    /// Publishes the result of a count; returns the error, if any.
    async fn report_count(&mut self, queue: &Queue, counted: CountResult) -> Option<String> {
        let unreachable = matches!(counted, Err(BrokerError::Unreachable { .. }));
        let (counts, error) = match counted {
            Ok((counts, dead)) => {
                self.pair(queue, dead).await;
                (Some(counts), None)
            }
            Err(problem) => (None, Some(problem.to_string())),
        };
        let counted_at = counts.map(|_| Timestamp::now());
        self.seen_at = counted_at.or(self.seen_at);
        let waiting = match counts {
            Some(_) => self.broker.waiting(queue).await,
            None => None,
        };
        let view = QueueView {
            name: queue.name.clone(),
            url: queue.url.clone(),
            role: queue.role.clone(),
            counts,
            counted_at,
            oldest: waiting.as_ref().and_then(|waiting| waiting.oldest),
            error: error.clone(),
            unreachable,
            trend: Trend::default(),
        };
        self.events.send(Event::Queue { queue: view });
        if let Some(waiting) = waiting {
            let (queue, counts) = (queue.name.clone(), waiting.counts);
            self.events.send(Event::Waiting { queue, counts });
        }
        error
    }

    /// Records the current dead-letter queue of a queue, which may have been assigned in the
    /// meantime.
    async fn pair(&mut self, queue: &Queue, dead: Option<String>) {
        let Some(name) = dead else {
            self.pairs.remove(&queue.url);
            return;
        };
        let known = self.pairs.get(&queue.url);
        if known.is_none_or(|pair| pair.name != name) {
            let url = self.broker.url_of_dead_letters(&name).await;
            self.pairs.insert(queue.url.clone(), Pair { name, url });
        }
    }

    /// The dead-letter queues of a set's queues, each once, without those that are part of the set.
    fn dead_letter_queues(&self, queues: &QueueSet) -> Vec<Arc<Queue>> {
        let paired = queues.all().chain(&queues.others);
        let urls: BTreeSet<&String> = paired
            .filter_map(|queue| self.pairs.get(&queue.url)?.url.as_ref())
            .filter(|url| !queues.all().any(|queue| queue.url == **url))
            .collect();
        urls.into_iter()
            .map(|url| Arc::new(Queue::new(url.clone(), QueueRole::DeadLetter, 0)))
            .collect()
    }
}

fn silence() -> SourceHealth {
    SourceHealth::Down {
        reason: format!("no answer within {} s", ANSWERS_WITHIN.as_secs()),
    }
}
