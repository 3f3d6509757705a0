//! The console's own access to the queues while no worker is linked: the operations of `queue …`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OnceCell, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::cli::queue::{operator, start_instance_agent};
use crate::cli::worker::{identity, view};
use crate::config::Settings;
use crate::domain::{Command, EventSink, Reply};
use crate::fleet::DirectQueues;
use crate::protocol::Request;
use crate::queue_ops::queue_depth::{COUNTS, DepthPoller};
use crate::sqs::{Broker, QueueSet};
use crate::worker::status_store::{self, StatusStore, Subscription};

/// Maximum number of waiting commands: more than a user sends before an answer.
const REQUESTS: usize = 16;

/// Starts a direct access to the queues that connects to the broker when it is first needed.
pub(in crate::cli) fn start(settings: &Settings) -> DirectQueues {
    let (requests, incoming) = mpsc::channel(REQUESTS);
    let (demand, demanded) = watch::channel(false);
    let (events, received) = EventSink::channel();
    let store = StatusStore::new(view(&identity(settings), settings));
    let (dropped, audience) = (events.drop_counter(), events.audience());
    let (published, _) = status_store::spawn(store, received, dropped, audience);
    let look = published.look_on();
    let snapshots = look.snapshot.clone();
    let executor = DirectExecutor {
        settings: Arc::new(settings.clone()),
        broker: Arc::new(OnceCell::new()),
    };
    tokio::spawn(executor.clone().count(events, look, demanded));
    tokio::spawn(executor.serve(incoming));
    DirectQueues {
        snapshots,
        requests,
        demand,
    }
}

/// Executor of the commands. Cloning is cheap.
#[derive(Clone)]
struct DirectExecutor {
    settings: Arc<Settings>,
    broker: Arc<OnceCell<Broker>>,
}

impl DirectExecutor {
    async fn broker(&self) -> Broker {
        let connect = || Broker::connect(&self.settings);
        self.broker.get_or_init(connect).await.clone()
    }

    /// Counts the queues while that is requested, until the console is gone.
    async fn count(
        self,
        events: EventSink,
        _look: Subscription,
        mut demanded: watch::Receiver<bool>,
    ) {
        let queues = QueueSet::looked_at(&self.settings);
        let mut ticks = interval(COUNTS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut depths = None;
        while demanded.wait_for(|demanded| *demanded).await.is_ok() {
            ticks.tick().await;
            if depths.is_none() {
                depths = Some(DepthPoller::new(
                    self.broker().await,
                    events.clone(),
                    COUNTS,
                ));
            }
            if let Some(depths) = &mut depths {
                depths.take(&queues).await;
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
                    let executor = self.clone();
                    under_way.spawn(async move {
                        // The caller may be gone.
                        let _ = reply.send(executor.handle(command).await);
                    });
                }
                Some(_) = under_way.join_next() => {}
            }
        }
        while under_way.join_next().await.is_some() {}
    }

    async fn handle(&self, command: Command) -> Reply {
        // Dagster's storage has the pauses, and must have the ends of removed messages' steps, which
        // would wait for them.
        let hosts = if command.is_in_storage() {
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
