//! The client's end of a control socket: one connection, and the one-shot calls of the command
//! line.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Sink, SinkExt, StreamExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};

use crate::domain::{Command, Reply, WorkerSnapshot};
use crate::protocol::frames::{
    ClientFrame, ClientHello, LogStart, PROTOCOL, ServerFrame, ServerHello, decode, encode,
    own_name, reader, user_name, writer,
};
use crate::protocol::{ControlError, socket_folder};

/// Timeout for a worker's greeting, and for its first snapshot. A worker sends both at once, but a
/// busy machine may delay them.
pub const GREETING_TIMEOUT: Duration = Duration::from_secs(5);

/// Interval at which [`wait_for_socket`] looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Stream of received frames, over any transport.
pub type FramesIn = BoxStream<'static, io::Result<Bytes>>;

/// Sink of frames to send.
pub type FramesOut = Pin<Box<dyn Sink<Bytes, Error = io::Error> + Send>>;

/// A connection whose worker has greeted.
pub struct Connection {
    /// Identity of the worker.
    pub hello: ServerHello,
    path: PathBuf,
    input: FramesIn,
    output: FramesOut,
}

/// Data that a client subscribes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// Refuse this client's commands.
    pub read_only: bool,
    /// Snapshots.
    pub snapshots: bool,
    /// Log lines.
    pub logs: LogStart,
}

/// The receiving half of a [`Connection`].
pub struct Input {
    path: PathBuf,
    frames: FramesIn,
}

/// The sending half of a [`Connection`].
pub struct Output {
    path: PathBuf,
    frames: FramesOut,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Connection");
        shown.field("hello", &self.hello).field("path", &self.path);
        shown.finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects to a socket of this host and reads the worker's greeting.
    ///
    /// # Errors
    /// There is no answer within [`GREETING_TIMEOUT`], the connection is refused, or the process
    /// that answers uses another protocol or belongs to another user.
    pub async fn open(path: &Path) -> Result<Self, ControlError> {
        let connect = async {
            let connected = UnixStream::connect(path).await;
            let stream = connected.map_err(|source| ControlError::Connect {
                path: path.to_owned(),
                source,
            })?;
            let server = stream.peer_cred().ok().map(|peer| peer.uid());
            if !socket_folder::is_trusted(server) {
                return Err(ControlError::Stranger {
                    path: path.to_owned(),
                    owner: server.map_or_else(|| "an unknown user".to_owned(), user_name),
                });
            }
            let (read, write) = stream.into_split();
            let input = reader(read).map(|frame| Ok(frame?.freeze())).boxed();
            Self::greeted(path.to_owned(), input, Box::pin(writer(write))).await
        };
        let within = timeout(GREETING_TIMEOUT, connect).await;
        within.unwrap_or_else(|_| Err(late(path, "greet", GREETING_TIMEOUT)))
    }

    /// As [`Connection::open`], over frames of another transport; `path` is the name in errors.
    ///
    /// # Errors
    /// As [`Connection::open`].
    pub async fn over(
        path: PathBuf,
        input: FramesIn,
        output: FramesOut,
    ) -> Result<Self, ControlError> {
        let within = timeout(GREETING_TIMEOUT, Self::greeted(path.clone(), input, output)).await;
        within.unwrap_or_else(|_| Err(late(&path, "greet", GREETING_TIMEOUT)))
    }

    async fn greeted(
        path: PathBuf,
        input: FramesIn,
        output: FramesOut,
    ) -> Result<Self, ControlError> {
        let mut input = Input {
            path: path.clone(),
            frames: input,
        };
        match input.next().await? {
            ServerFrame::Hello(hello) if hello.protocol == PROTOCOL => Ok(Self {
                hello,
                path,
                input: input.frames,
                output,
            }),
            ServerFrame::Hello(hello) => Err(ControlError::Version {
                path,
                version: hello.version,
                theirs: hello.protocol,
                ours: PROTOCOL,
            }),
            _ => Err(ControlError::NotAWorker {
                path,
                reason: "its first frame is no greeting".to_owned(),
            }),
        }
    }

    /// Sends our greeting and subscriptions; frames can be read and commands sent from then on.
    ///
    /// # Errors
    /// The link is broken.
    pub async fn start(self, options: SubscribeOptions) -> Result<(Input, Output), ControlError> {
        let Self {
            path,
            input,
            output,
            ..
        } = self;
        let SubscribeOptions {
            read_only,
            snapshots,
            logs,
        } = options;
        let input = Input {
            path: path.clone(),
            frames: input,
        };
        let mut output = Output {
            path,
            frames: output,
        };
        let hello = ClientHello {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            from: own_name(),
            read_only,
            snapshots,
            logs,
        };
        output.send(&ClientFrame::Hello(hello)).await?;
        Ok((input, output))
    }
}

impl Input {
    /// The next frame. Safe to drop and call again.
    ///
    /// # Errors
    /// The link ended, a frame cannot be parsed, or the worker refuses this client.
    pub async fn next(&mut self) -> Result<ServerFrame, ControlError> {
        let path = || self.path.clone();
        let bytes = match self.frames.next().await {
            Some(Ok(bytes)) => bytes,
            // A length beyond the maximum: these are not frames.
            Some(Err(error)) if error.kind() == ErrorKind::InvalidData => {
                return Err(not_a_worker(path(), &error));
            }
            Some(Err(source)) => {
                return Err(ControlError::Link {
                    path: path(),
                    source,
                });
            }
            None => return Err(ControlError::Closed { path: path() }),
        };
        match decode(&bytes).map_err(|error| not_a_worker(path(), &error))? {
            ServerFrame::Refused { reason } => Err(ControlError::Refused {
                path: path(),
                reason,
            }),
            frame => Ok(frame),
        }
    }
}

impl Output {
    /// Sends a command, with the operator's reason; its reply carries the same id.
    ///
    /// # Errors
    /// The link is broken.
    pub async fn command(
        &mut self,
        id: u64,
        command: Command,
        reason: Option<String>,
    ) -> Result<(), ControlError> {
        let frame = ClientFrame::Command {
            id,
            command,
            reason,
        };
        self.send(&frame).await
    }

    async fn send(&mut self, frame: &ClientFrame) -> Result<(), ControlError> {
        let failed = |source| ControlError::Link {
            path: self.path.clone(),
            source,
        };
        let bytes = encode(frame).map_err(failed)?;
        self.frames.send(bytes).await.map_err(failed)
    }
}

/// Maximum time until the outcome of a command. Draining a queue reads and archives every message.
#[must_use]
pub fn answer_within(command: &Command) -> Duration {
    match command {
        command if command.takes_long() => Duration::from_hours(1),
        _ => Duration::from_secs(30),
    }
}

/// Sends one command to the worker behind a socket and waits for its outcome.
///
/// # Errors
/// The worker cannot be reached, or does not answer within [`answer_within`].
pub async fn call(socket: &Path, command: Command) -> Result<Reply, ControlError> {
    call_because(socket, command, None).await
}

/// As [`call`], with the operator's reason for the audit log.
///
/// # Errors
/// As [`call`].
pub async fn call_because(
    socket: &Path,
    command: Command,
    reason: Option<String>,
) -> Result<Reply, ControlError> {
    const ID: u64 = 1;
    let limit = answer_within(&command);
    let options = SubscribeOptions {
        read_only: false,
        snapshots: false,
        logs: LogStart::Never,
    };
    let answer = async {
        let (mut input, mut output) = Connection::open(socket).await?.start(options).await?;
        output.command(ID, command, reason).await?;
        loop {
            if let ServerFrame::Reply { id: ID, reply } = input.next().await? {
                return Ok(reply);
            }
        }
    };
    let within = timeout(limit, answer).await;
    within.unwrap_or_else(|_| Err(late(socket, "answer", limit)))
}

/// The current state of the worker behind a socket.
///
/// # Errors
/// The worker cannot be reached or does not send its state.
pub async fn status(socket: &Path) -> Result<Arc<WorkerSnapshot>, ControlError> {
    let options = SubscribeOptions {
        read_only: true,
        snapshots: true,
        logs: LogStart::Never,
    };
    let state = async {
        let (mut input, _output) = Connection::open(socket).await?.start(options).await?;
        loop {
            if let ServerFrame::Snapshot { snapshot, .. } = input.next().await? {
                return Ok(snapshot);
            }
        }
    };
    let within = timeout(GREETING_TIMEOUT, state).await;
    within.unwrap_or_else(|_| Err(late(socket, "send its state", GREETING_TIMEOUT)))
}

/// A worker that answers on its control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerSocket {
    /// The socket.
    pub path: PathBuf,
    /// Worker id.
    pub worker: String,
    /// Process id.
    pub pid: u32,
    /// Version of its binary.
    pub version: String,
    /// Whether it refuses commands.
    pub read_only: bool,
}

/// The workers of this user that answer on this host, by socket; unresponsive ones are left out.
pub async fn discover() -> Vec<WorkerSocket> {
    discover_in(&socket_folder::folders()).await
}

/// The workers that answer in these folders.
pub async fn discover_in(folders: &[PathBuf]) -> Vec<WorkerSocket> {
    let queries = folders
        .iter()
        .flat_map(|folder| socket_folder::sockets(folder))
        .map(|path| async move {
            let ServerHello {
                version,
                worker,
                pid,
                read_only,
                ..
            } = Connection::open(&path).await.ok()?.hello;
            Some(WorkerSocket {
                path,
                worker,
                pid,
                version,
                read_only,
            })
        });
    let answers = futures::future::join_all(queries).await;
    answers.into_iter().flatten().collect()
}

/// Waits until a worker that was just started greets on its socket
/// ([`socket_folder::socket_path`]). Race it with the process's end.
///
/// # Errors
/// The worker does not greet within `limit`, or the answering process is not a worker.
pub async fn wait_for_socket(path: &Path, limit: Duration) -> Result<ServerHello, ControlError> {
    let deadline = Instant::now() + limit;
    loop {
        match Connection::open(path).await {
            Ok(connection) => return Ok(connection.hello),
            Err(
                ControlError::Connect { .. }
                | ControlError::Closed { .. }
                | ControlError::Link { .. },
            ) => {}
            Err(error) => return Err(error),
        }
        if Instant::now() >= deadline {
            return Err(late(path, "listen", limit));
        }
        sleep(LOOK_EVERY).await;
    }
}

fn late(path: &Path, what: &'static str, after: Duration) -> ControlError {
    ControlError::Timeout {
        path: path.to_owned(),
        what,
        after,
    }
}

fn not_a_worker(path: PathBuf, error: &io::Error) -> ControlError {
    ControlError::NotAWorker {
        path,
        reason: error.to_string(),
    }
}
