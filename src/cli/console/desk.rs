//! The console's own access to the queues while no worker is linked: the operations of `queue …`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OnceCell, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::broker::{Broker, QueueSet};
use crate::cli::queue::{operator, start_instance_agent};
use crate::cli::worker::{identity, view};
use crate::config::Settings;
use crate::control::store::{self, Look, Store};
use crate::control::{Desk, Request};
use crate::domain::{Command, EventSink, Reply};
use crate::worker::census::{COUNTS, Census};

/// Maximum number of waiting commands: more than a user sends before an answer.
const REQUESTS: usize = 16;

/// Starts a desk that connects to the broker when it is first needed.
pub(in crate::cli) fn start(settings: &Settings) -> Desk {
    let (requests, incoming) = mpsc::channel(REQUESTS);
    let (demand, demanded) = watch::channel(false);
    let (events, received) = EventSink::channel();
    let store = Store::new(view(&identity(settings), settings));
    let (dropped, audience) = (events.drop_counter(), events.audience());
    let (published, _) = store::spawn(store, received, dropped, audience);
    let look = published.look_on();
    let snapshots = look.snapshot.clone();
    let clerk = Clerk {
        settings: Arc::new(settings.clone()),
        broker: Arc::new(OnceCell::new()),
    };
    tokio::spawn(clerk.clone().count(events, look, demanded));
    tokio::spawn(clerk.serve(incoming));
    Desk {
        snapshots,
        requests,
        demand,
    }
}

/// Executor of the commands. Cloning is cheap.
#[derive(Clone)]
struct Clerk {
    settings: Arc<Settings>,
    broker: Arc<OnceCell<Broker>>,
}

impl Clerk {
    async fn broker(&self) -> Broker {
        let connect = || Broker::connect(&self.settings);
        self.broker.get_or_init(connect).await.clone()
    }

    /// Counts the queues while that is requested, until the console is gone.
    async fn count(self, events: EventSink, _look: Look, mut demanded: watch::Receiver<bool>) {
        let queues = QueueSet::looked_at(&self.settings);
        let mut ticks = interval(COUNTS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut census = None;
        while demanded.wait_for(|demanded| *demanded).await.is_ok() {
            ticks.tick().await;
            if census.is_none() {
                census = Some(Census::new(self.broker().await, events.clone(), COUNTS));
            }
            if let Some(census) = &mut census {
                census.take(&queues).await;
            }
        }
    }

    /// Carries out commands concurrently, until the console is gone.
    async fn serve(self, mut incoming: mpsc::Receiver<Request>) {
        let mut under_way: JoinSet<()> = JoinSet::new();
        loop {
            tokio::select! {
                request = incoming.recv(), if under_way.len() < REQUESTS => {
                    let Some(Request { command, reply, .. }) = request else { break };
                    let clerk = self.clone();
                    under_way.spawn(async move {
                        // The caller may be gone.
                        let _ = reply.send(clerk.handle(command).await);
                    });
                }
                Some(_) = under_way.join_next() => {}
            }
        }
        while under_way.join_next().await.is_some() {}
    }

    async fn handle(&self, command: Command) -> Reply {
        // Removed messages must be reported to Dagster, or the steps would wait for them.
        let is_reported = command.is_about_storage()
            || matches!(
                command,
                Command::DrainQueue {
                    keep_waiting: false,
                    ..
                } | Command::PurgeQueue {
                    keep_waiting: false,
                    ..
                }
            );
        let hosts = if is_reported {
            match start_instance_agent(&self.settings).await {
                Ok(hosts) => Some(hosts),
                Err(problem) => return Reply::Failed(format!("{}: {problem}", command.verb())),
            }
        } else {
            None
        };
        let operator = operator(&self.settings, self.broker().await, hosts.clone());
        let reply = operator.handle(command).await;
        drop(operator);
        if let Some(hosts) = hosts {
            hosts.shutdown(Duration::ZERO).await;
        }
        reply
    }
}
