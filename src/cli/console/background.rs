//! The worker and the embedded broker that a console starts where none runs.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Child;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::super::child::{ChildError, READY, last_line, make_folder, spawn, terminate};
use super::super::worker::StartArgs;
use crate::broker::Broker;
use crate::cli::output::note;
use crate::config::{Origin, Settings, state_folder};
use crate::console::Startup;
use crate::control::{client, runtime, wait_for_socket};
use crate::domain::Command as Order;

/// The embedded broker's port; `local_broker` documents it as its default.
const BROKER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9324);

/// What was started.
pub(super) struct Background {
    worker: Child,
    socket: PathBuf,
    broker: Option<Child>,
    /// Whether the embedded broker ran before, and is not this console's to end.
    found_broker: bool,
}

impl Background {
    /// Starts what is missing and waits until it is ready, or until the operator leaves: then what
    /// was started so far is given back, for [`Background::leave`].
    pub async fn start(
        args: &StartArgs,
        settings: &Settings,
        tell: &watch::Sender<Startup>,
        left: &CancellationToken,
    ) -> Result<Option<Self>, ChildError> {
        let folder = state_folder();
        make_folder(&folder)?;
        let embedded = settings.queue_url.origin == Origin::Default;
        let mut broker = None;
        if embedded && !Broker::connect(settings).await.is_embedded() {
            working(tell, format!("Starting the embedded broker at {BROKER}"));
            broker = Some(start_broker(&folder, settings).await?);
        }
        if left.is_cancelled() {
            if let Some(broker) = broker {
                terminate(&broker);
            }
            return Ok(None);
        }
        working(tell, String::from("Starting a worker: it imports Dagster"));
        let name = format!("console-{}", std::process::id());
        let runtime_folder = args.runtime_dir.clone().unwrap_or_else(runtime::folder);
        let socket = runtime::socket_path(&runtime_folder, &name);
        let log = folder.join(format!("{name}.err"));
        let mut words = vec!["worker".into(), "start".into()];
        words.extend(args.to_words(Some(&name), embedded));
        let worker = spawn(&words, &log, "worker")?;
        let mut started = Self {
            worker,
            socket,
            found_broker: embedded && broker.is_none(),
            broker,
        };
        if started.is_up(&log, tell, left).await {
            return Ok(Some(started));
        }
        // Without its worker nobody asked for the broker.
        if let Some(broker) = &started.broker {
            terminate(broker);
        }
        Err(ChildError::Ended {
            what: "worker",
            reason: last_line(&log),
        })
    }

    /// Waits until the worker greets, or the operator leaves; false if it ended instead.
    async fn is_up(
        &mut self,
        log: &Path,
        tell: &watch::Sender<Startup>,
        left: &CancellationToken,
    ) -> bool {
        loop {
            tokio::select! {
                ready = wait_for_socket(&self.socket, READY) => if ready.is_ok() {
                    return true;
                },
                () = left.cancelled() => return true,
                _ = self.worker.wait() => return false,
            }
            // A large project on a busy machine: it may still come.
            let (seconds, log) = (READY.as_secs(), log.display());
            working(
                tell,
                format!("The worker is not ready after {seconds} s; see {log}"),
            );
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn tell_to_end(&self, order: Order) {
        if let Err(problem) = client::call(&self.socket, order).await {
            if self.socket.exists() {
                note!("dagster-taskiq-tui: {problem}");
            }
            // Not ready to be told yet: SIGTERM means the same as a drain.
            terminate(&self.worker);
        }
    }

    /// Does what the operator chose; without a choice (the terminal is gone, the console failed)
    /// everything runs on.
    pub async fn leave(mut self, exit: Option<crate::console::Exit>) {
        use crate::console::Exit;
        let order = match exit {
            Some(Exit::Left | Exit::DrainAndLeave) => Order::Drain { within: None },
            Some(Exit::Stop | Exit::Terminated) => Order::Stop,
            Some(Exit::LeaveRunning | Exit::HungUp) | None => {
                note!(
                    "worker and broker run on; `dagster-taskiq-tui` attaches to them again, \
                     `worker stop` and `broker stop` end them"
                );
                return;
            }
        };
        let is_over = matches!(self.worker.try_wait(), Ok(Some(_)));
        if !is_over {
            if order != Order::Stop {
                note!("the worker finishes what runs; Ctrl-C leaves it to that");
            }
            self.tell_to_end(order).await;
        }
        let interrupted = tokio::select! {
            _ = self.worker.wait() => false,
            _ = tokio::signal::ctrl_c() => true,
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

fn working(tell: &watch::Sender<Startup>, text: String) {
    tell.send_replace(Startup::Working(text));
}

async fn start_broker(folder: &Path, settings: &Settings) -> Result<Child, ChildError> {
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
