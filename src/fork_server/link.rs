//! A running Python process: frames in and out, lines of its output, and its death.

use std::io;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::process::Child;
use tokio::sync::{mpsc, watch};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use super::protocol::{FromProcess, MAX_FRAME, ToProcess};
use super::spawner::Started;
use crate::domain::secrets::redact_in_place;

/// Maximum number of frames waiting for one process. Each is at most a message; if a process does
/// not read, its senders wait, never its reader.
const OUTGOING: usize = 64;

/// Capacity of the channel of a process's messages; the consumer only passes them on.
const INCOMING: usize = 256;

/// Message from a process.
#[derive(Debug)]
pub(super) enum ProcessEvent {
    Frame(FromProcess),
    Line(String),
    /// The process is dead and reaped; nothing follows.
    Died(String),
}

/// The sending side. Dropping the last clone closes the socket for writing.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub pid: u32,
    frames: mpsc::Sender<ToProcess>,
    /// Reason to kill the process.
    kill: watch::Sender<Option<&'static str>>,
}

impl Link {
    /// Takes over a started process. The second value yields its messages in order.
    pub fn new(started: Started) -> (Self, mpsc::Receiver<ProcessEvent>) {
        let Started { mut child, socket } = started;
        let (read, write) = socket.into_split();
        let (frames, outgoing) = mpsc::channel(OUTGOING);
        let (events, incoming) = mpsc::channel(INCOMING);
        let pid = child.id().unwrap_or(0);
        tokio::spawn(write_frames(write, outgoing));
        if let Some(output) = child.stdout.take() {
            tokio::spawn(read_lines(output, events.clone()));
        }
        let errors = child
            .stderr
            .take()
            .map(|output| tokio::spawn(read_lines(output, events.clone())));
        let (kill, mut killed) = watch::channel(None);
        tokio::spawn(async move {
            let fault = tokio::select! {
                read = read_frames(read, &events) => read.err(),
                // Once the last sender is gone no kill can be requested: then its socket closes.
                Ok(why) = killed.wait_for(Option::is_some) => {
                    Some(io::Error::other((*why).unwrap_or_default()))
                }
            };
            if let Some(fault) = &fault {
                // It is alive, but its frames are not reliable: its tasks are looked up in the log.
                tracing::error!(pid, "a Python process is killed: {fault}");
                let _ = child.start_kill();
            }
            let ended = wait(child, errors).await;
            let why = fault.map_or(ended.clone(), |fault| format!("{fault} ({ended})"));
            let _ = events.send(ProcessEvent::Died(why)).await;
        });
        (Self { pid, frames, kill }, incoming)
    }

    /// Kills the process for this reason; its death is reported like any other.
    pub fn kill(&self, why: &'static str) {
        self.kill.send_replace(Some(why));
    }

    /// Queues a frame; false if the process no longer accepts any.
    pub async fn send(&self, frame: ToProcess) -> bool {
        self.frames.send(frame).await.is_ok()
    }
}

fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder()
        .length_field_length(4)
        .max_frame_length(MAX_FRAME)
        .new_codec()
}

async fn write_frames(write: OwnedWriteHalf, mut outgoing: mpsc::Receiver<ToProcess>) {
    let mut framed = FramedWrite::new(write, codec());
    while let Some(frame) = outgoing.recv().await {
        let sent = match serde_json::to_vec(&frame) {
            Ok(body) => framed.send(Bytes::from(body)).await,
            Err(error) => Err(io::Error::other(error)),
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "a frame could not be sent");
            return;
        }
    }
}

/// Passes frames on until the socket closes. Returns an error if a frame cannot be parsed: a caller
/// would wait for its answer in vain.
async fn read_frames(
    read: impl AsyncRead + Unpin,
    events: &mpsc::Sender<ProcessEvent>,
) -> Result<(), io::Error> {
    let mut framed = FramedRead::new(read, codec());
    while let Some(body) = framed.next().await {
        let body = match body {
            Ok(body) => body,
            // The process ended in mid-frame: its death is reported separately.
            Err(error) if error.kind() != io::ErrorKind::InvalidData => return Ok(()),
            Err(error) => return Err(io::Error::other(format!("it sent a bad frame: {error}"))),
        };
        let mut frame: FromProcess = serde_json::from_slice(&body)
            .map_err(|error| io::Error::other(format!("it sent an unreadable frame: {error}")))?;
        frame.redact();
        if events.send(ProcessEvent::Frame(frame)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Passes lines on until the end of the stream; returns the last one that is not blank.
async fn read_lines(
    output: impl AsyncRead + Unpin,
    events: mpsc::Sender<ProcessEvent>,
) -> Option<String> {
    let mut output = BufReader::new(output);
    let mut last = None;
    let mut bytes = Vec::new();
    // By bytes: a line that is not UTF-8 must not close the stream that the process writes to.
    while let Ok(1..) = output.read_until(b'\n', &mut bytes).await {
        let mut line = String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned();
        bytes.clear();
        redact_in_place(&mut line);
        if !line.trim().is_empty() {
            last = Some(line.clone());
        }
        // A slow consumer costs lines, never the host's progress.
        let _ = events.try_send(ProcessEvent::Line(line));
    }
    last
}

/// Waits for the end of the process; returns how it ended, with the last line it wrote on standard
/// error.
async fn wait(mut child: Child, errors: Option<tokio::task::JoinHandle<Option<String>>>) -> String {
    let status = match child.wait().await {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    // A stray grandchild may hold the stream open, so do not wait for its end.
    let limit = std::time::Duration::from_millis(500);
    let last = match errors {
        Some(task) => tokio::time::timeout(limit, task)
            .await
            .ok()
            .and_then(Result::ok)
            .flatten(),
        None => None,
    };
    match last {
        Some(line) => format!("{status}: {}", line.trim()),
        None => status,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    /// Reads the frames a process sent before it closed its socket.
    async fn read(bytes: &[u8]) -> (Result<(), io::Error>, usize) {
        let (events, mut incoming) = mpsc::channel(8);
        let result = read_frames(bytes, &events).await;
        let mut frames = 0;
        while incoming.try_recv().is_ok() {
            frames += 1;
        }
        (result, frames)
    }

    fn framed(body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&length[..], body].concat()
    }

    #[tokio::test]
    async fn a_frame_that_cannot_be_read_is_a_fault_and_an_end_in_mid_frame_is_not() {
        let good = framed(br#"{"kind": "stale", "id": "1"}"#);
        assert!(matches!(read(&good).await, (Ok(()), 1)));
        assert!(matches!(read(&good[..9]).await, (Ok(()), 0)));
        let half_a_surrogate = framed(br#"{"kind": "load_error", "reason": "\udce9"}"#);
        let (result, frames) = read(&[good.clone(), half_a_surrogate].concat()).await;
        assert!(result.unwrap_err().to_string().contains("unreadable frame"));
        assert_eq!(frames, 1);
        let too_long = [0xff; 8];
        let (result, _) = read(&[&good[..], &too_long].concat()).await;
        assert!(result.unwrap_err().to_string().contains("bad frame"));
    }
}
