//! The data folder: made when absent, used by one process at a time.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use super::LocalBrokerError;

/// A data folder that this process holds until the value is dropped.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Makes the folder if need be and takes its lock.
    ///
    /// # Errors
    /// It cannot be made or written to, or another process holds it.
    pub fn open(path: &Path) -> Result<Self, LocalBrokerError> {
        let refuse = |source| LocalBrokerError::Folder {
            path: path.to_owned(),
            source,
        };
        std::fs::create_dir_all(path).map_err(refuse)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("lock"))
            .map_err(refuse)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(LocalBrokerError::FolderInUse {
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
