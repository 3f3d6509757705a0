//! The browser of the desktop at which the operator sits.

use std::env;
use std::process::Stdio;

use tokio::process::Command;

/// Program that opens an address with what the desktop uses for it.
const OPENER: &str = "xdg-open";

/// Whether this process can show a browser to the operator: there is a display, and no ssh between.
pub(super) fn has_desktop() -> bool {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_remote = is_set("SSH_CONNECTION") || is_set("SSH_TTY");
    !is_remote && (is_set("WAYLAND_DISPLAY") || is_set("DISPLAY"))
}

/// Opens an address; returns one sentence in both cases. The browser outlives this process.
pub(super) async fn open(url: String) -> Result<String, String> {
    let failed = |reason: String| format!("Cannot open {url} with {OPENER}: {reason}; U copies it");
    let opening = Command::new(OPENER)
        .arg(&url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match opening.await {
        Ok(status) if status.success() => Ok(format!("Opened {url}")),
        Ok(status) => Err(failed(status.to_string())),
        Err(error) => Err(failed(error.to_string())),
    }
}
