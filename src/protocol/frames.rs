//! The protocol of a control socket: a 4-byte big-endian length, then one JSON value per frame.
//!
//! The server speaks first ([`ServerFrame::Hello`]), the client answers with
//! [`ClientFrame::Hello`]; from then on both send at any time. A worker and a console of different
//! versions understand each other as long as [`PROTOCOL`] is the same.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec, length_delimited};

use crate::domain::{Command, LogLine, Reply, Timestamp, WorkerSnapshot};

/// Version of the protocol. It is raised when a frame changes its meaning, not for a new optional
/// field.
pub const PROTOCOL: u32 = 1;

/// Maximum size of a frame, in bytes. A snapshot of 500 finished and 1,000 held tasks with every
/// text at its bound is under 4 MiB.
pub const MAX_FRAME: usize = 16 * 1024 * 1024;

/// Size of the prefix that a proxy adds to a frame: the number of its channel.
pub(crate) const CHANNEL_BYTES: usize = 4;

/// The receiving half of a link.
pub type FrameReader<R> = FramedRead<R, LengthDelimitedCodec>;

/// The sending half of a link.
pub type FrameWriter<W> = FramedWrite<W, LengthDelimitedCodec>;

/// Reads frames from a byte stream.
pub fn reader<R: AsyncRead>(stream: R) -> FrameReader<R> {
    codec().new_read(stream)
}

/// Writes frames to a byte stream.
pub fn writer<W: AsyncWrite>(stream: W) -> FrameWriter<W> {
    codec().new_write(stream)
}

fn codec() -> length_delimited::Builder {
    let mut builder = LengthDelimitedCodec::builder();
    builder.max_frame_length(MAX_FRAME + CHANNEL_BYTES);
    builder
}

/// Encodes a value as a frame.
///
/// # Errors
/// The value cannot be JSON, or is larger than a frame.
pub fn encode<T: Serialize>(value: &T) -> io::Result<Bytes> {
    let bytes = serde_json::to_vec(value)?;
    if bytes.len() > MAX_FRAME {
        let size = bytes.len();
        return Err(io::Error::other(format!(
            "a frame of {size} bytes is too large"
        )));
    }
    Ok(bytes.into())
}

/// Decodes a frame.
///
/// # Errors
/// The bytes are not the JSON of such a value.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    Ok(serde_json::from_slice(bytes)?)
}

/// The worker's greeting. The first frame of either side contains its fields in every version of
/// the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerHello {
    /// [`PROTOCOL`] of the worker.
    pub protocol: u32,
    /// Version of the worker's binary.
    pub version: String,
    /// Worker id.
    pub worker: String,
    /// Process id of the worker, on its own host.
    pub pid: u32,
    /// Whether the worker refuses commands from every client.
    pub read_only: bool,
    /// Dagster's webserver, if the worker's configuration names one: for consoles without a
    /// configured one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webserver_url: Option<String>,
}

/// Identity and subscriptions of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientHello {
    /// [`PROTOCOL`] of the client.
    pub protocol: u32,
    /// Version of the client's binary.
    pub version: String,
    /// `user@host` as the client reports it; the audit log has it beside the kernel's value.
    pub from: String,
    /// Whether to refuse this client's commands.
    pub read_only: bool,
    /// Whether to send snapshots.
    pub snapshots: bool,
    /// Log lines to send.
    pub logs: LogStart,
}

/// Log lines that a client subscribes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogStart {
    /// No lines.
    Never,
    /// The last lines, then every new one.
    Tail,
    /// Lines after a position that an earlier link to the same process reached.
    After(u64),
}

/// Frame from the worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerFrame {
    /// The first frame.
    Hello(ServerHello),
    /// The whole state.
    Snapshot {
        /// The state.
        snapshot: Arc<WorkerSnapshot>,
        /// Number of snapshots skipped since this client came, because it was too slow.
        skipped: u64,
    },
    /// Log lines, oldest first.
    Logs {
        /// The lines.
        lines: Vec<LogLine>,
        /// The position after the last line.
        next: u64,
        /// Number of lines missed just before these, because this client was too slow.
        missed: u64,
    },
    /// Outcome of a command.
    Reply {
        /// The command's id.
        id: u64,
        /// The outcome.
        reply: Reply,
    },
    /// Sign of life without news.
    Heartbeat {
        /// Time by the worker's clock.
        at: Timestamp,
    },
    /// The client is refused; the link ends.
    Refused {
        /// The reason, in one sentence.
        reason: String,
    },
}

/// Frame from the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientFrame {
    /// The first frame.
    Hello(ClientHello),
    /// A command.
    Command {
        /// Chosen by the client; the reply carries it.
        id: u64,
        /// The command.
        command: Command,
        /// The operator's reason, for the audit log.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

/// `user@host` of this process, for [`ClientHello::from`].
#[must_use]
pub fn own_name() -> String {
    let user = user_name(rustix::process::geteuid().as_raw());
    format!("{user}@{}", own_host())
}

/// This host's name.
#[must_use]
pub fn own_host() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// The name of a user id, or `uid <number>`. The system's user database may be on another host:
/// blocks.
#[must_use]
pub fn user_name(uid: u32) -> String {
    uzers::get_user_by_uid(uid).map_or_else(
        || format!("uid {uid}"),
        |user| user.name().to_string_lossy().into_owned(),
    )
}
