//! The terminal as a sink of bytes that does not block the console for ever: a terminal may take
//! none, and the process may be ended meanwhile.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::console::input::{Access, open_tty};

/// A non-blocking file description of our own; there is one terminal per process.
static OPENED: OnceLock<OwnedFd> = OnceLock::new();

/// Whether the end of the process was requested.
static END_REQUESTED: AtomicBool = AtomicBool::new(false);

/// Interval in nanoseconds at which a waiting write checks whether it should continue.
const LOOKS: i64 = 100_000_000;

/// Maximum number of checks once the end was requested: a slow terminal gets a second.
const LAST_LOOKS: u32 = 10;

/// Makes writes that wait for the terminal give up soon.
pub(in crate::console) fn request_end() {
    END_REQUESTED.store(true, Ordering::SeqCst);
}

/// Opens the terminal at standard output.
pub(super) fn open() -> io::Result<()> {
    END_REQUESTED.store(false, Ordering::SeqCst);
    if OPENED.get().is_none() {
        let opened = open_tty(io::stdout(), Access::Write)?;
        // This cannot have been set before: there is one console.
        let _ = OPENED.set(opened);
    }
    Ok(())
}

/// Writer to the terminal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output;

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(fd) = OPENED.get() else {
            return io::stdout().write(bytes);
        };
        let mut looked = 0;
        loop {
            match rustix::io::write(fd, bytes) {
                Ok(written) => return Ok(written),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
            if END_REQUESTED.load(Ordering::SeqCst) {
                looked += 1;
                if looked > LAST_LOOKS {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
            let mut sink = [PollFd::new(fd, PollFlags::OUT)];
            let wait = Timespec {
                tv_sec: 0,
                tv_nsec: LOOKS,
            };
            match poll(&mut sink, Some(&wait)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
