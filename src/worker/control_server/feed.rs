//! The data sent to one console: two feeders (snapshots, log lines) and a writer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::SinkExt;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::domain::Timestamp;
use crate::protocol::frames::{FrameWriter, LogStart, ServerFrame, encode};
use crate::worker::log_ring::LogRing;
use crate::worker::status_store::Subscription;

/// Interval between sends: at most ten snapshots and ten batches of lines a second.
const SEND_EVERY: Duration = Duration::from_millis(100);

/// Interval of the heartbeat of a quiet worker.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(5);

/// Maximum lines and message bytes per batch, and lines of history for a console that attaches.
const BATCH_LINES: usize = 500;
const BATCH_BYTES: usize = 256 * 1024;
const HISTORY_LINES: usize = 1_000;

/// Sends the latest snapshot, at most ten a second. A snapshot waiting for a slow client is
/// replaced by the next, and counted. The last state is sent before the end.
pub(super) async fn feed_snapshots(
    look: Subscription,
    out: mpsc::Sender<Bytes>,
    ending: &CancellationToken,
) {
    let mut published = look.snapshot.clone();
    let mut skipped = 0;
    let mut store_lives = true;
    published.mark_changed();
    while !out.is_closed() {
        let last = tokio::select! {
            biased;
            changed = published.changed(), if store_lives => {
                store_lives = changed.is_ok();
                false
            }
            () = ending.cancelled() => true,
            () = sleep(HEARTBEAT_EVERY) => {
                let heartbeat = ServerFrame::Heartbeat { at: Timestamp::now() };
                let _ = encode(&heartbeat).map(|bytes| out.try_send(bytes));
                continue;
            }
        };
        let permit = loop {
            tokio::select! {
                biased;
                permit = out.reserve() => break permit,
                Ok(()) = published.changed() => skipped += 1,
            }
        };
        let snapshot = Arc::clone(&published.borrow_and_update());
        let frame = ServerFrame::Snapshot { snapshot, skipped };
        match (permit, encode(&frame)) {
            (Ok(permit), Ok(bytes)) => permit.send(bytes),
            (Err(_), _) => return,
            (_, Err(error)) => tracing::error!("cannot send a snapshot: {error}"),
        }
        if last {
            return;
        }
        pause(ending).await;
    }
}

/// Sends log lines in batches; lines that the ring lost before the client took them are counted.
pub(super) async fn feed_logs(
    ring: &LogRing,
    start: LogStart,
    out: mpsc::Sender<Bytes>,
    ending: &CancellationToken,
) {
    let mut after = match start {
        LogStart::Never => return,
        LogStart::Tail => ring.tail(HISTORY_LINES),
        LogStart::After(position) => position,
    };
    let mut written = ring.watch();
    while let Ok(permit) = out.reserve().await {
        written.borrow_and_update();
        let batch = ring.read(after, BATCH_LINES, BATCH_BYTES);
        if batch.lines.is_empty() {
            if ending.is_cancelled() {
                return;
            }
            tokio::select! {
                _ = written.changed() => {}
                () = ending.cancelled() => {}
            }
            continue;
        }
        after = batch.next;
        let frame = ServerFrame::Logs {
            lines: batch.lines,
            next: batch.next,
            missed: batch.missed,
        };
        match encode(&frame) {
            Ok(bytes) => permit.send(bytes),
            Err(error) => tracing::error!("cannot send log lines: {error}"),
        }
        pause(ending).await;
    }
}

/// Waits for the interval between two frames of a kind, unless the end has come.
async fn pause(ending: &CancellationToken) {
    tokio::select! {
        () = sleep(SEND_EVERY) => {}
        () = ending.cancelled() => {}
    }
}

/// Writes the prepared frames, replies first, until all feeders have ended.
pub(super) async fn write_frames(
    mut output: FrameWriter<OwnedWriteHalf>,
    mut replies: mpsc::Receiver<Bytes>,
    mut snapshots: mpsc::Receiver<Bytes>,
    mut logs: mpsc::Receiver<Bytes>,
) -> io::Result<()> {
    loop {
        let frame = tokio::select! {
            biased;
            Some(frame) = replies.recv() => frame,
            Some(frame) = snapshots.recv() => frame,
            Some(frame) = logs.recv() => frame,
            else => return Ok(()),
        };
        output.send(frame).await?;
    }
}
