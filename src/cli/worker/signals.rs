//! SIGTERM, SIGINT and SIGHUP: the first drains, the second SIGTERM or SIGINT stops.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing::info;

use crate::domain::Command;
use crate::protocol::Request;
use crate::telemetry::proc;

/// The signals that end a worker.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// `None` if the worker was started to ignore it, as `nohup` does.
    hang_up: Option<Signal>,
}

enum Arrived {
    /// SIGTERM or SIGINT.
    End,
    /// SIGHUP.
    HangUp,
}

impl Signals {
    /// Handles the signals from now on.
    pub fn install() -> std::io::Result<Self> {
        let hang_up = if is_hang_up_ignored() {
            None
        } else {
            Some(signal(SignalKind::hangup())?)
        };
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up,
        })
    }

    /// Completes at the next signal.
    pub async fn next(&mut self) {
        self.arrived().await;
    }

    async fn arrived(&mut self) -> Arrived {
        let hang_up = async {
            match &mut self.hang_up {
                Some(hang_up) => drop(hang_up.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => Arrived::End,
            _ = self.interrupt.recv() => Arrived::End,
            () = hang_up => Arrived::HangUp,
        }
    }

    /// Turns the signals into orders for as long as the pool lives.
    ///
    /// SIGHUP only drains, however often it comes and before or after a SIGTERM: a terminal that
    /// closes sends it from the shell and from the kernel, and the end of a session sends both.
    pub async fn into_orders(mut self, orders: mpsc::Sender<Request>) {
        let (mut drains, mut ends) = (false, 0);
        loop {
            match self.arrived().await {
                Arrived::HangUp if drains => continue,
                Arrived::HangUp => {
                    info!(
                        "the terminal is gone (SIGHUP): finishing what runs, giving the rest back"
                    );
                }
                Arrived::End => {
                    ends += 1;
                    match ends {
                        1 => info!(
                            "signal: finishing what runs, giving the rest back; a second signal \
                             stops it"
                        ),
                        2 => {
                            info!(
                                "second signal: what runs has its grace period, then it is killed \
                                 and goes on elsewhere"
                            );
                            order(&orders, Command::Stop).await;
                        }
                        _ => {}
                    }
                }
            }
            if !std::mem::replace(&mut drains, true) {
                order(&orders, Command::Drain { within: None }).await;
            }
        }
    }
}

/// Linux lists the signals that a process ignores, bit 0 for the first one, which is SIGHUP.
fn is_hang_up_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = proc::value(&status, "SigIgn:").and_then(|mask| u64::from_str_radix(mask, 16).ok());
    mask.is_some_and(|mask| mask & 1 == 1)
}

async fn order(orders: &mpsc::Sender<Request>, command: Command) {
    let (request, _) = Request::new(command);
    // A pool that is gone has already ended.
    let _ = orders.send(request).await;
}
