//! How full the queues are, read at intervals and told as events: by a worker, and by a console that
//! has none.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::broker::{Broker, BrokerError, Queue, QueueSet};
use crate::domain::{
    Event, EventSink, QueueCounts, QueueRole, QueueView, Source, SourceHealth, SourceKind, Trend,
};

/// Counts are a request per queue: every two seconds costs little and looks alive.
pub const COUNTS: Duration = Duration::from_secs(2);

/// How often a worker counts that nobody looks at: often enough for a trend to have no gaps when
/// somebody comes, seldom beside the three long polls a minute that a queue costs anyway.
pub const UNSEEN: Duration = Duration::from_mins(2);

/// How often a worker counts queues that others serve: they are looked at only so that somebody
/// notices when nobody serves them.
pub const RARELY: Duration = Duration::from_secs(20);

/// A broker that has not answered by then is told as down. The client itself is more patient, since
/// what it does for a step must not be given up; counts are asked for again anyway.
const ANSWERS_WITHIN: Duration = Duration::from_secs(8);

/// Why a queue could not be counted.
enum Uncounted {
    /// The broker, or the way to it, refused.
    Refused(String),
    /// No answer came: the other queues would be waited for in vain, too.
    Silence,
}

/// Counts queues, round by round.
#[derive(Debug)]
pub struct Census {
    broker: Broker,
    events: EventSink,
    /// Dead-letter queues by the URL of the queue whose they are.
    pairs: HashMap<String, Pair>,
    /// Queues of others that exist and may be counted, by URL.
    others: BTreeSet<String>,
    /// How often those are counted.
    others_every: Duration,
    others_at: Option<Instant>,
    /// Somebody looked when the present round began. A scrape may be gone before it ends.
    is_watched: bool,
    seen_at: Option<Timestamp>,
}

/// Counts, and the name of the dead-letter queue.
type Counted = Result<(QueueCounts, Option<String>), BrokerError>;

/// A dead-letter queue as a redrive policy names it, and its URL where that could be had.
#[derive(Debug)]
struct Pair {
    name: String,
    url: Option<String>,
}

impl Census {
    /// A census that has not begun; queues of others are counted with the others' when that is
    /// `others_every` ago.
    #[must_use]
    pub fn new(broker: Broker, events: EventSink, others_every: Duration) -> Self {
        Self {
            broker,
            events,
            pairs: HashMap::new(),
            others: BTreeSet::new(),
            others_every,
            others_at: None,
            is_watched: false,
            seen_at: None,
        }
    }

    /// Counts every queue of a set and their dead-letter queues, and says how the broker fares.
    pub async fn take(&mut self, queues: &QueueSet) {
        self.is_watched = self.events.audience().is_present();
        let mut health = SourceHealth::Up;
        for queue in queues.all() {
            match self.count(queue).await {
                Ok(()) => {}
                Err(Uncounted::Refused(reason)) => health = SourceHealth::Down { reason },
                Err(Uncounted::Silence) => return self.tell_of_the_broker(silence()),
            }
        }
        let counted = self.others_at.map(|at| at.elapsed());
        if counted.is_none_or(|ago| ago >= self.others_every) {
            self.others_at = Some(Instant::now());
            for queue in &queues.others {
                if self.count_other(queue).await.is_err() {
                    return self.tell_of_the_broker(silence());
                }
            }
        }
        let dead = self.dead_letter_queues(queues);
        for queue in &dead {
            // One that may not be asked is no reason to call the broker down.
            if let Err(Uncounted::Silence) = self.count(queue).await {
                return self.tell_of_the_broker(silence());
            }
        }
        let others = queues.others.iter();
        let others = others.filter(|queue| self.others.contains(&queue.url));
        let told = queues.all().chain(others).chain(&dead);
        self.events.send(Event::Queues {
            served: queues.all().map(|queue| queue.name.clone()).collect(),
            told: told.map(|queue| queue.url.clone()).collect(),
        });
        self.tell_of_the_broker(health);
    }

    fn tell_of_the_broker(&self, health: SourceHealth) {
        let down = health != SourceHealth::Up;
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

    /// Counts a queue and tells of it.
    async fn count(&mut self, queue: &Arc<Queue>) -> Result<(), Uncounted> {
        let counted = async {
            let counted = self.broker.count(queue).await;
            self.tell(queue, counted).await
        };
        match timeout(ANSWERS_WITHIN, counted).await {
            Ok(None) => Ok(()),
            Ok(Some(reason)) => Err(Uncounted::Refused(reason)),
            Err(_) => Err(Uncounted::Silence),
        }
    }

    /// Counts a queue that this worker does not serve, if it exists and may be asked.
    async fn count_other(&mut self, queue: &Arc<Queue>) -> Result<(), Elapsed> {
        timeout(ANSWERS_WITHIN, async {
            let counted = self.broker.count(queue).await;
            if counted.is_ok() {
                self.others.insert(queue.url.clone());
                let _ = self.tell(queue, counted).await;
            } else {
                self.others.remove(&queue.url);
            }
        })
        .await
    }

    /// Tells what counting a queue gave; says why it gave nothing.
    async fn tell(&mut self, queue: &Queue, counted: Counted) -> Option<String> {
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
            Some(_) if self.is_watched => self.broker.waiting(queue).await,
            _ => None,
        };
        let view = QueueView {
            name: queue.name.clone(),
            url: queue.url.clone(),
            role: queue.role.clone(),
            counts,
            counted_at,
            oldest: waiting.as_ref().and_then(|waiting| waiting.oldest),
            error: error.clone(),
            trend: Trend::default(),
        };
        self.events.send(Event::Queue { queue: view });
        if let Some(waiting) = waiting {
            let (queue, counts) = (queue.name.clone(), waiting.counts);
            self.events.send(Event::Waiting { queue, counts });
        }
        error
    }

    /// Notes which dead-letter queue a queue has now: one may have been given to it since.
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

    /// The dead-letter queues of a set's queues, each once, without those that are in it themselves.
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
