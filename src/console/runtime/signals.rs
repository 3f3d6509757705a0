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
            resized: listen_for(Signal::WINCH)?,
            stop: listen_for(Signal::TSTP)?,
            stop_input: listen_for(Signal::TTIN)?,
            resumed: listen_for(Signal::CONT)?,
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
            terminate: listen_for(Signal::TERM)?,
            interrupt: listen_for(Signal::INT)?,
            hang_up: listen_for(Signal::HUP)?,
            quit: listen_for(Signal::QUIT)?,
            abort: listen_for(Signal::ABORT)?,
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

fn listen_for(which: Signal) -> io::Result<SignalStream> {
    signal(SignalKind::from_raw(which.as_raw()))
}
