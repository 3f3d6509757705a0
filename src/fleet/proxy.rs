//! The far end of an attached host: bridges this host's control sockets to one pair of pipes, which
//! `ssh` carries. It announces workers as they come and go, and does not read their frames.
//!
//! A slow link slows down the workers' own servers, which skip snapshots and count them: at most
//! one frame of each worker waits here.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::domain::Timestamp;
use crate::protocol::audit::Tail;
use crate::protocol::frames::{self, FrameReader, own_host, reader, writer};
use crate::protocol::proxy_frames::{self, Hello, OWN, PROTOCOL, ProxyCommand, ProxyMessage};
use crate::protocol::socket_folder;

/// Interval between looks for workers.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Interval between signs of life of either end.
pub const ALIVE_EVERY: Duration = Duration::from_secs(5);

/// Silence after which the console counts as gone. A console that is stopped with Ctrl-Z is silent,
/// too.
const SILENCE: Duration = Duration::from_mins(2);

/// Capacity of the channel of commands to one worker: more than its console sends at once.
const COMMANDS: usize = 32;

/// Maximum number of audit entries sent at once: as many as a user looks through, some 60 KB.
const AUDITED: usize = 200;

/// Bridges the sockets in `folders` to `input` and `output` until `input` ends; sends entries of
/// the log in `audit` on request.
///
/// # Errors
/// A pipe breaks, or the received data does not follow this protocol.
pub async fn serve<R, W>(
    input: R,
    output: W,
    folders: Vec<PathBuf>,
    audit: Option<PathBuf>,
) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (out, mut outgoing) = mpsc::channel::<Bytes>(1);
    let proxy = Proxy {
        folders,
        out,
        found: BTreeSet::new(),
        channels: HashMap::new(),
        bridges: JoinSet::new(),
        audit: audit.map(Tail::new),
        audit_requested: false,
        audited: Timestamp::MIN,
    };
    let mut output = writer(output);
    let write = async {
        while let Some(frame) = outgoing.recv().await {
            output.send(frame).await?;
        }
        Ok(())
    };
    tokio::select! {
        ended = proxy.run(reader(input)) => ended,
        ended = write => ended,
    }
}

struct Proxy {
    folders: Vec<PathBuf>,
    out: mpsc::Sender<Bytes>,
    found: BTreeSet<PathBuf>,
    channels: HashMap<u32, mpsc::Sender<Bytes>>,
    bridges: JoinSet<u32>,
    audit: Option<Tail>,
    audit_requested: bool,
    /// Time of the newest audit entry that was sent.
    audited: Timestamp,
}

impl Proxy {
    async fn run<R: AsyncRead + Unpin>(mut self, mut input: FrameReader<R>) -> io::Result<()> {
        self.send(&ProxyMessage::Hello(Hello {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: own_host(),
            audit: self.audit.is_some(),
        }))
        .await?;
        // The first `Alive` marks that all existing workers have been announced.
        self.look().await?;
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut alive = interval(ALIVE_EVERY);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                frame = timeout(SILENCE, input.next()) => match frame {
                    Ok(Some(frame)) => {
                        let (channel, content) = proxy_frames::unpack(frame?.freeze())?;
                        self.on_frame(channel, content)?;
                    }
                    Ok(None) | Err(_) => return Ok(()),
                },
                Some(ended) = self.bridges.join_next() => {
                    let channel = ended.map_err(io::Error::other)?;
                    self.channels.remove(&channel);
                    self.send(&ProxyMessage::Closed { channel }).await?;
                }
                _ = look.tick() => {
                    self.look().await?;
                    self.send_audit().await?;
                }
                _ = alive.tick() => self.send(&ProxyMessage::Alive).await?,
            }
        }
    }

    async fn send(&self, message: &ProxyMessage) -> io::Result<()> {
        let frame = proxy_frames::pack_own(message)?;
        // Fails when the writer has ended, whose error is the one that counts.
        let _ = self.out.send(frame).await;
        Ok(())
    }

    /// Announces the difference to the last announcement.
    async fn look(&mut self) -> io::Result<()> {
        let sockets = self
            .folders
            .iter()
            .flat_map(|folder| socket_folder::sockets(folder));
        let now: BTreeSet<PathBuf> = sockets
            .filter(|socket| socket_folder::is_live(socket))
            .collect();
        let before = std::mem::replace(&mut self.found, now);
        for socket in before.difference(&self.found).cloned() {
            self.send(&ProxyMessage::Gone { socket }).await?;
        }
        for socket in self.found.difference(&before).cloned() {
            self.send(&ProxyMessage::Found { socket }).await?;
        }
        Ok(())
    }

    /// Sends the audit entries since the last time.
    async fn send_audit(&mut self) -> io::Result<()> {
        let Some(tail) = self.audit.as_mut().filter(|_| self.audit_requested) else {
            return Ok(());
        };
        let added = tail.read_new();
        let read = added.inspect_err(|error| tracing::debug!("cannot read the audit log: {error}"));
        let Some(mut entries) = read.ok().flatten() else {
            return Ok(());
        };
        entries.retain(|entry| entry.time > self.audited);
        entries.truncate(AUDITED);
        let Some(newest) = entries.iter().map(|entry| entry.time).max() else {
            return Ok(());
        };
        self.audited = newest;
        self.send(&ProxyMessage::Audit { entries }).await
    }

    fn on_frame(&mut self, channel: u32, content: Bytes) -> io::Result<()> {
        if channel != OWN {
            // A worker that does not take its commands must not delay the others: its channel ends.
            let taken = self
                .channels
                .get(&channel)
                .is_some_and(|worker| worker.try_send(content).is_ok());
            if !taken {
                self.channels.remove(&channel);
            }
            return Ok(());
        }
        match frames::decode(&content)? {
            ProxyCommand::Open { channel, socket } => {
                let (commands, taken) = mpsc::channel(COMMANDS);
                let known = self.found.contains(&socket);
                let out = self.out.clone();
                self.bridges.spawn(async move {
                    if known && let Err(error) = bridge(channel, &socket, taken, out).await {
                        tracing::debug!("the link to {} ended: {error}", socket.display());
                    }
                    channel
                });
                self.channels.insert(channel, commands);
            }
            ProxyCommand::Close { channel } => drop(self.channels.remove(&channel)),
            ProxyCommand::Audit => self.audit_requested = true,
            ProxyCommand::Alive => {}
        }
        Ok(())
    }
}

/// Carries frames between a worker's socket and a channel until either ends.
async fn bridge(
    channel: u32,
    socket: &PathBuf,
    mut commands: mpsc::Receiver<Bytes>,
    out: mpsc::Sender<Bytes>,
) -> io::Result<()> {
    let (read, write) = UnixStream::connect(socket).await?.into_split();
    let (mut read, mut write) = (reader(read), writer(write));
    let to_worker = async {
        while let Some(command) = commands.recv().await {
            write.send(command).await?;
        }
        Ok(())
    };
    let from_worker = async {
        while let Some(frame) = read.next().await {
            if out
                .send(proxy_frames::pack(channel, &frame?))
                .await
                .is_err()
            {
                break;
            }
        }
        Ok(())
    };
    tokio::select! {
        ended = to_worker => ended,
        ended = from_worker => ended,
    }
}
