//! The history of alarms on this host: a line of JSON for each change, bounded.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::config::state_folder;
use crate::domain::{AlarmChange, AlarmEntry, Timestamp};

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
    let _lock = lock(path)?;
    write(path, entries)
}

/// Appends an entry, unless a worker of this host has written the same change at the same time.
/// Returns whether it was appended.
///
/// # Errors
/// As for [`append`].
pub fn append_once(path: &Path, entry: &AlarmEntry) -> io::Result<bool> {
    let _lock = lock(path)?;
    let is_same = |known: &AlarmEntry| {
        (known.at, known.change, &known.id) == (entry.at, entry.change, &entry.id)
    };
    let is_known = read(path, usize::MAX)?.iter().any(is_same);
    if !is_known {
        write(path, std::slice::from_ref(entry))?;
    }
    Ok(!is_known)
}

/// The alarms that have begun and not ended, by id, with the time of their begin.
///
/// # Errors
/// As for [`read`].
pub fn open(path: &Path) -> io::Result<BTreeMap<String, Timestamp>> {
    let mut open = BTreeMap::new();
    for entry in read(path, usize::MAX)?.into_iter().rev() {
        match entry.change {
            AlarmChange::Started => drop(open.insert(entry.id, entry.at)),
            AlarmChange::Ended => drop(open.remove(&entry.id)),
            AlarmChange::Acknowledged | AlarmChange::Unacknowledged => {}
        }
    }
    Ok(open)
}

/// Appends entries, and cuts the file back; the caller has locked it.
fn write(path: &Path, entries: &[AlarmEntry]) -> io::Result<()> {
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
    let mut file = tempfile::NamedTempFile::new_in(folder(path))?;
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

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// Locks the file, whose folder is made.
fn lock(path: &Path) -> io::Result<File> {
    fs::create_dir_all(folder(path))?;
    let mut options = OpenOptions::new();
    let options = options.create(true).append(true).mode(0o600);
    let file = options.open(path.with_extension("lock"))?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(second: i64, change: AlarmChange, id: &str) -> AlarmEntry {
        AlarmEntry {
            at: Timestamp::UNIX_EPOCH + std::time::Duration::from_secs(second.unsigned_abs()),
            change,
            id: id.to_owned(),
            severity: None,
            text: String::from("a sentence"),
            by: None,
        }
    }

    #[test]
    fn a_change_is_written_once_and_what_has_not_ended_is_open() -> io::Result<()> {
        use AlarmChange::{Acknowledged, Ended, Started};
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("alarms.jsonl");
        assert!(append_once(&path, &entry(1, Started, "disk"))?);
        assert!(!append_once(&path, &entry(1, Started, "disk"))?);
        assert!(append_once(&path, &entry(2, Ended, "disk"))?);
        assert_eq!(open(&path)?, BTreeMap::new());
        assert!(append_once(&path, &entry(3, Started, "disk"))?);
        append(&path, &[entry(4, Acknowledged, "disk")])?;
        let at = entry(3, Started, "disk").at;
        assert_eq!(open(&path)?, BTreeMap::from([(String::from("disk"), at)]));
        assert_eq!(read(&path, usize::MAX)?.len(), 4);
        Ok(())
    }

    #[test]
    fn the_history_is_bounded_and_its_newest_entries_come_first() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("state/alarms.jsonl");
        assert_eq!(read(&path, 9)?, [], "there is no file yet");
        let entry = |number| entry(0, AlarmChange::Started, &format!("queue/{number}"));
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
