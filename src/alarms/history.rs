//! The history of alarms on this host: a line of JSON for each change, bounded.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::config::state_folder;
use crate::domain::AlarmEntry;

/// Number of lines at which the file is cut back to [`AlarmEntry::MAX`].
const CUT_AT: usize = AlarmEntry::MAX + AlarmEntry::MAX / 5;

/// The history of this user's workers on this host.
#[must_use]
pub fn default_path() -> PathBuf {
    state_folder().join("alarms.jsonl")
}

/// Appends entries. Workers of one host share the file.
///
/// # Errors
/// The file cannot be read or written.
pub fn append(path: &Path, entries: &[AlarmEntry]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let _lock = lock(&path.with_extension("lock"))?;
    let mut lines = Vec::new();
    for entry in entries {
        serde_json::to_writer(&mut lines, entry)?;
        lines.push(b'\n');
    }
    let mut options = OpenOptions::new();
    let options = options.create(true).append(true).mode(0o600);
    options.open(path)?.write_all(&lines)?;
    let all = fs::read(path)?;
    let count = all.split_inclusive(|byte| *byte == b'\n').count();
    if count < CUT_AT {
        return Ok(());
    }
    let kept = all.split_inclusive(|byte| *byte == b'\n');
    let kept: Vec<&[u8]> = kept.skip(count - AlarmEntry::MAX).collect();
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&kept.concat())?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// The newest entries, newest first. Lines that cannot be read are left out.
///
/// # Errors
/// The file cannot be read; a missing file is an empty history.
pub fn read(path: &Path, limit: usize) -> io::Result<Vec<AlarmEntry>> {
    let all = match fs::read(path) {
        Ok(all) => all,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let lines = all.split(|byte| *byte == b'\n').rev();
    let entries = lines.filter_map(|line| serde_json::from_slice(line).ok());
    Ok(entries.take(limit).collect())
}

fn lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.create(true).append(true).mode(0o600).open(path)?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{AlarmChange, Timestamp};

    #[test]
    fn the_history_is_bounded_and_its_newest_entries_come_first() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("state/alarms.jsonl");
        assert_eq!(read(&path, 9)?, [], "there is no file yet");
        let entry = |number: usize| AlarmEntry {
            at: Timestamp::UNIX_EPOCH,
            change: AlarmChange::Started,
            id: format!("queue/{number}"),
            severity: None,
            text: String::from("a sentence"),
            by: None,
        };
        for part in 0..13 {
            let entries: Vec<AlarmEntry> = (part * 100..part * 100 + 100).map(entry).collect();
            append(&path, &entries)?;
        }
        let all = read(&path, usize::MAX)?;
        assert_eq!(all.len(), AlarmEntry::MAX + 100, "cut at the twelfth part");
        assert_eq!(all[0].id, "queue/1299");
        assert_eq!(read(&path, 2)?[1].id, "queue/1298");
        Ok(())
    }
}
