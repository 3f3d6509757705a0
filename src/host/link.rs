//! A running Python process: frames in and out, lines of its output, and word of its death.

use std::io;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use super::protocol::{FromHost, MAX_FRAME, ToHost};
use super::spawner::Started;
use crate::domain::secrets::redact_in_place;

/// Frames on their way to one process. Each is at most a message; a process that does not read has
/// this many waiting at most, and then its senders wait, never its reader.
const OUTGOING: usize = 64;

/// News on its way from one process; the consumer only hands it on.
const INCOMING: usize = 256;

/// What a process tells.
#[derive(Debug)]
pub(super) enum News {
    Frame(FromHost),
    Line(String),
    /// It is dead and reaped; nothing follows.
    Died(String),
}

/// The sending side. Dropping the last clone closes the socket for writing.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub pid: u32,
    frames: mpsc::Sender<ToHost>,
}

impl Link {
    /// Takes over a started process. The second value yields its news in order.
    pub fn new(started: Started) -> (Self, mpsc::Receiver<News>) {
        let Started { mut child, socket } = started;
        let (read, write) = socket.into_split();
        let (frames, outgoing) = mpsc::channel(OUTGOING);
        let (news, incoming) = mpsc::channel(INCOMING);
        let pid = child.id().unwrap_or(0);
        tokio::spawn(write_frames(write, outgoing));
        if let Some(output) = child.stdout.take() {
            tokio::spawn(read_lines(output, news.clone()));
        }
        let errors = child
            .stderr
            .take()
            .map(|output| tokio::spawn(read_lines(output, news.clone())));
        tokio::spawn(async move {
            read_frames(read, &news).await;
            let _ = news.send(News::Died(wait(child, errors).await)).await;
        });
        (Self { pid, frames }, incoming)
    }

    /// Queues a frame; false when the process no longer takes any.
    pub async fn send(&self, frame: ToHost) -> bool {
        self.frames.send(frame).await.is_ok()
    }
}

fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder()
        .length_field_length(4)
        .max_frame_length(MAX_FRAME)
        .new_codec()
}

async fn write_frames(write: OwnedWriteHalf, mut outgoing: mpsc::Receiver<ToHost>) {
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

async fn read_frames(read: OwnedReadHalf, news: &mpsc::Sender<News>) {
    let mut framed = FramedRead::new(read, codec());
    while let Some(Ok(body)) = framed.next().await {
        match serde_json::from_slice::<FromHost>(&body) {
            Ok(mut frame) => {
                frame.redact();
                if news.send(News::Frame(frame)).await.is_err() {
                    return;
                }
            }
            Err(error) => tracing::warn!(%error, "a frame from a Python host cannot be read"),
        }
    }
}

/// Passes lines on until the end of the stream; returns the last one that is not blank.
async fn read_lines(output: impl AsyncRead + Unpin, news: mpsc::Sender<News>) -> Option<String> {
    let mut lines = BufReader::new(output).lines();
    let mut last = None;
    while let Ok(Some(mut line)) = lines.next_line().await {
        redact_in_place(&mut line);
        if !line.trim().is_empty() {
            last = Some(line.clone());
        }
        // A slow consumer costs lines, never the host's progress.
        let _ = news.try_send(News::Line(line));
    }
    last
}

/// How the process ended, with the last line it wrote on standard error.
async fn wait(mut child: Child, errors: Option<tokio::task::JoinHandle<Option<String>>>) -> String {
    let status = match child.wait().await {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    // A stray grandchild may hold the stream open: take what is there, do not wait for its end.
    let patience = std::time::Duration::from_millis(500);
    let last = match errors {
        Some(task) => tokio::time::timeout(patience, task)
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
