//! The worker and the embedded broker that a console starts where none runs.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use thiserror::Error;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::super::worker::StartArgs;
use crate::broker::Broker;
use crate::config::{Origin, Settings, state_folder};
use crate::console::Startup;
use crate::control::{client, runtime, wait_for_socket};
use crate::domain::Command as Order;

/// Importing Dagster takes seconds on a busy machine.
const READY: Duration = Duration::from_mins(1);

/// The embedded broker's port; `local_broker` documents it as its default.
const BROKER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9324);

/// Why the background processes did not start.
#[derive(Debug, Error)]
pub enum BackgroundError {
    /// A file or process of our own.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// It ended before it was ready. Its own sentence says why.
    #[error("the {what} ended at its start: {reason}")]
    Ended {
        /// `worker` or `broker`.
        what: &'static str,
        /// Its last line.
        reason: String,
    },
    /// It is not ready in time.
    #[error("the {what} is not ready after {} s; see {}", READY.as_secs(), log.display())]
    Late {
        /// `worker` or `broker`.
        what: &'static str,
        /// Its log.
        log: PathBuf,
    },
}

/// What was started.
pub(super) struct Background {
    worker: Child,
    socket: PathBuf,
    broker: Option<Child>,
}

impl Background {
    /// Starts what is missing and waits until it is ready, or until the operator leaves: then what
    /// was started so far is given back, for [`Background::leave`].
    pub async fn start(
        args: &StartArgs,
        settings: &Settings,
        tell: &watch::Sender<Startup>,
        left: &CancellationToken,
    ) -> Result<Option<Self>, BackgroundError> {
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
        words.extend(args.to_words(&name, embedded));
        let worker = spawn(&words, &log, "worker")?;
        let mut started = Self {
            worker,
            socket,
            broker,
        };
        if started.is_up(&log, tell, left).await {
            return Ok(Some(started));
        }
        // Without its worker nobody asked for the broker.
        if let Some(broker) = &started.broker {
            terminate(broker);
        }
        Err(BackgroundError::Ended {
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

    /// Does what the operator chose; without a choice (the terminal is gone, the console failed)
    /// everything runs on.
    pub async fn leave(mut self, exit: Option<crate::console::Exit>) {
        use crate::console::Exit;
        let order = match exit {
            Some(Exit::Left | Exit::DrainAndLeave) => Order::Drain,
            Some(Exit::Stop | Exit::Terminated) => Order::Stop,
            Some(Exit::LeaveRunning | Exit::HungUp) | None => {
                eprintln!("worker and broker run on; `dagster-taskiq-tui` attaches to them again");
                return;
            }
        };
        if order == Order::Drain {
            eprintln!("the worker finishes what runs; Ctrl-C leaves it to that");
        }
        if let Err(problem) = client::call(&self.socket, order).await {
            if self.socket.exists() {
                eprintln!("dagster-taskiq-tui: {problem}");
            }
            // Not ready to be told yet: SIGTERM means the same as a drain.
            terminate(&self.worker);
        }
        let interrupted = tokio::select! {
            _ = self.worker.wait() => false,
            _ = tokio::signal::ctrl_c() => true,
        };
        if let (false, Some(mut broker)) = (interrupted, self.broker) {
            terminate(&broker);
            let _ = broker.wait().await;
        }
    }
}

fn working(tell: &watch::Sender<Startup>, text: String) {
    tell.send_replace(Startup::Working(text));
}

fn terminate(child: &Child) {
    if let Some(pid) = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
        // One that has ended is what was wanted.
        let _ = kill_process(pid, Signal::TERM);
    }
}

async fn start_broker(folder: &Path, settings: &Settings) -> Result<Child, BackgroundError> {
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
            return Err(BackgroundError::Ended { what: "broker", reason: last_line(&log) });
        }
    };
    if ready {
        Ok(child)
    } else {
        Err(BackgroundError::Late {
            what: "broker",
            log,
        })
    }
}

/// Starts this binary in a session of its own, its output in a log for its owner alone.
fn spawn(
    words: &[std::ffi::OsString],
    log: &Path,
    what: &'static str,
) -> Result<Child, BackgroundError> {
    let program = std::env::current_exe()
        .map_err(|source| file_error("find", Path::new("this program"), source))?;
    let output = create(log).map_err(|source| file_error("write", log, source))?;
    let errors = output
        .try_clone()
        .map_err(|source| file_error("write", log, source))?;
    Command::new(&program)
        .arg("--own-session")
        .args(words)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .map_err(|source| file_error(what, &program, source))
}

fn create(log: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(log)
}

fn make_folder(folder: &Path) -> Result<(), BackgroundError> {
    std::fs::create_dir_all(folder).map_err(|source| file_error("make", folder, source))
}

fn file_error(action: &'static str, path: &Path, source: std::io::Error) -> BackgroundError {
    BackgroundError::File {
        action,
        path: path.to_owned(),
        source,
    }
}

/// The sentence a program of ours ended with.
fn last_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let line = text
        .lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or("it said nothing");
    line.trim_start_matches("dagster-taskiq-tui: ").to_owned()
}
