//! One worker's socket in the aggregator: its last report, and whether its process is gone.

use std::sync::Arc;
use std::time::Instant;

use rustix::io::Errno;
use rustix::process::Pid;

use jiff::SignedDuration;

use crate::domain::{Source, SourceHealth, SourceKind, Timestamp, WorkerSnapshot, WorkerState};
use crate::fleet::link::{Address, LinkEvent, LinkHandle};
use crate::fleet::merge::WorkerReport;
use crate::protocol::frames::ServerHello;

/// Clock difference that counts as none: it may be the transit time of a message.
const CLOCKS_AGREE: SignedDuration = SignedDuration::from_secs(2);

#[derive(Debug)]
pub(in crate::fleet) struct Linked {
    pub(in crate::fleet) handle: LinkHandle,
    pub(in crate::fleet) hello: Option<ServerHello>,
    /// Its id for display and addressing, if that is not its own.
    pub(super) alias: Option<String>,
    pub(in crate::fleet) snapshot: Option<Arc<WorkerSnapshot>>,
    pub(in crate::fleet) health: SourceHealth,
    pub(super) seen_at: Option<Timestamp>,
    /// Time at which a broken link is retried.
    pub(super) retry_at: Option<Timestamp>,
    /// Time of its last report, by our clock.
    pub(super) heartbeat_at: Timestamp,
    /// Offset of our clock ahead of its host's.
    pub(super) clock_behind: SignedDuration,
    /// Time since which its process is known to be gone.
    pub(super) ended: Option<Instant>,
    /// Presence reported by its own host, if that is another one.
    pub(super) presence: Presence,
    /// Whether the user named it: it is then kept even if no process listens.
    pub(super) explicit: bool,
}

/// Whether a worker's socket still exists, as reported by another host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// It was found.
    Here,
    /// The host was linked anew and has not announced it yet.
    Unsure,
    /// No process listens on it any more.
    Gone,
}

impl Linked {
    pub(super) fn new(handle: LinkHandle, explicit: bool) -> Self {
        Self {
            handle,
            hello: None,
            alias: None,
            snapshot: None,
            health: SourceHealth::Connecting,
            seen_at: None,
            retry_at: None,
            heartbeat_at: Timestamp::MIN,
            clock_behind: SignedDuration::ZERO,
            ended: None,
            presence: Presence::Here,
            explicit,
        }
    }

    /// Its id for display and addressing.
    pub(in crate::fleet) fn id(&self) -> Option<&str> {
        let own = || Some(self.hello.as_ref()?.worker.as_str());
        self.alias.as_deref().or_else(own)
    }

    pub(super) fn on_event(&mut self, event: LinkEvent) {
        let now = Timestamp::now();
        match event {
            LinkEvent::Up(hello) => {
                let another = self
                    .hello
                    .as_ref()
                    .is_some_and(|known| known.pid != hello.pid);
                if another {
                    self.snapshot = None;
                    self.heartbeat_at = Timestamp::MIN;
                }
                self.hello = Some(hello);
                self.ended = None;
                self.health = SourceHealth::Up;
                self.retry_at = None;
                self.seen_at = Some(now);
            }
            LinkEvent::State(snapshot) => {
                self.snapshot = Some(snapshot);
                self.heartbeat_at = now;
                self.seen_at = Some(now);
            }
            LinkEvent::Alive(at) => {
                self.heartbeat_at = now;
                self.clock_behind = now.duration_since(at);
                self.seen_at = Some(now);
            }
            LinkEvent::Down(reason, retry_at) => {
                self.health = SourceHealth::Down { reason };
                self.retry_at = Some(retry_at);
            }
            LinkEvent::Logs { .. } => {}
        }
    }

    /// Checks whether the process behind a broken link is gone; returns whether that is new.
    pub(super) fn notice_end(&mut self, host: &str, address: &Address) -> bool {
        let down = matches!(self.health, SourceHealth::Down { .. });
        if !down || self.ended.is_some() {
            return false;
        }
        let gone = match (&self.snapshot, &self.hello) {
            (Some(last), _) if last.worker.state == WorkerState::Stopped => true,
            _ if address.host.is_some() => self.presence == Presence::Gone,
            (Some(last), Some(hello)) if last.worker.hostname == host => is_gone(hello.pid),
            (Some(_), _) => false,
            // It never sent a report: there is nothing to keep once its socket is gone.
            (None, _) => !address.socket.exists(),
        };
        if gone {
            self.ended = Some(Instant::now());
        }
        gone
    }

    /// Offset by which its host's clock is behind ours, if that is more than the transit time of a
    /// message.
    pub(super) fn differs(&self) -> SignedDuration {
        if self.clock_behind.abs() < CLOCKS_AGREE {
            SignedDuration::ZERO
        } else {
            self.clock_behind
        }
    }

    pub(super) fn report(&self) -> Option<WorkerReport<'_>> {
        let snapshot = self.snapshot.as_deref()?;
        Some(WorkerReport {
            snapshot,
            id: self.alias.as_deref().unwrap_or(&snapshot.worker.id),
            heartbeat_at: self.heartbeat_at,
            clock_behind: self.differs(),
            ended: self.ended.is_some(),
            linked: self.health == SourceHealth::Up,
        })
    }

    pub(super) fn source(&self, address: &Address) -> Source {
        let last = self.snapshot.as_deref().map(|last| last.worker.state);
        let stopped = self.ended.is_some() && last == Some(WorkerState::Stopped);
        Source {
            kind: SourceKind::Worker,
            address: address.label().display().to_string(),
            // The end was announced before, so the silence is not a failure.
            health: if stopped {
                SourceHealth::Absent
            } else {
                self.health.clone()
            },
            seen_at: self.seen_at,
            retry_at: self.retry_at.filter(|_| !stopped),
        }
    }
}

/// Whether a process of this host has ended.
fn is_gone(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) == Err(Errno::SRCH))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_process_is_gone_once_it_has_ended() {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        assert!(!is_gone(child.id()));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(is_gone(child.id()));
    }
}
