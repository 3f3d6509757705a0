//! The terminal lent to other programs: to an editor, and to the shell after Ctrl-Z.

use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

use futures::FutureExt;
use rustix::process::{Signal, getpgrp, getpid, getsid, kill_current_process_group, kill_process};
use tokio::time::timeout;

use super::{Console, Signals, gone};
use crate::console::app::Message;
use crate::console::options::Exit;
use crate::console::{editor, terminal};

/// Time limit for the arrival of a stop after Ctrl-Z. In an orphaned process group it never
/// arrives.
const STOP_ARRIVES: Duration = Duration::from_millis(200);

impl Console<'_> {
    /// Lends the terminal to `$EDITOR`.
    pub(super) async fn edit(&mut self, text: &str, signals: &mut Signals) -> ControlFlow<Exit> {
        let guard = terminal::TerminalGuard::lend();
        let cut_off = tokio::select! {
            edited = editor::edit(text) => Ok(edited),
            _ = signals.ends.terminate.recv() => Err(Exit::Terminated),
            _ = signals.ends.abort.recv() => Err(Exit::Terminated),
            _ = signals.ends.hang_up.recv() => Err(Exit::HungUp),
        };
        let edited = match cut_off {
            Ok(edited) => edited,
            Err(exit) => {
                // The editor was killed, and could not restore the terminal.
                guard.take_back();
                return ControlFlow::Break(exit);
            }
        };
        // A Ctrl-C was for the editor, and so was a Ctrl-Z that stopped both.
        let theirs = [
            &mut signals.ends.interrupt,
            &mut signals.ends.quit,
            &mut signals.stop,
            &mut signals.stop_input,
        ];
        for stream in theirs {
            while stream.recv().now_or_never().is_some() {}
        }
        guard.restore_modes();
        gone(self.enter_again())?;
        self.update(Message::Edited(edited), signals).await
    }

    /// Enters the terminal again, with the modes that the operator turned on.
    pub(super) fn enter_again(&mut self) -> io::Result<()> {
        self.needs_resize = true;
        self.screen.enter_again()?;
        if self.app.uses_mouse() {
            self.screen.mouse(true)?;
        }
        Ok(())
    }

    /// Gives the terminal back, stops the process group as Ctrl-Z would have, and returns at `fg`.
    pub(super) async fn suspend(&mut self, signals: &mut Signals) -> ControlFlow<Exit> {
        terminal::restore();
        if may_stop() {
            let _ = kill_current_process_group(Signal::TSTP);
        }
        self.stop(signals).await
    }

    /// Gives the terminal back, stops this process, and returns when it is continued.
    pub(super) async fn stop(&mut self, signals: &mut Signals) -> ControlFlow<Exit> {
        terminal::restore();
        if may_stop() {
            // SIGTSTP itself is caught, so that the terminal could be given back.
            let _ = kill_process(getpid(), Signal::STOP);
            let _ = timeout(STOP_ARRIVES, signals.resumed.recv()).await;
        }
        for stream in [&mut signals.stop, &mut signals.stop_input] {
            while stream.recv().now_or_never().is_some() {}
        }
        gone(self.enter_again())
    }
}

/// Whether a parent can continue a stopped process: a shell with job control gives every job a
/// process group that is not its own. The kernel, too, does not stop an orphaned one.
fn may_stop() -> bool {
    getsid(None).is_ok_and(|session| session != getpgrp())
}
