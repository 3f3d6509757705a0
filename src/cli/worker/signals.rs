//! SIGTERM and SIGINT: the first drains, the second stops.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing::info;

use crate::domain::Command;
use crate::protocol::Request;

/// The signals that end a worker.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Handles both signals from now on.
    pub fn install() -> std::io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self {
            terminate,
            interrupt,
        })
    }

    /// Completes at the next signal.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Turns the signals into orders for as long as the pool lives.
    pub async fn into_orders(mut self, orders: mpsc::Sender<Request>) {
        self.next().await;
        info!("signal: finishing what runs, giving the rest back; a second signal stops it");
        order(&orders, Command::Drain { within: None }).await;
        self.next().await;
        info!(
            "second signal: what runs has its grace period, then it is killed and goes on elsewhere"
        );
        order(&orders, Command::Stop).await;
        std::future::pending::<()>().await;
    }
}

async fn order(orders: &mpsc::Sender<Request>, command: Command) {
    let (request, _) = Request::new(command);
    // A pool that is gone has already ended.
    let _ = orders.send(request).await;
}
