//! The terminal as a source of bytes: a file description of our own, so that reads do not block the
//! console, and the shell's own stays unchanged.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::retry_on_intr;
use rustix::process::getpgrp;
use rustix::termios::{QueueSelector, tcflush, tcgetpgrp, ttyname};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub(super) struct Tty {
    fd: AsyncFd<OwnedFd>,
}

impl Tty {
    pub(super) fn open() -> io::Result<Self> {
        let fd = open_tty(io::stdin(), Access::Read)?;
        // SAFETY: an `OwnedFd` is open, and the same, for as long as it is registered: nothing
        // takes it out, and dropping it takes it off the register first.
        #[expect(
            unsafe_code,
            reason = "there is no safe way to register a file descriptor"
        )]
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
        Ok(Self {
            fd: fd.map_err(io::Error::from)?,
        })
    }

    /// Reads the available bytes, at least one. While another process has the terminal, none is
    /// available.
    pub(super) async fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut guard = self.fd.readable().await?;
            let read = guard.try_io(|fd| {
                let fd = fd.get_ref();
                // The description may be a blocking one, and the bytes may belong to another
                // process by now.
                if !is_readable(fd) || !is_foreground(fd) {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                match retry_on_intr(|| rustix::io::read(fd, &mut *bytes))? {
                    0 => Err(io::ErrorKind::UnexpectedEof.into()),
                    read => Ok(read),
                }
            });
            match read {
                Ok(read) => return read,
                Err(_would_block) => {}
            }
        }
    }

    /// Discards input that was not read yet.
    pub(super) fn flush(&self) {
        // An error means that the terminal is gone, with its input.
        let _ = tcflush(self.fd.get_ref(), QueueSelector::IFlush);
    }
}

fn is_readable(fd: &OwnedFd) -> bool {
    let mut source = [PollFd::new(fd, PollFlags::IN)];
    let now = Timespec::default();
    poll(&mut source, Some(&now)).is_ok() && !source[0].revents().is_empty()
}

/// Whether this process is in the foreground: a read by a background process would stop it.
fn is_foreground(fd: impl AsFd) -> bool {
    tcgetpgrp(fd).map_or(true, |group| group == getpgrp())
}

/// Direction in which a terminal is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::console) enum Access {
    Read,
    Write,
}

/// Opens the terminal of a standard stream again, without blocking: by the name that works even if
/// the device is another user's, then by its own, then as it is.
pub(in crate::console) fn open_tty(stream: impl AsFd, access: Access) -> io::Result<OwnedFd> {
    let is_controlling = tcgetpgrp(&stream).is_ok();
    if let (true, Ok(tty)) = (is_controlling, reopen(Path::new("/dev/tty"), access)) {
        return Ok(tty.into());
    }
    if let Ok(name) = ttyname(&stream, Vec::new())
        && let Ok(tty) = reopen(Path::new(OsStr::from_bytes(name.to_bytes())), access)
    {
        return Ok(tty.into());
    }
    stream.as_fd().try_clone_to_owned()
}

fn reopen(path: &Path, access: Access) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    OpenOptions::new()
        .read(access == Access::Read)
        .write(access == Access::Write)
        .custom_flags(flags)
        .open(path)
}
