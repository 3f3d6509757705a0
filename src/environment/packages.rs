//! The Python packages inside the binary, and the folders they are unpacked to.
//!
//! `host/_dagster_taskiq_host` is the code of the warm hosts. `lib/dagster_taskiq` is the package
//! that Dagster imports, with the part of the former that it uses. They are two folders, so that
//! adding the first to Python's path does not shadow an installed `dagster_taskiq`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use include_dir::{Dir, File, include_dir};
use sha2::{Digest, Sha256};

static PYTHON: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/src/python");

/// Packages of each folder.
const PLACES: [(&str, &str); 3] = [
    ("_dagster_taskiq_host", "host"),
    ("_dagster_taskiq_host", "lib"),
    ("dagster_taskiq", "lib"),
];

/// Folders of the unpacked packages, each ready for Python's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// Contains `_dagster_taskiq_host`.
    pub host: PathBuf,
    /// Contains `dagster_taskiq`, and `_dagster_taskiq_host` in case no worker's own comes first.
    pub library: PathBuf,
}

/// The packages cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// There is no cache folder.
    #[error("no cache folder for the Python packages: set HOME or DAGSTER_TASKIQ_CACHE_DIR")]
    NoCache,
    /// A file cannot be written.
    #[error("cannot unpack the Python packages into {}: {source}", folder.display())]
    Write {
        /// The target.
        folder: PathBuf,
        /// Error reported by the operating system.
        source: io::Error,
    },
}

/// Unpacks into [`super::managed::cache_folder`], once per version of the packages.
///
/// # Errors
/// There is no cache folder or it cannot be written.
pub fn unpack() -> Result<Unpacked, UnpackError> {
    unpack_below(&super::managed::cache_folder().map_err(|_| UnpackError::NoCache)?)
}

/// Unpacks into `<cache>/python-<hash of the contents>`. Any number of processes may do so at once:
/// each writes to its own folder beside it, and renames it.
///
/// # Errors
/// The folder cannot be written.
pub fn unpack_below(cache: &Path) -> Result<Unpacked, UnpackError> {
    let files = files();
    let target = cache.join(format!("python-{}", fingerprint(&files)));
    let unpacked = Unpacked {
        host: target.join("host"),
        library: target.join("lib"),
    };
    if target.is_dir() {
        return Ok(unpacked);
    }
    write(&files, cache, &target).map_err(|source| UnpackError::Write {
        folder: target,
        source,
    })?;
    Ok(unpacked)
}

/// Every embedded file with its place in the unpacked folder, in a stable order.
fn files() -> Vec<(PathBuf, &'static File<'static>)> {
    let mut found = Vec::new();
    for (package, place) in PLACES {
        if let Some(folder) = PYTHON.get_dir(package) {
            collect(folder, Path::new(place), &mut found);
        }
    }
    found.sort_by(|one, two| one.0.cmp(&two.0));
    found
}

fn collect(
    folder: &'static Dir<'static>,
    place: &Path,
    found: &mut Vec<(PathBuf, &'static File<'static>)>,
) {
    let unwanted = |path: &Path| {
        path.file_name()
            .is_some_and(|name| name == "__pycache__" || name == "tests")
            || path.extension().is_some_and(|extension| extension == "pyc")
    };
    for file in folder.files().filter(|file| !unwanted(file.path())) {
        found.push((place.join(file.path()), file));
    }
    for inner in folder.dirs().filter(|inner| !unwanted(inner.path())) {
        collect(inner, place, found);
    }
}

fn fingerprint(files: &[(PathBuf, &File<'_>)]) -> String {
    let mut digest = Sha256::new();
    for (path, file) in files {
        let name = path.as_os_str().as_encoded_bytes();
        for part in [name, file.contents()] {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
    }
    hex::encode(&digest.finalize()[..8])
}

fn write(files: &[(PathBuf, &File<'_>)], cache: &Path, target: &Path) -> io::Result<()> {
    fs::create_dir_all(cache)?;
    let beside = tempfile::Builder::new()
        .prefix(".python-")
        .tempdir_in(cache)?;
    for (path, file) in files {
        let path = beside.path().join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, file.contents())?;
    }
    match fs::rename(beside.path(), target) {
        Ok(()) => {
            // Renamed away: there is nothing left to remove.
            let _ = beside.keep();
            Ok(())
        }
        // Another process was faster, with the same contents.
        Err(_) if target.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::thread;

    use super::*;

    #[test]
    fn many_processes_that_unpack_at_once_agree_on_one_complete_folder() {
        let cache = tempfile::tempdir().unwrap();
        let all: Vec<Unpacked> = thread::scope(|scope| {
            let handles: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| unpack_below(cache.path()).unwrap()))
                .collect();
            handles
                .into_iter()
                .map(|handle| handle.join().unwrap())
                .collect()
        });
        assert!(all.iter().all(|unpacked| unpacked == &all[0]));
        assert_eq!(
            fs::read_dir(cache.path()).unwrap().count(),
            1,
            "temporary folders are left over"
        );
        assert!(all[0].host.join("_dagster_taskiq_host/main.py").is_file());
    }

    #[test]
    fn neither_compiled_files_nor_tests_are_carried() {
        for (path, _) in files() {
            let text = path.to_string_lossy().into_owned();
            assert!(
                !text.contains("__pycache__") && !text.contains("tests"),
                "{text}"
            );
        }
    }
}
