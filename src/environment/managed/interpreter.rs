//! Finds a Python to build the environment with.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::EnvironmentError;

/// Names on `PATH`, in the order they are tried: the user's own default first.
const NAMES: [&str; 5] = [
    "python3",
    "python3.13",
    "python3.12",
    "python3.11",
    "python3.10",
];

/// Minor versions of Python 3 that the lock can be installed on.
const MINORS: std::ops::RangeInclusive<u32> = 10..=13;

/// A Python that can build the environment.
#[derive(Clone, Debug)]
pub(super) struct Interpreter {
    /// The program.
    pub path: PathBuf,
    /// `3.11`.
    pub version: String,
}

/// Finds an interpreter: the named one, or the first suitable one on `PATH`.
pub(super) fn find(named: Option<&Path>) -> Result<Interpreter, EnvironmentError> {
    let candidates: Vec<&OsStr> = match named {
        Some(path) => vec![path.as_os_str()],
        None => NAMES.iter().map(OsStr::new).collect(),
    };
    let mut tried = Vec::new();
    for candidate in candidates {
        match probe(candidate) {
            Ok(interpreter) => return Ok(interpreter),
            Err(what) => tried.push(format!("{}: {what}", candidate.to_string_lossy())),
        }
    }
    Err(EnvironmentError::NoPython {
        tried: tried.join(", "),
    })
}

/// Queries a candidate's version and real path (a shim on `PATH` may choose by folder).
fn probe(candidate: &OsStr) -> Result<Interpreter, String> {
    const PROBE: &str = "import sys; print(*sys.version_info[:2], sys.executable or '', sep='\\n')";
    let output = Command::new(candidate)
        .args(["-I", "-c", PROBE])
        .output()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => "not found".to_owned(),
            _ => error.to_string(),
        })?;
    if !output.status.success() {
        return Err(format!("does not start ({})", output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let mut number = || lines.next()?.parse::<u32>().ok();
    let (Some(major), Some(minor)) = (number(), number()) else {
        return Err("is not a Python".to_owned());
    };
    let version = format!("{major}.{minor}");
    if major != 3 || !MINORS.contains(&minor) {
        return Err(format!("is {version}"));
    }
    let path = lines.next().filter(|path| !path.is_empty());
    Ok(Interpreter {
        path: path.map_or_else(|| PathBuf::from(candidate), PathBuf::from),
        version,
    })
}
