//! The worker and the embedded broker that a console starts if none is running, and the workers
//! that it starts at the operator's request.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::join_all;
use tokio::process::Child;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::super::child::{ChildError, READY, last_line, make_folder, spawn, terminate};
use super::super::worker::StartArgs;
use crate::cli::output::note;
use crate::config::{Listen, Origin, Settings, state_folder};
use crate::console::Startup;
use crate::domain::{Command as Order, Reply};
use crate::fleet::{client, wait_for_socket};
use crate::protocol::{Request, socket_folder};
use crate::sqs::Broker;

/// The embedded broker's port; `sqs_server` documents it as its default.
const BROKER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9324);

/// A worker that was started here.
struct Started {
    name: String,
    socket: PathBuf,
    worker: Child,
}

impl Started {
    async fn request_end(&self, order: Order) {
        if let Err(problem) = client::call(&self.socket, order).await {
            if self.socket.exists() {
                note!("dagster-taskiq-tui: {problem}");
            }
            // It cannot take commands yet: SIGTERM means the same as a drain.
            terminate(&self.worker);
        }
    }
}

/// Starter of workers, and the processes that a console has started.
pub(super) struct Background<'a> {
    args: &'a StartArgs,
    settings: &'a Settings,
    /// Receiver of the startup state of the console's own pool.
    publish: &'a watch::Sender<Startup>,
    /// Cancelled once the operator has left; nothing is waited for any more.
    left: &'a CancellationToken,
    /// Whether the pool belongs to this console, to be ended with it.
    is_own: bool,
    workers: Vec<Started>,
    broker: Option<Child>,
    /// Whether the embedded broker ran before, so that this console must not end it.
    found_broker: bool,
}

impl<'a> Background<'a> {
    /// Creates a starter that has started nothing yet.
    pub fn new(
        args: &'a StartArgs,
        settings: &'a Settings,
        publish: &'a watch::Sender<Startup>,
        left: &'a CancellationToken,
    ) -> Self {
        Self {
            args,
            settings,
            publish,
            left,
            is_own: false,
            workers: Vec::new(),
            broker: None,
            found_broker: false,
        }
    }

    /// Starts a pool of the console's own.
    pub async fn begin(&mut self) {
        self.is_own = true;
        let _ = self.start().await;
    }

    /// Starts workers at the console's request, until the operator has left.
    pub async fn serve(&mut self, mut incoming: mpsc::Receiver<Request>) {
        loop {
            let request = tokio::select! {
                request = incoming.recv() => request,
                () = self.left.cancelled() => None,
            };
            let Some(Request { reply, .. }) = request else {
                return;
            };
            // The caller may be gone.
            let _ = reply.send(match self.start().await {
                Ok(name) => Reply::Done(format!("worker {name} was started")),
                Err(reason) => Reply::Failed(format!("no worker was started: {reason}")),
            });
        }
    }

    /// Starts a worker; returns its name, or the reason for the failure.
    async fn start(&mut self) -> Result<String, String> {
        let started = self.start_worker().await.map_err(|error| error.to_string());
        if self.is_beginning() {
            self.publish.send_replace(match &started {
                Ok(_) => Startup::Ready,
                Err(reason) => Startup::Failed(reason.clone()),
            });
        }
        started
    }

    /// Starts a worker, and the broker if that is missing, and waits until it is ready, or until
    /// the operator leaves.
    async fn start_worker(&mut self) -> Result<String, ChildError> {
        let folder = state_folder();
        make_folder(&folder)?;
        let embedded = self.settings.queue_url.origin == Origin::Default;
        if embedded && !Broker::connect(self.settings).await.is_embedded() {
            self.working(format!("Starting the embedded broker at {BROKER}"));
            self.broker = Some(start_broker(&folder, self.settings, self.left).await?);
            self.found_broker = false;
        } else if embedded && self.broker.is_none() {
            self.found_broker = true;
        }
        if self.left.is_cancelled() {
            return Err(ChildError::Left);
        }
        self.working(String::from("Starting a worker: it imports Dagster"));
        let mut args = self.args.clone();
        let name = match self.workers.len() {
            0 => format!("console-{}", std::process::id()),
            others => format!("console-{}-{}", std::process::id(), others + 1),
        };
        if !self.is_own || !self.workers.is_empty() {
            // Only one worker can use the address, and an existing one already does.
            args.metrics_listen = Some(Listen::default());
        }
        let runtime_folder = self.args.runtime_dir.clone();
        let socket = socket_folder::socket_path(
            &runtime_folder.unwrap_or_else(socket_folder::folder),
            &name,
        );
        let log = folder.join(format!("{name}.err"));
        let mut words = vec!["worker".into(), "start".into()];
        words.extend(args.to_words(Some(&name), embedded));
        let mut started = Started {
            name: name.clone(),
            socket,
            worker: spawn(&words, &log, "worker")?,
        };
        if self.is_up(&mut started, &log).await {
            self.workers.push(started);
            return Ok(name);
        }
        if self.workers.is_empty()
            && let Some(broker) = self.broker.take()
        {
            // Without its worker the broker is not needed.
            terminate(&broker);
        }
        Err(ChildError::Ended {
            what: "worker",
            reason: last_line(&log),
        })
    }

    /// Whether the console's own pool does not exist yet.
    fn is_beginning(&self) -> bool {
        self.is_own && *self.publish.borrow() != Startup::Ready
    }

    /// Reports the startup state of the console's own pool; later starts have a toast.
    fn working(&self, text: String) {
        if self.is_beginning() {
            self.publish.send_replace(Startup::Working(text));
        }
    }

    /// Waits until the worker greets, or the operator leaves; returns false if it ended instead.
    async fn is_up(&self, started: &mut Started, log: &Path) -> bool {
        loop {
            tokio::select! {
                ready = wait_for_socket(&started.socket, READY) => if ready.is_ok() {
                    return true;
                },
                () = self.left.cancelled() => return true,
                _ = started.worker.wait() => return false,
            }
            // With a large project on a busy machine it may still become ready.
            let (seconds, log) = (READY.as_secs(), log.display());
            let text = format!("The worker is not ready after {seconds} s; see {log}");
            self.working(text);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Carries out the operator's choice. Without a choice (a signal, the terminal is gone, the
    /// console failed) everything keeps running. So do processes that were started beside an
    /// existing pool.
    pub async fn leave(mut self, exit: Option<crate::console::Exit>) {
        use crate::console::Exit;
        if self.workers.is_empty() {
            if let Some(broker) = &self.broker {
                terminate(broker);
            }
            return;
        }
        let order = match exit {
            Some(Exit::Left | Exit::DrainAndLeave) if self.is_own => Order::Drain { within: None },
            Some(Exit::Stop) if self.is_own => Order::Stop,
            _ if self.is_own => {
                note!(
                    "worker and broker run on; `dagster-taskiq-tui` attaches to them again, \
                     `worker stop` and `broker stop` end them"
                );
                return;
            }
            _ => {
                for started in &self.workers {
                    let name = &started.name;
                    note!("worker {name} runs on; `worker stop {name}` ends it");
                }
                return;
            }
        };
        let is_running = |started: &mut Started| !matches!(started.worker.try_wait(), Ok(Some(_)));
        self.workers.retain_mut(is_running);
        if !self.workers.is_empty() && order != Order::Stop {
            note!("the worker finishes what runs; Ctrl-C leaves it to that");
        }
        for started in &self.workers {
            started.request_end(order.clone()).await;
        }
        let all_ended = join_all(self.workers.iter_mut().map(|started| started.worker.wait()));
        let interrupted = tokio::select! {
            _ = all_ended => false,
            () = end_signal() => true,
        };
        if let (false, Some(mut broker)) = (interrupted, self.broker) {
            terminate(&broker);
            let _ = broker.wait().await;
        } else if self.found_broker {
            note!(
                "the broker at {BROKER} ran before and runs on; `dagster-taskiq-tui broker stop` \
                 ends it"
            );
        }
    }
}

/// Waits for Ctrl-C, SIGTERM or SIGHUP: the console has caught them all, so they must be handled
/// here.
async fn end_signal() {
    let arrived = async |kind| match signal(kind) {
        Ok(mut signal) => drop(signal.recv().await),
        // Without a handler the signal ends the process by itself.
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        () = arrived(SignalKind::interrupt()) => {}
        () = arrived(SignalKind::terminate()) => {}
        () = arrived(SignalKind::hangup()) => {}
    }
}

/// Starts the embedded broker and waits until it answers, or the operator leaves.
async fn start_broker(
    folder: &Path,
    settings: &Settings,
    left: &CancellationToken,
) -> Result<Child, ChildError> {
    let log = folder.join("broker.err");
    let data = folder.join("broker").into_os_string();
    let words = ["broker".into(), "serve".into(), "--data-dir".into(), data];
    let mut child = spawn(&words, &log, "broker")?;
    let answers = async {
        while !Broker::connect(settings).await.is_embedded() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ready = tokio::select! {
        ready = tokio::time::timeout(READY, answers) => ready.is_ok(),
        () = left.cancelled() => true,
        _ = child.wait() => {
            return Err(ChildError::Ended { what: "broker", reason: last_line(&log) });
        }
    };
    if ready {
        Ok(child)
    } else {
        Err(ChildError::Late {
            what: "broker",
            log,
        })
    }
}
