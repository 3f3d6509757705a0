//! Folders of this program's own.

use std::path::PathBuf;

/// Where what must outlive a process but can be lost is kept: archives, logs, the console's
/// broker. `dagster-taskiq-tui` in the user's state folder; without a home folder, in the one for
/// temporary files.
#[must_use]
pub fn state_folder() -> PathBuf {
    let base = directories::BaseDirs::new().map_or_else(std::env::temp_dir, |folders| {
        folders
            .state_dir()
            .unwrap_or_else(|| folders.data_local_dir())
            .to_owned()
    });
    base.join("dagster-taskiq-tui")
}
