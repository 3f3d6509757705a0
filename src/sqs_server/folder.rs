//! The data folder: created if missing, used by one process at a time.

use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::SqsServerError;

/// A data folder that this process holds until the value is dropped.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Creates the folder if necessary, accessible to its owner only, and locks it. Messages may
    /// contain a database's password. An existing folder keeps its mode, and new files in it are
    /// accessible to the owner only.
    ///
    /// # Errors
    /// The folder cannot be created or written to, or another process holds it.
    pub fn open(path: &Path) -> Result<Self, SqsServerError> {
        let refuse = |source| SqsServerError::Folder {
            path: path.to_owned(),
            source,
        };
        make(path).map_err(refuse)?;
        let lock = private(&path.join("lock")).map_err(refuse)?;
        match lock.try_lock() {
            Ok(()) => {
                let folder = Self {
                    path: path.to_owned(),
                    _lock: lock,
                };
                // SQLite gives its journal the mode of the database.
                private(&folder.database()).map_err(refuse)?;
                Ok(folder)
            }
            Err(TryLockError::WouldBlock) => Err(SqsServerError::FolderInUse {
                path: path.to_owned(),
            }),
            Err(TryLockError::Error(source)) => Err(refuse(source)),
        }
    }

    /// The database file.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.path.join("broker.sqlite")
    }

    /// Bytes the database and its journal take on disk.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        ["broker.sqlite", "broker.sqlite-wal"]
            .iter()
            .filter_map(|name| std::fs::metadata(self.path.join(name)).ok())
            .map(|metadata| metadata.len())
            .sum()
    }
}

fn make(folder: &Path) -> std::io::Result<()> {
    if let Some(parent) = folder.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(_) if folder.is_dir() => Ok(()),
        made => made,
    }
}

/// Opens a file; creates it with access for the owner only if it is missing.
fn private(path: &Path) -> std::io::Result<File> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_new_folder_and_its_files_are_for_their_owner_alone() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let folder = DataFolder::open(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&folder.database()), 0o600);
        assert_eq!(mode(&path.join("lock")), 0o600);
    }

    #[test]
    fn a_folder_that_is_there_keeps_its_mode() {
        let parent = tempfile::tempdir().unwrap();
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(parent.path(), open).unwrap();
        let folder = DataFolder::open(parent.path()).unwrap();
        assert_eq!(mode(parent.path()), 0o755);
        assert_eq!(mode(&folder.database()), 0o600);
    }
}
