//! The signals of the process, received on the console's own thread.

use std::io;

use rustix::process::Signal;
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};

use crate::console::options::Exit;

/// The signals that the console handles.
pub(super) struct Signals {
    pub(super) ends: Ends,
    pub(super) resized: SignalStream,
    /// Stop signal of Ctrl-Z, or from another process.
    pub(super) stop: SignalStream,
    /// Stop signal from the kernel to a process that reads in the background.
    pub(super) stop_input: SignalStream,
    pub(super) resumed: SignalStream,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            ends: Ends::listen()?,
            resized: heard(Signal::WINCH)?,
            stop: heard(Signal::TSTP)?,
            stop_input: heard(Signal::TTIN)?,
            resumed: heard(Signal::CONT)?,
        })
    }
}

/// The signals that end the process.
pub(super) struct Ends {
    pub(super) terminate: SignalStream,
    pub(super) interrupt: SignalStream,
    pub(super) hang_up: SignalStream,
    pub(super) quit: SignalStream,
    pub(super) abort: SignalStream,
}

impl Ends {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: heard(Signal::TERM)?,
            interrupt: heard(Signal::INT)?,
            hang_up: heard(Signal::HUP)?,
            quit: heard(Signal::QUIT)?,
            abort: heard(Signal::ABORT)?,
        })
    }

    /// Waits for the next of them.
    pub(super) async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.terminate.recv() => Exit::Terminated,
            _ = self.interrupt.recv() => Exit::Terminated,
            _ = self.quit.recv() => Exit::Terminated,
            _ = self.abort.recv() => Exit::Terminated,
            _ = self.hang_up.recv() => Exit::HungUp,
        }
    }
}

fn heard(which: Signal) -> io::Result<SignalStream> {
    signal(SignalKind::from_raw(which.as_raw()))
}
