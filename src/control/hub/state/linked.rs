//! One worker's socket as the hub knows it: what it last told, and whether its process is gone.

use std::sync::Arc;
use std::time::Instant;

use rustix::io::Errno;
use rustix::process::Pid;

use jiff::SignedDuration;

use crate::control::hub::link::{Address, LinkHandle, News};
use crate::control::hub::merge::Told;
use crate::control::protocol::ServerHello;
use crate::domain::{Source, SourceHealth, SourceKind, Timestamp, WorkerSnapshot, WorkerState};

/// One worker socket.
/// A difference below this may be the way of a message.
const CLOCKS_AGREE: SignedDuration = SignedDuration::from_secs(2);

#[derive(Debug)]
pub(in crate::control::hub) struct Linked {
    pub(in crate::control::hub) handle: LinkHandle,
    pub(in crate::control::hub) hello: Option<ServerHello>,
    /// The id it is shown and addressed with, where that is not its own.
    pub(super) alias: Option<String>,
    pub(in crate::control::hub) snapshot: Option<Arc<WorkerSnapshot>>,
    pub(in crate::control::hub) health: SourceHealth,
    pub(super) seen_at: Option<Timestamp>,
    /// When a broken link is tried again.
    pub(super) retry_at: Option<Timestamp>,
    /// When it last told something, by our clock.
    pub(super) heartbeat_at: Timestamp,
    /// How far our clock is ahead of its host's.
    pub(super) clock_behind: SignedDuration,
    /// Since when its process is known to be gone.
    pub(super) ended: Option<Instant>,
    /// What its own host says, where that is another one.
    pub(super) presence: Presence,
    /// Named by the user: kept even when nobody listens.
    pub(super) explicit: bool,
}

/// Whether a worker's socket is still there, by the word of another host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// It was found.
    Here,
    /// The host was linked anew and has not named it yet.
    Unsure,
    /// Nobody listens on it any more.
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

    /// The id it is shown and addressed with.
    pub(in crate::control::hub) fn id(&self) -> Option<&str> {
        let own = || Some(self.hello.as_ref()?.worker.as_str());
        self.alias.as_deref().or_else(own)
    }

    pub(super) fn heard(&mut self, news: News) {
        let now = Timestamp::now();
        match news {
            News::Up(hello) => {
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
            News::State(snapshot) => {
                self.snapshot = Some(snapshot);
                self.heartbeat_at = now;
                self.seen_at = Some(now);
            }
            News::Alive(at) => {
                self.heartbeat_at = now;
                self.clock_behind = now.duration_since(at);
                self.seen_at = Some(now);
            }
            News::Down(reason, retry_at) => {
                self.health = SourceHealth::Down { reason };
                self.retry_at = Some(retry_at);
            }
            News::Logs { .. } => {}
        }
    }

    /// Finds out whether the process behind a broken link is gone; whether that is news.
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
            // It never told anything: there is nothing to keep once its socket is gone.
            (None, _) => !address.socket.exists(),
        };
        if gone {
            self.ended = Some(Instant::now());
        }
        gone
    }

    /// How far its host's clock is behind ours, where that is more than a message takes.
    pub(super) fn differs(&self) -> SignedDuration {
        if self.clock_behind.abs() < CLOCKS_AGREE {
            SignedDuration::ZERO
        } else {
            self.clock_behind
        }
    }

    pub(super) fn told(&self) -> Option<Told<'_>> {
        let snapshot = self.snapshot.as_deref()?;
        Some(Told {
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
            // That nobody answers any more was said before, and is no trouble.
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

/// Whether a process of this host is no more.
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
