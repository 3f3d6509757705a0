//! The demo's folder: fresh at each start, one demo at a time in each.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Marks a folder as the demo's own, which it may empty.
const MARKER: &str = ".dagster-taskiq-demo";

/// Maximum number of demos that a user may run side by side without naming a folder for each.
const SIDE_BY_SIDE: u32 = 8;

/// Reason why there is no folder for the demo.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file operation failed.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// It contains something else.
    #[error(
        "{} is not empty and not a demo's folder: name a new or empty one with --dir", .0.display()
    )]
    NotOurs(PathBuf),
    /// Another demo is running in it.
    #[error("another demo is using {}: end it, or name another folder with --dir", .0.display())]
    InUse(PathBuf),
}

/// The folder, locked while this value lives.
#[derive(Debug)]
pub(super) struct State {
    folder: PathBuf,
    _lock: File,
}

impl State {
    /// Takes the named folder, or the first unused one of `demo`, `demo-2`, … in the cache folder,
    /// and empties it: the last demo's files can be inspected until the next one starts.
    pub fn take(named: Option<&Path>, cache: &Path) -> Result<Self, StateError> {
        if let Some(folder) = named {
            return Self::take_folder(folder);
        }
        for number in 1..=SIDE_BY_SIDE {
            let folder = match number {
                1 => cache.join("demo"),
                n => cache.join(format!("demo-{n}")),
            };
            match Self::take_folder(&folder) {
                Err(StateError::InUse(_)) => {}
                other => return other,
            }
        }
        Err(StateError::InUse(cache.join("demo")))
    }

    fn take_folder(folder: &Path) -> Result<Self, StateError> {
        fs::create_dir_all(folder).map_err(file("create", folder))?;
        // Absolute, because processes with other working directories use it.
        let folder = folder.canonicalize().map_err(file("find", folder))?;
        let marker = folder.join(MARKER);
        if !marker.exists() {
            let mut entries = fs::read_dir(&folder).map_err(file("read", &folder))?;
            if entries.next().is_some() {
                return Err(StateError::NotOurs(folder));
            }
        }
        let lock = File::create(&marker).map_err(file("create", &marker))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateError::InUse(folder)),
            Err(TryLockError::Error(error)) => return Err(file("lock", &marker)(error)),
        }
        empty(&folder)?;
        for name in ["home", "broker", "logs", "project"] {
            let path = folder.join(name);
            fs::create_dir(&path).map_err(file("create", &path))?;
        }
        let sample = folder.join("project/demo_project");
        fs::create_dir(&sample).map_err(file("create", &sample))?;
        Ok(Self {
            folder,
            _lock: lock,
        })
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// `DAGSTER_HOME`.
    pub fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    /// The embedded broker's data.
    pub fn broker(&self) -> PathBuf {
        self.folder.join("broker")
    }

    /// Log files of the child processes.
    pub fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    /// Writes a file into the folder.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf, StateError> {
        let path = self.folder.join(name);
        fs::write(&path, text).map_err(file("write", &path))?;
        Ok(path)
    }
}

fn empty(folder: &Path) -> Result<(), StateError> {
    let entries = fs::read_dir(folder).map_err(file("read", folder))?;
    for entry in entries.flatten().filter(|e| e.file_name() != MARKER) {
        let path = entry.path();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let removed = if is_folder {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.map_err(file("remove", &path))?;
    }
    Ok(())
}

fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    move |source| StateError::File {
        action,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failing test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_second_demo_takes_a_folder_of_its_own_and_the_first_ones_is_free_again_later() {
        let cache = tempfile::tempdir().unwrap();
        let first = State::take(None, cache.path()).unwrap();
        let second = State::take(None, cache.path()).unwrap();
        assert_ne!(first.folder(), second.folder());
        let folder = first.folder().to_owned();
        drop(first);
        assert_eq!(State::take(None, cache.path()).unwrap().folder(), folder);
    }

    #[test]
    fn a_named_folder_in_use_is_refused_with_what_to_do() {
        let cache = tempfile::tempdir().unwrap();
        let named = cache.path().join("mine");
        let _first = State::take(Some(&named), cache.path()).unwrap();
        let error = State::take(Some(&named), cache.path()).unwrap_err();
        assert!(error.to_string().contains("--dir"), "{error}");
    }

    #[test]
    fn a_folder_with_other_files_is_left_alone() {
        let cache = tempfile::tempdir().unwrap();
        let letter = cache.path().join("letter.txt");
        fs::write(&letter, "dear").unwrap();
        let error = State::take(Some(cache.path()), cache.path()).unwrap_err();
        assert!(matches!(error, StateError::NotOurs(_)));
        assert_eq!(fs::read_to_string(&letter).unwrap(), "dear");
    }

    #[test]
    fn a_start_empties_what_the_last_demo_left() {
        let cache = tempfile::tempdir().unwrap();
        let first = State::take(None, cache.path()).unwrap();
        first.write("home/old.db", "old").unwrap();
        drop(first);
        let second = State::take(None, cache.path()).unwrap();
        assert!(!second.home().join("old.db").exists());
        assert!(second.home().is_dir());
    }
}
