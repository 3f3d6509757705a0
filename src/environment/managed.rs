//! The Python environments of `demo` and the tests. Each is created once from a committed lock of
//! exact versions, kept in the user's cache folder and shared by all processes.
//!
//! It is built under a file lock in a folder beside its final place and then renamed, so an
//! incomplete environment is never used. A changed lock gets a new folder.

mod install;
mod interpreter;

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// The lock of the demo's environment.
pub const LOCK: &str = include_str!("../python/requirements.lock");

/// Variable that names the cache folder; without it the user's own cache folder is used.
pub const CACHE_DIR_VARIABLE: &str = "DAGSTER_TASKIQ_CACHE_DIR";

/// Variable that names the Python to build with; without it one is looked for on `PATH`.
pub const PYTHON_VARIABLE: &str = "DAGSTER_TASKIQ_BASE_PYTHON";

/// Error in providing a managed environment.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// Neither the variable nor a home folder is set.
    #[error(
        "there is no folder to keep the Python environment in: set {CACHE_DIR_VARIABLE} or HOME"
    )]
    NoCacheFolder,
    /// A file operation of our own failed.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// The operation.
        action: &'static str,
        /// Its target.
        path: PathBuf,
        /// Error reported by the operating system.
        source: io::Error,
    },
    /// No usable Python was found.
    #[error(
        "no Python from 3.10 to 3.13 was found (tried {tried}): install one (Debian: `apt install \
         python3 python3-venv`) or name one in {PYTHON_VARIABLE}"
    )]
    NoPython {
        /// The tried interpreters, each with its result.
        tried: String,
    },
    /// The Python found has neither pip nor ensurepip.
    #[error(
        "{} cannot install packages, it has neither pip nor ensurepip: run `apt install \
         python{version}-venv` (Debian, Ubuntu), or install pip or uv", python.display()
    )]
    NoPip {
        /// The interpreter.
        python: PathBuf,
        /// Its version, `3.11`.
        version: String,
    },
    /// A program that builds the environment failed.
    #[error(
        "making the Python environment in {} failed at `{command}`: {detail}", folder.display()
    )]
    Build {
        /// The environment's final folder.
        folder: PathBuf,
        /// The command, shortened.
        command: String,
        /// Its last lines, joined to one.
        detail: String,
    },
}

impl EnvironmentError {
    fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// A finished environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedPython {
    /// Its interpreter.
    pub python: PathBuf,
    /// The folder of its programs (`python`, `dagster`, `taskiq`, `ruff`, `pytest`).
    pub bin: PathBuf,
}

/// The folder of everything that this program can rebuild: `$DAGSTER_TASKIQ_CACHE_DIR`, or else
/// `dagster-taskiq-tui` in the user's cache folder. It is not created here.
///
/// # Errors
/// [`EnvironmentError::NoCacheFolder`] if neither is known.
pub fn cache_folder() -> Result<PathBuf, EnvironmentError> {
    if let Some(named) = std::env::var_os(CACHE_DIR_VARIABLE).filter(|value| !value.is_empty()) {
        return Ok(PathBuf::from(named));
    }
    directories::BaseDirs::new()
        .map(|dirs| dirs.cache_dir().join("dagster-taskiq-tui"))
        .ok_or(EnvironmentError::NoCacheFolder)
}

/// Returns the managed environment, and creates it first if necessary. `progress` receives one
/// sentence before each slow operation, and none if the environment already exists.
///
/// # Errors
/// [`EnvironmentError`], one sentence each, if the environment cannot be created.
pub fn ensure(progress: &mut dyn FnMut(&str)) -> Result<ManagedPython, EnvironmentError> {
    let base = std::env::var_os(PYTHON_VARIABLE).filter(|value| !value.is_empty());
    let base = base.map(PathBuf::from);
    ensure_in(&cache_folder()?, base.as_deref(), LOCK, progress)
}

/// As [`ensure`], with the cache folder, the interpreter to build with (`None`: the first suitable
/// one on `PATH`) and the text of the lock (a requirements file of exact versions) as parameters.
///
/// # Errors
/// As [`ensure`].
pub fn ensure_in(
    cache: &Path,
    base: Option<&Path>,
    lock: &str,
    progress: &mut dyn FnMut(&str),
) -> Result<ManagedPython, EnvironmentError> {
    let name = folder_name(base, lock);
    let folder = cache.join(&name);
    if let Some(finished) = finished(&folder) {
        return Ok(finished);
    }
    fs::create_dir_all(cache).map_err(EnvironmentError::file("create", cache))?;
    let _lock = take_lock(&cache.join(format!("{name}.lock")), progress)?;
    // Another process may have finished it while this one waited for the lock.
    if let Some(finished) = finished(&folder) {
        return Ok(finished);
    }
    remove_leftovers(cache, &name)?;
    install::build(cache, &folder, lock, base, progress)?;
    finished(&folder).ok_or_else(|| EnvironmentError::Build {
        folder: folder.clone(),
        command: "venv".to_owned(),
        detail: "the finished environment has no bin/python".to_owned(),
    })
}

/// The environment in a folder, if it is complete. The rename to this folder is the last step of a
/// build. A `python` that does not resolve means that the system's own Python was removed.
fn finished(folder: &Path) -> Option<ManagedPython> {
    let bin = folder.join("bin");
    let python = bin.join("python");
    fs::metadata(&python)
        .is_ok_and(|metadata| metadata.is_file())
        .then_some(ManagedPython { python, bin })
}

/// `env-` and 12 hex digits of the lock's SHA-256; a named interpreter has its own environments.
fn folder_name(base: Option<&Path>, lock: &str) -> String {
    let mut digest = Sha256::new();
    digest.update(lock.as_bytes());
    if let Some(base) = base {
        digest.update(base.as_os_str().as_encoded_bytes());
    }
    format!("env-{}", hex::encode(&digest.finalize()[..6]))
}

fn take_lock(path: &Path, progress: &mut dyn FnMut(&str)) -> Result<File, EnvironmentError> {
    let file = File::create(path).map_err(EnvironmentError::file("create", path))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => {
            progress("Waiting for another process that is making the Python environment");
        }
        Err(TryLockError::Error(source)) => {
            return Err(EnvironmentError::file("lock", path)(source));
        }
    }
    file.lock().map_err(EnvironmentError::file("lock", path))?;
    Ok(file)
}

/// Removes leftovers of killed builds, and an environment whose Python was removed.
fn remove_leftovers(cache: &Path, name: &str) -> Result<(), EnvironmentError> {
    let entries = fs::read_dir(cache).map_err(EnvironmentError::file("read", cache))?;
    let partial = format!("{name}.partial");
    for entry in entries.flatten() {
        let found = entry.file_name();
        let found = found.to_string_lossy();
        if *found == *name || found.starts_with(&partial) {
            let path = entry.path();
            fs::remove_dir_all(&path).map_err(EnvironmentError::file("remove", &path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failing test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_named_interpreter_and_another_lock_have_environments_of_their_own() {
        assert_ne!(
            folder_name(None, LOCK),
            folder_name(Some(Path::new("/opt/python")), LOCK)
        );
        assert_ne!(
            folder_name(None, LOCK),
            folder_name(None, "dagster==1.12.2")
        );
        assert_eq!(folder_name(None, LOCK).len(), "env-".len() + 12);
    }

    #[test]
    fn an_environment_whose_python_is_gone_is_not_finished_and_is_removed() {
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join("env-abc");
        fs::create_dir_all(folder.join("bin")).unwrap();
        std::os::unix::fs::symlink("/nowhere/python3", folder.join("bin/python")).unwrap();
        fs::create_dir(cache.path().join("env-abc.partial-1")).unwrap();
        fs::create_dir(cache.path().join("env-other")).unwrap();

        assert_eq!(finished(&folder), None);
        remove_leftovers(cache.path(), "env-abc").unwrap();

        let left: Vec<_> = fs::read_dir(cache.path()).unwrap().flatten().collect();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].file_name(), "env-other");
    }

    #[test]
    fn an_interpreter_that_does_not_exist_is_named_in_the_error() {
        let cache = tempfile::tempdir().unwrap();
        let base = Path::new("/nowhere/python3");
        let error = ensure_in(cache.path(), Some(base), LOCK, &mut |_| ()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("/nowhere/python3"), "{text}");
        assert!(text.contains(PYTHON_VARIABLE), "{text}");
    }
}
