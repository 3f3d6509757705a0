//! What crosses the pipe to a remote proxy: frames as on a control socket, each with a channel
//! number before its content. Channel 0 carries the JSON of [`News`] and [`Order`]; every other one
//! carries the frames of one worker's socket, unread.

use std::io;
use std::path::PathBuf;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::control::protocol;
use crate::domain::AuditEntry;

/// Raised when a frame changes its meaning; a new optional field does not.
pub const PROTOCOL: u32 = 1;

/// The channel of the proxy itself.
pub const OWN: u32 = 0;

/// Says who answers on the far side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`] of the proxy.
    pub protocol: u32,
    /// Version of its binary.
    pub version: String,
    /// Its host's own name.
    pub host: String,
    /// It tells of its audit log to whoever asks: earlier versions do not know the question.
    #[serde(default)]
    pub audit: bool,
}

/// From the proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum News {
    /// First of all.
    Hello(Hello),
    /// A worker listens on this socket.
    Found {
        /// Path on the proxy's host.
        socket: PathBuf,
    },
    /// Nobody listens there any more.
    Gone {
        /// Path on the proxy's host.
        socket: PathBuf,
    },
    /// A channel is over.
    Closed {
        /// Which.
        channel: u32,
    },
    /// What was asked on this host since the last time, newest first and bounded.
    Audit {
        /// The entries of its user's audit log.
        entries: Vec<AuditEntry>,
    },
    /// Nothing new, but alive.
    Alive,
}

/// To the proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Connect to a socket that was found; what the worker says arrives on `channel`.
    Open {
        /// Chosen by whoever opens, used once.
        channel: u32,
        /// Path on the proxy's host.
        socket: PathBuf,
    },
    /// Nobody listens to the channel any more.
    Close {
        /// Which.
        channel: u32,
    },
    /// Tell of the audit log from now on.
    Audit,
    /// Nothing to ask, but alive.
    Alive,
}

/// A frame of a channel.
#[must_use]
pub fn pack(channel: u32, content: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(protocol::CHANNEL_BYTES + content.len());
    frame.put_u32(channel);
    frame.put_slice(content);
    frame.freeze()
}

/// A frame of the proxy's own channel.
///
/// # Errors
/// When the value cannot be JSON.
pub fn pack_own<T: Serialize>(value: &T) -> io::Result<Bytes> {
    Ok(pack(OWN, &protocol::encode(value)?))
}

/// The channel and the content of a frame.
///
/// # Errors
/// When it is too short to name a channel.
pub fn unpack(mut frame: Bytes) -> io::Result<(u32, Bytes)> {
    if frame.len() < protocol::CHANNEL_BYTES {
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
