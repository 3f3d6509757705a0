//! The kind of process that steps get, as determined by the workers running on this host. `doctor`
//! loads no code itself: importing it may do anything.

use super::Report;
use crate::config::Settings;
use crate::domain::{ForkServerView, Isolation};
use crate::fleet::client;

pub(super) async fn examine(report: &mut Report, settings: &Settings) {
    let configured = settings.isolation.value;
    let mut known = false;
    for socket in client::discover().await {
        let Ok(snapshot) = client::status(&socket.path).await else {
            continue;
        };
        for host in &snapshot.worker.hosts {
            if let Some(mode) = host.isolation {
                known = true;
                add_mode(report, &snapshot.worker.id, host, mode, configured);
            }
        }
    }
    if !known {
        report.ok(
            "isolation",
            format!(
                "{configured}, from {}; which code is forked is known once a worker on this host has \
                 loaded it",
                settings.isolation.origin
            ),
        );
    }
}

fn add_mode(
    report: &mut Report,
    worker: &str,
    host: &ForkServerView,
    mode: Isolation,
    configured: Isolation,
) {
    let reason = host.isolation_reason.as_deref().unwrap_or_default();
    let message = format!("{} on worker {worker}: {mode}; {reason}", host.location);
    // The worker chose it, and it is slower than it could be.
    if configured == Isolation::Auto && mode == Isolation::Reuse {
        report.warning("isolation", message);
    } else {
        report.ok("isolation", message);
    }
}
