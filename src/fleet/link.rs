//! A link to one worker's socket, on this host or on another: connects, reconnects with back-off,
//! passes received frames on and sends commands.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::ssh_host::Opener;
use crate::domain::{BackOff, LogLine, Reply, Timestamp, WorkerSnapshot};
use crate::fleet::client::{Connection, Input, Output, SubscribeOptions};
use crate::protocol::frames::{LogStart, ServerFrame, ServerHello};
use crate::protocol::{ControlError, Request};

/// First and longest wait after a broken link.
const BACK_OFF: BackOff = BackOff {
    first: Duration::from_millis(100),
    longest: Duration::from_secs(5),
};

/// Maximum silence of a worker, which sends something every 5 s: three misses.
const SILENCE: Duration = Duration::from_secs(15);

/// Timeout for sending a command, which is a few hundred bytes: a worker that does not take it is
/// stuck.
const SEND_WITHIN: Duration = Duration::from_secs(5);

/// Maximum number of commands waiting for the link, and of those awaiting their reply.
const MAX_PENDING: usize = 16;

/// Message from a link.
#[derive(Debug)]
pub(super) enum LinkEvent {
    /// The worker greeted.
    Up(ServerHello),
    /// Its state.
    State(Arc<WorkerSnapshot>),
    /// Its log.
    Logs { lines: Vec<LogLine>, missed: u64 },
    /// Sign of life, with the worker's own time.
    Alive(Timestamp),
    /// The link is broken, and will be retried at that time.
    Down(String, Timestamp),
}

/// Address of a worker's socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    /// The host's name for ssh; `None` is this host.
    pub(super) host: Option<Arc<str>>,
    /// The path there.
    pub(super) socket: PathBuf,
}

impl Address {
    /// The address for display, in the form of `scp`.
    pub(super) fn label(&self) -> PathBuf {
        match &self.host {
            Some(host) => PathBuf::from(format!("{host}:{}", self.socket.display())),
            None => self.socket.clone(),
        }
    }
}

/// A message with its link.
#[derive(Debug)]
pub(super) struct AddressedEvent {
    pub(super) address: Address,
    pub(super) event: LinkEvent,
}

/// The aggregator's end of a link; the link ends when it is dropped.
#[derive(Debug)]
pub(super) struct LinkHandle {
    pub(super) requests: mpsc::Sender<Request>,
    again: Arc<Notify>,
    _end: DropGuard,
}

impl LinkHandle {
    /// Ends the wait after a broken link, because it is likely to work now.
    pub(super) fn try_again(&self) {
        self.again.notify_one();
    }
}

/// Starts a link; `opener` leads to the host, if it is another one.
pub(super) fn start(
    address: Address,
    opener: Option<Opener>,
    read_only: bool,
    events: mpsc::Sender<AddressedEvent>,
) -> LinkHandle {
    let (requests, incoming) = mpsc::channel(MAX_PENDING);
    let end = CancellationToken::new();
    let again = Arc::new(Notify::new());
    let link = Link {
        address,
        opener,
        again: Arc::clone(&again),
        read_only,
        events,
        incoming,
        pid: 0,
        position: None,
    };
    let ended = end.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = ended.cancelled() => {}
            () = link.run() => {}
        }
    });
    LinkHandle {
        requests,
        again,
        _end: end.drop_guard(),
    }
}

struct Link {
    address: Address,
    opener: Option<Opener>,
    again: Arc<Notify>,
    read_only: bool,
    events: mpsc::Sender<AddressedEvent>,
    incoming: mpsc::Receiver<Request>,
    /// The process of the last greeting.
    pid: u32,
    /// The process whose log was read, and the position reached.
    position: Option<(u32, u64)>,
}

impl Link {
    /// Runs until the aggregator is gone.
    async fn run(mut self) {
        let mut failures = 0;
        loop {
            let error = match self.greet().await {
                Ok((input, output)) => {
                    failures = 0;
                    self.session(input, output).await
                }
                Err(error) => error,
            };
            let wait = BACK_OFF.after(failures);
            failures += 1;
            self.publish(LinkEvent::Down(error.to_string(), Timestamp::now() + wait))
                .await;
            self.refuse_for(wait).await;
        }
    }

    async fn connect(&self) -> Result<Connection, ControlError> {
        let Some(opener) = &self.opener else {
            return Connection::open(&self.address.socket).await;
        };
        let path = self.address.label();
        match opener.open(self.address.socket.clone()).await {
            Some((input, output)) => Connection::over(path, input, output).await,
            None => Err(ControlError::Unlinked { path }),
        }
    }

    async fn greet(&mut self) -> Result<(Input, Output), ControlError> {
        let connection = self.connect().await?;
        let hello = connection.hello.clone();
        let logs = match self.position {
            Some((pid, position)) if pid == hello.pid => LogStart::After(position),
            _ => LogStart::Tail,
        };
        let options = SubscribeOptions {
            read_only: self.read_only,
            snapshots: true,
            logs,
        };
        let ends = connection.start(options).await?;
        self.pid = hello.pid;
        self.publish(LinkEvent::Up(hello)).await;
        Ok(ends)
    }

    /// Serves a connection until it breaks; returns the reason.
    async fn session(&mut self, mut input: Input, mut output: Output) -> ControlError {
        let mut pending: HashMap<u64, oneshot::Sender<Reply>> = HashMap::new();
        let mut last_id = 0;
        loop {
            // The caller may have given up.
            pending.retain(|_, waiting| !waiting.is_closed());
            tokio::select! {
                frame = timeout(SILENCE, input.next()) => match frame {
                    Ok(Ok(frame)) => self.frame(frame, &mut pending).await,
                    Ok(Err(error)) => return error,
                    Err(_) => return self.late("say anything", SILENCE),
                },
                Some(Request { command, reason, reply, .. }) = self.incoming.recv(),
                    if pending.len() < MAX_PENDING =>
                {
                    last_id += 1;
                    pending.insert(last_id, reply);
                    match timeout(SEND_WITHIN, output.command(last_id, command, reason)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => return error,
                        Err(_) => return self.late("take a command", SEND_WITHIN),
                    }
                }
            }
        }
    }

    async fn frame(
        &mut self,
        frame: ServerFrame,
        pending: &mut HashMap<u64, oneshot::Sender<Reply>>,
    ) {
        match frame {
            ServerFrame::Snapshot { snapshot, .. } => {
                self.publish(LinkEvent::State(snapshot)).await;
            }
            ServerFrame::Logs {
                lines,
                next,
                missed,
            } => {
                self.position = Some((self.pid, next));
                self.publish(LinkEvent::Logs { lines, missed }).await;
            }
            ServerFrame::Reply { id, reply } => {
                if let Some(caller) = pending.remove(&id) {
                    let _ = caller.send(reply);
                }
            }
            ServerFrame::Heartbeat { at } => self.publish(LinkEvent::Alive(at)).await,
            ServerFrame::Hello(_) | ServerFrame::Refused { .. } => {}
        }
    }

    /// Waits before the next try; commands are refused at once meanwhile.
    async fn refuse_for(&mut self, wait: Duration) {
        let over = sleep(wait);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return,
                () = self.again.notified() => return,
                Some(Request { command, reply, .. }) = self.incoming.recv() => {
                    let text = format!("{} was not sent: the link to the worker is down", command.verb());
                    let _ = reply.send(Reply::Failed(text));
                }
            }
        }
    }

    async fn publish(&self, event: LinkEvent) {
        let address = self.address.clone();
        // Fails when the aggregator is gone, and this task is about to end as well.
        let _ = self.events.send(AddressedEvent { address, event }).await;
    }

    fn late(&self, what: &'static str, after: Duration) -> ControlError {
        ControlError::Timeout {
            path: self.address.label(),
            what,
            after,
        }
    }
}
