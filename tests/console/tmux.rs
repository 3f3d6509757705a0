//! Notifications and the clipboard through a real tmux: what the console sends reaches the terminal
//! that tmux itself is in. Without tmux the test says that it was not run.

use crate::support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::terminal::Terminal;
use support::{PATIENCE, say_not_run, wait_until};

/// A tmux of its own, in a terminal; its server ends with the value.
struct Tmux {
    socket: PathBuf,
    terminal: Terminal,
}

impl Tmux {
    /// Starts a console in it that cannot reach the host it is to attach to: one alarm stands.
    fn start(folder: &Path, options: &str) -> Self {
        let (socket, settings) = (folder.join("socket"), folder.join("tmux.conf"));
        let text = format!("{options}\nset -g escape-time 0\n");
        fs::write(&settings, text).unwrap();
        // Its variables are those of the console.
        let console = support::command();
        let mut tmux = Command::new("tmux");
        for (name, value) in console.get_envs() {
            match value {
                Some(value) => tmux.env(name, value),
                None => tmux.env_remove(name),
            };
        }
        tmux.arg("-S").arg(&socket).arg("-f").arg(&settings);
        tmux.arg("new-session").arg(console.get_program());
        tmux.args(["attach", "--host", "nowhere", "--ssh-command", "false"]);
        tmux.args(["--ring", "desktop"]);
        tmux.env("XDG_STATE_HOME", folder.join("state"));
        Self {
            terminal: Terminal::run(&tmux),
            socket,
        }
    }

    fn has(&self, part: &[u8]) -> bool {
        let written = self.terminal.written();
        written.windows(part.len()).any(|bytes| bytes == part)
    }

    /// Copies the text of the alarm that stands.
    fn copy(&mut self) {
        self.terminal.wait_for("does not answer");
        self.terminal.keys("a");
        self.terminal.wait_for("Enter goes there");
        self.terminal.keys("y");
        self.terminal.wait_for("clipboard: host nowhere");
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let mut end = Command::new("tmux");
        let _ = end.arg("-S").arg(&self.socket).arg("kill-server").output();
    }
}

/// Runs a test in a tmux with these options.
fn in_tmux(options: &str, test: impl FnOnce(Tmux)) {
    if Command::new("tmux").arg("-V").output().is_err() {
        say_not_run("notifications and the clipboard through tmux: it is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    test(Tmux::start(folder.path(), options));
}

const NOTIFICATION: &[u8] = b"\x1b]9;dagster-taskiq: host nowhere does not answer";

/// Base64 of `host nowhere does not`.
const CLIPBOARD: &[u8] = b"\x1b]52;c;aG9zdCBub3doZXJlIGRvZXMgbm90";

#[test]
fn a_notification_and_what_is_copied_reach_the_terminal_around_tmux() {
    in_tmux("set -g allow-passthrough on", |mut tmux| {
        wait_until("the notification", PATIENCE, || {
            tmux.has(NOTIFICATION).then_some(())
        });
        tmux.copy();
        assert!(tmux.has(CLIPBOARD));
    });
}

#[test]
fn what_is_copied_is_in_the_buffer_of_a_tmux_that_lets_nothing_through() {
    in_tmux("set -g set-clipboard on", |mut tmux| {
        tmux.copy();
        wait_until("the buffer", PATIENCE, || {
            let mut show = Command::new("tmux");
            let shown = show.arg("-S").arg(&tmux.socket).arg("show-buffer");
            let shown = shown.output().unwrap().stdout;
            String::from_utf8_lossy(&shown)
                .starts_with("host nowhere does not answer")
                .then_some(())
        });
    });
}

#[test]
fn a_tmux_that_lets_nothing_through_shows_nothing_of_what_was_sent() {
    let options = "set -g allow-passthrough off\nset -g set-clipboard off";
    in_tmux(options, |mut tmux| {
        tmux.copy();
        assert!(!tmux.has(CLIPBOARD));
        let screen = tmux.terminal.screen();
        assert!(
            !screen.contains("52;c") && !screen.contains("aG9zd"),
            "{screen}"
        );
    });
}
