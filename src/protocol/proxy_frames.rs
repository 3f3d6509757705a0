//! The protocol of the pipe to a remote proxy: frames as on a control socket, each with a channel
//! number before its content. Channel 0 carries the JSON of [`ProxyMessage`] and [`ProxyCommand`];
//! every other one carries the frames of one worker's socket, unread.

use std::io;
use std::path::PathBuf;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::domain::AuditEntry;
use crate::protocol::frames;

/// Version of the protocol. It is raised when a frame changes its meaning, not for a new optional
/// field.
pub const PROTOCOL: u32 = 1;

/// The channel of the proxy itself.
pub const OWN: u32 = 0;

/// The greeting of the proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`] of the proxy.
    pub protocol: u32,
    /// Version of its binary.
    pub version: String,
    /// Its host's own name.
    pub host: String,
    /// Whether it sends its audit log on request: earlier versions do not know the order.
    #[serde(default)]
    pub audit: bool,
}

/// Message from the proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyMessage {
    /// The first message.
    Hello(Hello),
    /// A worker listens on this socket.
    Found {
        /// Path on the proxy's host.
        socket: PathBuf,
    },
    /// No worker listens there any more.
    Gone {
        /// Path on the proxy's host.
        socket: PathBuf,
    },
    /// A channel ended.
    Closed {
        /// The channel.
        channel: u32,
    },
    /// New audit entries of this host, newest first and bounded.
    Audit {
        /// The entries of its user's audit log.
        entries: Vec<AuditEntry>,
    },
    /// Sign of life without news.
    Alive,
}

/// Order to the proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyCommand {
    /// Connect to an announced socket; the worker's frames arrive on `channel`.
    Open {
        /// Chosen by the opener, used once.
        channel: u32,
        /// Path on the proxy's host.
        socket: PathBuf,
    },
    /// Close a channel that is no longer read.
    Close {
        /// The channel.
        channel: u32,
    },
    /// Send audit entries from now on.
    Audit,
    /// Sign of life without an order.
    Alive,
}

/// Packs a frame of a channel.
#[must_use]
pub fn pack(channel: u32, content: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(frames::CHANNEL_BYTES + content.len());
    frame.put_u32(channel);
    frame.put_slice(content);
    frame.freeze()
}

/// Packs a frame of the proxy's own channel.
///
/// # Errors
/// The value cannot be JSON.
pub fn pack_own<T: Serialize>(value: &T) -> io::Result<Bytes> {
    Ok(pack(OWN, &frames::encode(value)?))
}

/// Splits a frame into channel and content.
///
/// # Errors
/// It is too short to contain a channel.
pub fn unpack(mut frame: Bytes) -> io::Result<(u32, Bytes)> {
    if frame.len() < frames::CHANNEL_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a frame without a channel",
        ));
    }
    let channel = frame.get_u32();
    Ok((channel, frame))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_frame_keeps_its_channel_and_content_and_a_short_one_is_refused() {
        let (channel, content) = unpack(pack(70_000, b"{}")).unwrap();
        assert_eq!((channel, content.as_ref()), (70_000, b"{}".as_slice()));
        assert!(unpack(Bytes::from_static(b"abc")).is_err());
    }
}
