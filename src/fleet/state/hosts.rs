//! The hosts that are reached through ssh, and their reports on their workers.

use std::collections::VecDeque;
use std::sync::Arc;

use super::linked::Presence;
use super::{Address, FleetState};
use crate::domain::{AuditEntry, SourceHealth, Timestamp};
use crate::fleet::merge;
use crate::fleet::ssh_host::{self, HostEvent, HostHandle};

/// Maximum number of audit entries of one host.
const MAX_AUDIT: usize = 1_000;

/// Maximum number of linked workers of one host: far more than run on one, and few enough that a
/// host that names any number of sockets cannot fill this program's memory.
const MAX_WORKERS: usize = 256;

/// One host reached through ssh.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) handle: HostHandle,
    pub(super) health: SourceHealth,
    pub(super) seen_at: Option<Timestamp>,
    pub(super) retry_at: Option<Timestamp>,
    /// Its audit log, newest first.
    pub(super) audit: VecDeque<AuditEntry>,
}

impl FleetState {
    pub(super) fn link_host(&mut self, name: Arc<str>) {
        let (ssh, events) = (self.settings.ssh.clone(), self.settings.host_events.clone());
        let remote = Remote {
            handle: ssh_host::start(Arc::clone(&name), ssh, events),
            health: SourceHealth::Connecting,
            seen_at: None,
            retry_at: None,
            audit: VecDeque::new(),
        };
        self.hosts.insert(name, remote);
    }

    /// Handles a message from a host.
    pub(in crate::fleet) fn on_host_event(&mut self, name: &Arc<str>, event: HostEvent) {
        let Some(host) = self.hosts.get_mut(name) else {
            return;
        };
        let at = |socket| Address {
            host: Some(Arc::clone(name)),
            socket,
        };
        if let HostEvent::Down(reason, retry_at) = event {
            host.health = SourceHealth::Down { reason };
            host.retry_at = Some(retry_at);
            return;
        }
        host.seen_at = Some(Timestamp::now());
        match event {
            HostEvent::Found(socket) => {
                let address = at(socket);
                let linked = self.linked_of(name);
                match self.links.get_mut(&address) {
                    Some(link) => {
                        link.presence = Presence::Here;
                        link.handle.try_again();
                    }
                    None if linked < MAX_WORKERS => self.link(address, false),
                    None => tracing::warn!(
                        "{name} names more than {MAX_WORKERS} workers; {} is left out",
                        address.socket.display()
                    ),
                }
            }
            HostEvent::Gone(socket) => {
                if let Some(link) = self.links.get_mut(&at(socket)) {
                    link.presence = Presence::Gone;
                }
            }
            HostEvent::Up(hello) => {
                self.doubt(name, Presence::Here, Presence::Unsure);
                tracing::info!(
                    "connected to {name}: {} with dagster-taskiq-tui {}",
                    hello.host,
                    hello.version
                );
            }
            HostEvent::Alive => {
                // All existing workers were announced before.
                host.health = SourceHealth::Up;
                host.retry_at = None;
                self.doubt(name, Presence::Unsure, Presence::Gone);
            }
            HostEvent::Audit(entries) => {
                for entry in entries.into_iter().rev() {
                    host.audit.push_front(entry);
                }
                host.audit.truncate(MAX_AUDIT);
                self.audit_grew();
            }
            HostEvent::Down(..) => {}
        }
    }

    /// Merges the audit logs anew: this host's and those of the attached ones.
    pub(super) fn audit_grew(&mut self) {
        let attached = self.hosts.values().flat_map(|host| &host.audit);
        let audit = merge::audit(self.audit.iter().chain(attached));
        // Published with everything else that comes without a worker.
        self.runs_changed |= merge::renew(&mut self.current.audit, audit);
    }

    /// Changes the presence of a host's workers.
    fn doubt(&mut self, host: &str, before: Presence, after: Presence) {
        let links = self.links.iter_mut();
        for (_, link) in links.filter(|(address, _)| address.host.as_deref() == Some(host)) {
            if link.presence == before {
                link.presence = after;
            }
        }
    }

    /// Number of linked workers of a host.
    fn linked_of(&self, host: &str) -> usize {
        let addresses = self.links.keys();
        addresses
            .filter(|address| address.host.as_deref() == Some(host))
            .count()
    }

    /// Whether the link to an address's host is known to be broken.
    pub(super) fn is_cut_off(&self, address: &Address) -> bool {
        let host = address.host.as_ref().and_then(|host| self.hosts.get(host));
        host.is_some_and(|host| matches!(host.health, SourceHealth::Down { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::state;
    use super::*;

    #[tokio::test]
    async fn a_host_that_names_any_number_of_workers_is_linked_to_some() {
        let mut state = state();
        let host: Arc<str> = Arc::from("hostile");
        state.link_host(Arc::clone(&host));
        for number in 0..MAX_WORKERS + 10 {
            let socket = format!("/run/{number}.sock").into();
            state.on_host_event(&host, HostEvent::Found(socket));
        }
        assert_eq!(state.links.len(), MAX_WORKERS);
    }
}
