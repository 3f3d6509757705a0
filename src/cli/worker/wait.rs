//! `--wait`: follows an ending worker until its process is gone, and prints the remaining tasks and
//! the deadline.

use std::io::{IsTerminal, Write};
use std::path::Path;

use crate::domain::{Timestamp, WorkerSnapshot};
use crate::fleet::client::{Connection, SubscribeOptions};
use crate::protocol::frames::{LogStart, ServerFrame};

/// Interval of the countdown.
const TICK: std::time::Duration = std::time::Duration::from_secs(1);

/// Returns when the worker has closed its socket. On a terminal one line on standard error counts
/// down in place; otherwise each new state is a line.
pub(super) async fn until_gone(socket: &Path) {
    let options = SubscribeOptions {
        read_only: true,
        snapshots: true,
        logs: LogStart::Never,
    };
    let Ok(connection) = Connection::open(socket).await else {
        return;
    };
    let Ok((mut input, _output)) = connection.start(options).await else {
        return;
    };
    let mut line = StatusLine::new();
    let mut last = None;
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            frame = input.next() => match frame {
                Ok(ServerFrame::Snapshot { snapshot, .. }) => last = Some(snapshot),
                Ok(_) => {}
                Err(_) => break,
            },
            _ = tick.tick() => {}
        }
        if let Some(snapshot) = &last {
            line.show(&sentence(snapshot, Timestamp::now()), &key(snapshot));
        }
    }
    line.end();
}

/// The state apart from time, to detect changes. A drain that is under way may be given another
/// deadline.
fn key(snapshot: &WorkerSnapshot) -> String {
    let worker = &snapshot.worker;
    let (state, deadline) = (worker.state.word(), worker.deadline);
    format!("{state} {} {deadline:?}", in_flight(snapshot))
}

fn in_flight(snapshot: &WorkerSnapshot) -> u32 {
    snapshot.worker.steps.busy + snapshot.worker.runs.busy
}

/// Formats a line such as `etl-1 is draining: 3 running, interrupts them in 42 s`.
fn sentence(snapshot: &WorkerSnapshot, now: Timestamp) -> String {
    let worker = &snapshot.worker;
    let running = in_flight(snapshot);
    let state = worker.state.word();
    let text = format!("{} is {state}: {running} running", worker.id);
    match worker.next_step(now).filter(|_| running > 0) {
        Some((what, seconds)) => format!("{text}, {what} in {seconds} s"),
        None => text,
    }
}

struct StatusLine {
    terminal: bool,
    shown: String,
}

impl StatusLine {
    fn new() -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
            shown: String::new(),
        }
    }

    fn show(&mut self, text: &str, key: &str) {
        let mut output = std::io::stderr();
        // The reader may be gone; the worker ends all the same.
        let _ = if self.terminal {
            write!(output, "\r\x1b[K{text}").and_then(|()| output.flush())
        } else if self.shown != key {
            writeln!(output, "{text}")
        } else {
            Ok(())
        };
        key.clone_into(&mut self.shown);
    }

    fn end(&self) {
        if self.terminal && !self.shown.is_empty() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
