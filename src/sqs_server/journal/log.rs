//! Making commits durable: `SQLite`'s write-ahead log, flushed by us.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::Path;

use super::Durability;

/// The file commits are appended to. `SQLite` as it is built here flushes it with `fsync`, within
/// the commit; here it is `fdatasync`, which leaves out the file's times (measured: half the time),
/// and another thread can wait for it while the next group is written.
#[derive(Debug)]
pub struct Log {
    file: File,
    durability: Durability,
}

impl Log {
    /// The log of the database at `path`. It stays the same file as long as the database is open.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn open(path: &Path, durability: Durability) -> io::Result<Self> {
        let mut name = OsString::from(path);
        name.push("-wal");
        let file = File::options().read(true).write(true).open(name)?;
        if durability == Durability::Disk
            && let Some(folder) = path.parent()
        {
            // Makes the files of a new folder survive a power failure.
            File::open(folder)?.sync_all()?;
        }
        Ok(Self { file, durability })
    }

    /// Uses any file as a log that is flushed to disk.
    #[cfg(test)]
    #[must_use]
    pub fn of(file: File) -> Self {
        Self {
            file,
            durability: Durability::Disk,
        }
    }

    /// Whether [`Log::flush`] waits for the disk.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.durability == Durability::Disk
    }

    /// Returns once every commit before the call is on the disk.
    ///
    /// # Errors
    /// Those of the operating system. The commits may or may not be on the disk, and no later flush
    /// can determine it: the kernel forgets which pages failed.
    pub fn flush(&self) -> io::Result<()> {
        match self.durability {
            Durability::Disk => self.file.sync_data(),
            Durability::Os => Ok(()),
        }
    }
}
