//! Folders of control sockets, which only their owner can enter.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use sha2::{Digest, Sha256};

use super::ControlError;

const NAME: &str = "dagster-taskiq-tui";

/// Maximum length of a socket's path. Linux allows 108 bytes with the terminator (`sun_path` of
/// unix(7)); the BSDs allow 104.
const MAX_PATH: usize = 103;

/// The folder in which this process creates its socket: `$XDG_RUNTIME_DIR/dagster-taskiq-tui`, or
/// `/tmp/dagster-taskiq-tui-<uid>` if the user has no such folder.
#[must_use]
pub fn folder() -> PathBuf {
    session_folder().unwrap_or_else(shared_folder)
}

/// Every folder that a worker of this user may have chosen. A service has no `XDG_RUNTIME_DIR` even
/// if a login session of the same user has one.
#[must_use]
pub fn folders() -> Vec<PathBuf> {
    session_folder()
        .into_iter()
        .chain([shared_folder()])
        .collect()
}

fn session_folder() -> Option<PathBuf> {
    let session = PathBuf::from(std::env::var_os("XDG_RUNTIME_DIR")?);
    (session.is_absolute() && session.is_dir()).then(|| folder_in(&session))
}

/// Our folder in a session's runtime folder.
#[must_use]
pub fn folder_in(session: &Path) -> PathBuf {
    session.join(NAME)
}

fn shared_folder() -> PathBuf {
    let uid = rustix::process::geteuid().as_raw();
    PathBuf::from(format!("/tmp/{NAME}-{uid}"))
}

/// Creates the folder (mode 0700) if necessary, and checks that only its owner can enter it.
///
/// # Errors
/// It cannot be created, is not a folder, belongs to another user or is open to others.
pub fn prepare(folder: &Path) -> Result<(), ControlError> {
    let refused = |reason: String| ControlError::Folder {
        path: folder.to_owned(),
        reason,
    };
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(refused(format!("it cannot be made: {error}"))),
    }
    check(folder).map_err(refused)
}

/// Whether the user at the other end of a socket is this one or root. Root trusts every user.
pub(crate) fn is_trusted(uid: Option<u32>) -> bool {
    is_trusted_by(rustix::process::geteuid().as_raw(), uid)
}

fn is_trusted_by(own: u32, uid: Option<u32>) -> bool {
    uid.is_some_and(|uid| uid == own || uid == 0 || own == 0)
}

/// Checks that only this user (or root) could have put sockets into a folder.
pub(crate) fn check(folder: &Path) -> Result<(), String> {
    check_for(folder, rustix::process::geteuid().as_raw())
}

fn check_for(folder: &Path, uid: u32) -> Result<(), String> {
    // Not `metadata`: in /tmp any user may place a link to another folder.
    let found =
        fs::symlink_metadata(folder).map_err(|error| format!("it cannot be read: {error}"))?;
    if !found.is_dir() {
        return Err("it is not a folder; remove it".to_owned());
    }
    if found.uid() != uid {
        let owner = found.uid();
        return Err(format!(
            "it belongs to user {owner}, not to {uid}; remove it or set XDG_RUNTIME_DIR"
        ));
    }
    if found.mode() & 0o077 != 0 {
        let mode = found.mode() & 0o777;
        return Err(format!(
            "others may enter it (mode {mode:o}); run chmod 700 on it"
        ));
    }
    Ok(())
}

/// The socket of a worker: `<id>.sock`. An id that cannot be a file name, or would make the path
/// too long for a socket, is shortened and marked with a hash.
#[must_use]
pub fn socket_path(folder: &Path, worker: &str) -> PathBuf {
    let plain: String = worker
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    let path = folder.join(format!("{plain}.sock"));
    if plain == worker && !plain.starts_with('.') && path.as_os_str().len() <= MAX_PATH {
        return path;
    }
    let hash = Sha256::digest(worker.as_bytes());
    let mark = hex::encode(&hash[..4]);
    let room = MAX_PATH.saturating_sub(folder.as_os_str().len() + "/-.sock".len() + mark.len());
    let start = plain.trim_start_matches('.');
    let start = start.get(..room.min(start.len())).unwrap_or("");
    folder.join(format!("{start}-{mark}.sock"))
}

/// The sockets in a folder, by name. Empty for a folder that is missing or not ours.
#[must_use]
pub fn sockets(folder: &Path) -> Vec<PathBuf> {
    if check(folder).is_err() {
        return Vec::new();
    }
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "sock"))
        .collect();
    found.sort();
    found
}

/// Whether a process listens on a socket. Never waits: a stopped process with a full backlog of
/// connections counts as alive.
#[must_use]
pub fn is_live(path: &Path) -> bool {
    let connected = || -> Result<(), Errno> {
        let address = SocketAddrUnix::new(path)?;
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        rustix::net::connect(&socket, &address)
    };
    !matches!(connected(), Err(Errno::CONNREFUSED | Errno::NOENT))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_new_folder_is_private_and_an_open_one_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("run");
        prepare(&folder).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let refusal = prepare(&folder).unwrap_err().to_string();
        assert!(
            refusal.contains("others may enter it (mode 755)"),
            "{refusal}"
        );
    }

    #[test]
    fn a_folder_that_another_user_made_first_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("run");
        prepare(&folder).unwrap();
        let own = rustix::process::geteuid().as_raw();
        let refusal = check_for(&folder, own + 1).unwrap_err();
        let expected = format!("it belongs to user {own}, not to {}", own + 1);
        assert!(refusal.starts_with(&expected), "{refusal}");
    }

    #[test]
    fn only_this_user_and_root_are_trusted() {
        for (own, peer, expected) in [
            (1_000, Some(1_000), true),
            (1_000, Some(0), true),
            (1_000, Some(1_001), false),
            (1_000, None, false),
            (0, Some(1_001), true),
            (0, None, false),
        ] {
            assert_eq!(is_trusted_by(own, peer), expected, "{own} {peer:?}");
        }
    }

    #[test]
    fn a_link_is_not_followed() {
        let parent = tempfile::tempdir().unwrap();
        let link = parent.path().join("link");
        symlink(parent.path(), &link).unwrap();
        let refusal = prepare(&link).unwrap_err().to_string();
        assert!(refusal.contains("it is not a folder"), "{refusal}");
    }

    #[test]
    fn a_worker_id_that_is_no_file_name_gets_a_socket_inside_the_folder() {
        let folder = Path::new("/run/user/1000/dagster-taskiq-tui");
        assert_eq!(socket_path(folder, "host-1"), folder.join("host-1.sock"));
        for id in [
            "../../etc/x",
            ".hidden",
            "a/b",
            "ünï",
            "",
            &"long".repeat(50),
        ] {
            let path = socket_path(folder, id);
            assert_eq!(path.parent(), Some(folder), "{id}");
            assert!(path.as_os_str().len() <= MAX_PATH, "{id}");
        }
        assert_ne!(socket_path(folder, "a/b"), socket_path(folder, "a:b"));
    }
}
