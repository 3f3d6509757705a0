//! Folders of this program's own.

use std::path::PathBuf;

/// Folder for data that must outlive a process but can be lost: archives, logs, the console's
/// broker. `dagster-taskiq-tui` in the user's state folder; without a home folder, a folder of the
/// user's own among the temporary files.
#[must_use]
pub fn state_folder() -> PathBuf {
    let Some(folders) = directories::BaseDirs::new() else {
        let uid = rustix::process::geteuid().as_raw();
        return std::env::temp_dir().join(format!("dagster-taskiq-tui-state-{uid}"));
    };
    folders
        .state_dir()
        .unwrap_or_else(|| folders.data_local_dir())
        .join("dagster-taskiq-tui")
}
