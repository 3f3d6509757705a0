//! The operator's own editor, on a temporary file.

use std::env;
use std::io::{self, Write};

use tokio::process::Command;

/// Exit code of sh for a command that does not exist.
const NOT_FOUND: i32 = 127;

/// Opens text in `$VISUAL`, `$EDITOR` (both may carry arguments) or vi; returns the edited text, or
/// the reason for its absence in one sentence. The editor ends with the future.
pub(super) async fn edit(text: &str) -> Result<String, String> {
    let named = |name| {
        env::var(name)
            .ok()
            .filter(|editor| !editor.trim().is_empty())
    };
    // If neither is set, vi is the convention, and POSIX requires it.
    let editor = named("VISUAL")
        .or_else(|| named("EDITOR"))
        .unwrap_or_else(|| String::from("vi"));
    let failed = |error: io::Error| format!("Cannot have it edited by `{editor}`: {error}");
    let mut file = tempfile::Builder::new()
        .prefix("dagster-taskiq-")
        .suffix(".yaml")
        .tempfile()
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    // The variable is a shell fragment, as in git.
    let status = Command::new("sh")
        .args(["-c", &format!("{editor} \"$1\""), "editor"])
        .arg(file.path())
        .kill_on_drop(true)
        .status()
        .await
        .map_err(failed)?;
    if !status.success() {
        let hint = match status.code() {
            Some(NOT_FOUND) => "; set EDITOR to one that is there",
            _ => "",
        };
        return Err(format!(
            "`{editor}` ended with {status}: nothing was changed{hint}"
        ));
    }
    // By its path: editors replace the file.
    tokio::fs::read_to_string(file.path()).await.map_err(failed)
}
