//! A host that is reached through `ssh`: one process whose pipes carry the links to all its
//! workers. It is restarted with back-off when it ends.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, SinkExt, StreamExt, future};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard, PollSender};

use crate::domain::{AuditEntry, BackOff, Timestamp};
use crate::fleet::client::{FramesIn, FramesOut};
use crate::fleet::proxy::ALIVE_EVERY;
use crate::fleet::ssh::{self, Ssh};
use crate::protocol::frames::{self, FrameReader, FrameWriter, reader, writer};
use crate::protocol::proxy_frames::{self, Hello, OWN, PROTOCOL, ProxyCommand, ProxyMessage};

/// First and longest wait after a broken link: every try costs the other host a login.
const BACK_OFF: BackOff = BackOff {
    first: Duration::from_millis(500),
    longest: Duration::from_secs(30),
};

/// Timeout of the greeting: it includes name look-up, a hop or two, keys, and the shell's start-up
/// files.
const GREETING_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum silence of the proxy, which sends something every 5 s: three misses.
const SILENCE: Duration = Duration::from_secs(15);

/// Time limit for reaping an ended ssh and reading its output.
const REAP_TIMEOUT: Duration = Duration::from_secs(1);

/// Maximum size of ssh's kept output, in bytes: its end contains the error.
const MAX_STDERR: usize = 8 * 1024;

/// Capacity of the channel of one worker's frames to its link, which takes them at once.
const WAITING: usize = 4;

/// Capacity of the channel to the pipe: commands, a few hundred bytes each.
const OUTGOING: usize = 64;

/// Maximum number of links waiting to be opened.
const OPENS: usize = 64;

/// Message from a host.
#[derive(Debug)]
pub(super) enum HostEvent {
    /// The proxy over there greeted.
    Up(Hello),
    /// A worker listens on this socket of the host.
    Found(PathBuf),
    /// No worker listens on it any more.
    Gone(PathBuf),
    /// New audit entries of the host; newest first.
    Audit(Vec<AuditEntry>),
    /// Sign of life.
    Alive,
    /// The link is broken, and will be retried at that time.
    Down(String, Timestamp),
}

/// A worker's socket on the other host, as frames.
pub(super) type Tunnel = (FramesIn, FramesOut);

/// Asks for a [`Tunnel`] to a socket of the host.
#[derive(Debug)]
pub(super) struct Open {
    socket: PathBuf,
    reply: oneshot::Sender<(mpsc::Receiver<Bytes>, PollSender<Bytes>, u32)>,
}

/// Opens links to the workers of a host. Cloning is cheap.
#[derive(Clone, Debug)]
pub(super) struct Opener {
    requests: mpsc::Sender<Open>,
}

impl Opener {
    /// Opens a tunnel to a socket; `None` while the host is not linked.
    pub(super) async fn open(&self, socket: PathBuf) -> Option<Tunnel> {
        let (reply, opened) = oneshot::channel();
        self.requests.send(Open { socket, reply }).await.ok()?;
        let (mut frames, sender, channel) = opened.await.ok()?;
        let input = futures::stream::poll_fn(move |context| frames.poll_recv(context)).map(Ok);
        let output = sender
            .sink_map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
            .with(move |frame: Bytes| {
                future::ready(Ok::<_, io::Error>(proxy_frames::pack(channel, &frame)))
            });
        Some((input.boxed(), Box::pin(output)))
    }
}

/// The aggregator's end of a host; the link ends when it is dropped.
#[derive(Debug)]
pub(super) struct HostHandle {
    pub(super) opener: Opener,
    _end: DropGuard,
}

/// Starts linking a host. Its messages carry its name.
pub(super) fn start(
    name: Arc<str>,
    ssh: Ssh,
    events: mpsc::Sender<(Arc<str>, HostEvent)>,
) -> HostHandle {
    let (requests, incoming) = mpsc::channel(OPENS);
    let end = CancellationToken::new();
    let host = SshHost {
        name,
        ssh,
        events,
        incoming,
    };
    let ended = end.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = ended.cancelled() => {}
            () = host.run() => {}
        }
    });
    HostHandle {
        opener: Opener { requests },
        _end: end.drop_guard(),
    }
}

struct SshHost {
    name: Arc<str>,
    ssh: Ssh,
    events: mpsc::Sender<(Arc<str>, HostEvent)>,
    incoming: mpsc::Receiver<Open>,
}

impl SshHost {
    /// Runs until the aggregator is gone.
    async fn run(mut self) {
        let mut failures = 0;
        loop {
            let mut greeted = false;
            let reason = self.connection(&mut greeted).await;
            if greeted {
                failures = 0;
            }
            let wait = BACK_OFF.after(failures);
            failures += 1;
            let retry_at = Timestamp::now() + wait;
            self.publish(HostEvent::Down(reason, retry_at)).await;
            self.refuse_for(wait).await;
        }
    }

    /// Runs one ssh process from start to end; returns why it ended.
    async fn connection(&mut self, greeted: &mut bool) -> String {
        let mut child = match self.ssh.start(&self.name).spawn() {
            Ok(child) => child,
            Err(error) => {
                let program = self.ssh.command.first().map_or("ssh", String::as_str);
                return format!("cannot start {program}: {error}; install OpenSSH's client");
            }
        };
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return "cannot start ssh: it has no pipes".to_owned();
        };
        let words = tokio::spawn(last_bytes(stderr));
        let (send, outgoing) = mpsc::channel(OUTGOING);
        let session = Session {
            host: self,
            greeted,
            send,
            channels: HashMap::new(),
            last_channel: OWN,
        };
        let broken = tokio::select! {
            broken = session.run(reader(stdout)) => broken,
            error = write(outgoing, writer(stdin)) => Broken::Link(error),
        };
        match broken {
            Broken::Reason(reason) => reason,
            Broken::Link(error) => self.end_reason(child, words, error.as_ref()).await,
        }
    }

    /// The final output of ssh, or how the pipe broke.
    async fn end_reason(
        &self,
        mut child: Child,
        words: tokio::task::JoinHandle<String>,
        error: Option<&io::Error>,
    ) -> String {
        let status = timeout(REAP_TIMEOUT, child.wait()).await;
        let status = status.ok().and_then(Result::ok);
        // A control master that outlives this ssh keeps the pipe open.
        let aborting = words.abort_handle();
        let words = timeout(REAP_TIMEOUT, words).await;
        aborting.abort();
        let words = words.ok().and_then(Result::ok).unwrap_or_default();
        match error {
            Some(error) if error.kind() == io::ErrorKind::InvalidData => {
                let last = words.lines().next_back().unwrap_or_default();
                format!(
                    "{} does not answer as dagster-taskiq-tui does ({error}); see what `ssh {} true` prints {last}",
                    self.name, self.name
                )
            }
            _ => ssh::sentence(&self.name, status, &words),
        }
    }

    /// Waits before the next try; requests for links are refused meanwhile.
    async fn refuse_for(&mut self, wait: Duration) {
        let over = sleep(wait);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return,
                Some(open) = self.incoming.recv() => drop(open),
            }
        }
    }

    async fn publish(&self, event: HostEvent) {
        // Fails when the aggregator is gone, and this task is about to end as well.
        let _ = self.events.send((Arc::clone(&self.name), event)).await;
    }
}

/// Reason for the end of a connection.
enum Broken {
    /// A pipe ended, or its data is not a frame.
    Link(Option<io::Error>),
    /// One sentence.
    Reason(String),
}

struct Session<'a> {
    host: &'a mut SshHost,
    greeted: &'a mut bool,
    send: mpsc::Sender<Bytes>,
    channels: HashMap<u32, mpsc::Sender<Bytes>>,
    last_channel: u32,
}

impl Session<'_> {
    async fn run(mut self, mut input: FrameReader<ChildStdout>) -> Broken {
        let mut alive = interval(ALIVE_EVERY);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let within = if *self.greeted {
                SILENCE
            } else {
                GREETING_TIMEOUT
            };
            tokio::select! {
                frame = timeout(within, input.next()) => {
                    let frame = match frame {
                        Ok(Some(Ok(frame))) => frame.freeze(),
                        Ok(Some(Err(error))) => return Broken::Link(Some(error)),
                        Ok(None) => return Broken::Link(None),
                        Err(_) => {
                            let seconds = within.as_secs();
                            return Broken::Reason(format!("nothing was heard for {seconds} s"));
                        }
                    };
                    match self.on_frame(frame).await {
                        Ok(None) => {}
                        Ok(Some(reason)) => return Broken::Reason(reason),
                        Err(error) => return Broken::Link(Some(error)),
                    }
                }
                Some(open) = self.host.incoming.recv() => self.open(open),
                _ = alive.tick(), if *self.greeted => self.order(&ProxyCommand::Alive),
            }
        }
    }

    /// Handles a frame; returns a sentence if the host cannot be linked.
    async fn on_frame(&mut self, frame: Bytes) -> io::Result<Option<String>> {
        let (channel, content) = proxy_frames::unpack(frame)?;
        if channel != OWN {
            let taken = match self.channels.get(&channel) {
                Some(link) => link.send(content).await.is_ok(),
                None => true,
            };
            if !taken {
                self.channels.remove(&channel);
                self.order(&ProxyCommand::Close { channel });
            }
            return Ok(None);
        }
        let event = match frames::decode(&content)? {
            ProxyMessage::Hello(hello) if hello.protocol == PROTOCOL => {
                *self.greeted = true;
                if hello.audit {
                    self.order(&ProxyCommand::Audit);
                }
                HostEvent::Up(hello)
            }
            ProxyMessage::Hello(Hello {
                protocol, version, ..
            }) => {
                return Ok(Some(format!(
                    "dagster-taskiq-tui {version} over there speaks attach protocol {protocol}, \
                     this one {PROTOCOL}; use the same version on both"
                )));
            }
            ProxyMessage::Found { socket } => HostEvent::Found(socket),
            ProxyMessage::Gone { socket } => HostEvent::Gone(socket),
            ProxyMessage::Audit { entries } => HostEvent::Audit(entries),
            ProxyMessage::Alive => HostEvent::Alive,
            ProxyMessage::Closed { channel } => {
                self.channels.remove(&channel);
                return Ok(None);
            }
        };
        self.host.publish(event).await;
        Ok(None)
    }

    fn open(&mut self, Open { socket, reply }: Open) {
        if !*self.greeted {
            return;
        }
        self.last_channel += 1;
        let channel = self.last_channel;
        let (link, frames) = mpsc::channel(WAITING);
        let sender = PollSender::new(self.send.clone());
        if reply.send((frames, sender, channel)).is_ok() {
            self.channels.insert(channel, link);
            self.order(&ProxyCommand::Open { channel, socket });
        }
    }

    /// Sends an order without waiting: a pipe that takes nothing is detected by its silence.
    fn order(&self, order: &ProxyCommand) {
        let sent = proxy_frames::pack_own(order)
            .ok()
            .is_some_and(|frame| self.send.try_send(frame).is_ok());
        if !sent {
            tracing::debug!("{} takes no orders: {order:?}", self.host.name);
        }
    }
}

/// Writes queued frames until the pipe breaks.
async fn write(
    mut outgoing: mpsc::Receiver<Bytes>,
    mut output: FrameWriter<ChildStdin>,
) -> Option<io::Error> {
    while let Some(frame) = outgoing.recv().await {
        if output.send(frame).await.is_err() {
            // The end of the other pipe and ssh's output are more informative than EPIPE.
            return None;
        }
    }
    future::pending().boxed().await
}

/// The last [`MAX_STDERR`] bytes of a stream.
async fn last_bytes(mut stream: impl AsyncRead + Unpin) -> String {
    let mut kept = Vec::new();
    let mut bytes = [0; 1024];
    while let Ok(read @ 1..) = stream.read(&mut bytes).await {
        kept.extend_from_slice(&bytes[..read]);
        let excess = kept.len().saturating_sub(MAX_STDERR);
        kept.drain(..excess);
    }
    String::from_utf8_lossy(&kept).into_owned()
}
