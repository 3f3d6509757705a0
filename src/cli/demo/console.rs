//! The console on the demo's worker and webserver.

use super::services::Up;

/// The console could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("the console cannot be opened on {webserver}: {detail}")]
pub struct ConsoleError {
    webserver: String,
    detail: String,
}

/// Shows the console until the operator leaves it.
pub(super) async fn open(up: &Up) -> Result<(), ConsoleError> {
    let _ = &up.socket;
    Err(ConsoleError {
        webserver: up.webserver.clone(),
        detail: "it is not there yet".to_owned(),
    })
}
