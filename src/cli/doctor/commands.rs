//! The commands: this program, and the name it has in the older Python system.

use std::path::{Path, PathBuf};

use super::Report;
use crate::cli::FORMER_NAME;

const OWN: &str = env!("CARGO_PKG_NAME");

pub(super) fn examine(report: &mut Report) {
    let this = std::env::current_exe().unwrap_or_else(|_| PathBuf::from(OWN));
    let former = on_path(FORMER_NAME).map_or_else(
        || format!("{FORMER_NAME} is not on PATH"),
        |found| format!("{FORMER_NAME} is {}", found.display()),
    );
    let this_is = format!("this is {}", this.display());
    match on_path(OWN) {
        None => report.ok("commands", format!("{this_is}, not on PATH; {former}")),
        Some(found) if is_same(&found, &this) => {
            report.ok("commands", format!("{this_is}; {former}"));
        }
        Some(found) => report.warning(
            "commands",
            format!(
                "{this_is}, and PATH has another one, {}: remove one of them; {former}",
                found.display()
            ),
        ),
    }
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

fn is_same(one: &Path, other: &Path) -> bool {
    let resolved = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    resolved(one) == resolved(other)
}
