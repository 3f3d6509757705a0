//! Creates the socket, so that two workers never share one and dead ones are removed.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::net::UnixListener;

use crate::protocol::{ControlError, socket_folder};

/// Timeout of the folder's lock, which another worker holds for a few milliseconds while it starts.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// Binds the worker's socket. Must be called inside a Tokio runtime.
pub(super) async fn bind(
    folder: PathBuf,
    worker: String,
) -> Result<(UnixListener, PathBuf), ControlError> {
    let path = socket_folder::socket_path(&folder, &worker);
    let failed = |source| ControlError::Listen {
        path: path.clone(),
        source,
    };
    let place = path.clone();
    let bound = tokio::task::spawn_blocking(move || bind_locked(&folder, worker, &place))
        .await
        .map_err(|error| failed(io::Error::other(error)))??;
    bound.set_nonblocking(true).map_err(failed)?;
    let listener = UnixListener::from_std(bound).map_err(failed)?;
    Ok((listener, path))
}

/// Binds under the lock, which orders workers that start at the same moment. No other worker may
/// interfere between the check for a dead socket and the creation of a new one.
fn bind_locked(
    folder: &Path,
    worker: String,
    path: &Path,
) -> Result<std::os::unix::net::UnixListener, ControlError> {
    socket_folder::prepare(folder)?;
    let failed = |source| ControlError::Listen {
        path: path.to_owned(),
        source,
    };
    let _lock = lock(folder).map_err(failed)?;
    for socket in socket_folder::sockets(folder) {
        if !socket_folder::is_live(&socket) {
            let _ = fs::remove_file(socket);
        }
    }
    if path.exists() {
        let path = path.to_owned();
        return Err(ControlError::Taken { worker, path });
    }
    let listener = std::os::unix::net::UnixListener::bind(path).map_err(failed)?;
    // Until here the folder kept other users out.
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

fn lock(folder: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(folder.join(".lock"))?;
    let begin = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if begin.elapsed() < LOCK_WAIT => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(TryLockError::WouldBlock) => {
                let folder = folder.display();
                return Err(io::Error::other(format!(
                    "another worker holds {folder}/.lock"
                )));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}
