//! A console's process in a pseudo-terminal.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use rustix::fs::OFlags;
use rustix::io::ioctl_fionread;
use rustix::process::{Pid, Signal, kill_process};

/// Set in the console's process: what it shall do besides.
pub const SCENE: &str = "CONSOLE_PTY_SCENE";

/// The longest a condition is waited for; it never takes that long unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(20);

/// The kernel takes a moment to hand on what was typed. Nothing depends on it: only many keys that are
/// read at once would be taken for a paste.
const BETWEEN_KEYS: Duration = Duration::from_millis(10);

/// A console's process, and the terminal it is in.
pub struct Session {
    pub master: Box<dyn MasterPty + Send>,
    pub child: Box<dyn Child + Send + Sync>,
    pub keyboard: Box<dyn Write + Send>,
    pub output: Arc<Mutex<Vec<u8>>>,
}

pub const SIZE: PtySize = PtySize {
    rows: 24,
    cols: 80,
    pixel_width: 0,
    pixel_height: 0,
};

impl Session {
    pub fn start(scene: &str) -> Self {
        Self::start_with(scene, "false")
    }

    /// With an editor: the beginning of a line of shell.
    pub fn start_with(scene: &str, editor: &str) -> Self {
        Self::spawn(Self::console(scene, editor))
    }

    pub fn console(scene: &str, editor: &str) -> CommandBuilder {
        let mut command = CommandBuilder::new(std::env::current_exe().unwrap());
        command.args([
            "--exact",
            "pty::console_process",
            "--nocapture",
            "--test-threads=1",
        ]);
        command.env(SCENE, scene);
        command.env_remove("VISUAL");
        command.env("EDITOR", editor);
        command
    }

    pub fn spawn(command: CommandBuilder) -> Self {
        Self::spawn_with(command, &[])
    }

    pub fn spawn_with(command: CommandBuilder, variables: &[(&str, &str)]) -> Self {
        Self::spawn_sized(command, variables, SIZE)
    }

    pub fn spawn_sized(
        mut command: CommandBuilder,
        variables: &[(&str, &str)],
        size: PtySize,
    ) -> Self {
        let pair = native_pty_system().openpty(size).unwrap();
        command.env("TERM", "xterm-256color");
        command.env("LC_ALL", "C.UTF-8");
        for name in ["NO_COLOR", "SSH_CONNECTION", "TMUX", "RUST_BACKTRACE"] {
            command.env_remove(name);
        }
        for (name, value) in variables {
            command.env(name, value);
        }
        let child = pair.slave.spawn_command(command).unwrap();
        let output = Arc::new(Mutex::new(Vec::new()));
        let mut reader = pair.master.try_clone_reader().unwrap();
        let sink = Arc::clone(&output);
        // Ends when the child is gone and the terminal is closed.
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = reader.read(&mut bytes) {
                sink.lock().unwrap().extend_from_slice(&bytes[..read]);
            }
        });
        let keyboard = pair.master.take_writer().unwrap();
        Self {
            master: pair.master,
            child,
            keyboard,
            output,
        }
    }

    /// Presses keys as a person does: each is read before the next is pressed.
    pub fn keys(&mut self, keys: &str) {
        for key in keys.chars() {
            self.bytes(key.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }

    /// Sends bytes in one piece, as a terminal does, and waits until they are read.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.keyboard.write_all(bytes).unwrap();
        self.keyboard.flush().unwrap();
        thread::sleep(BETWEEN_KEYS);
        // As the process sees it: opened without becoming anybody's controlling terminal.
        let Ok(slave) = OpenOptions::new()
            .read(true)
            .custom_flags(i32::try_from(OFlags::NOCTTY.bits()).unwrap())
            .open(self.master.tty_name().unwrap())
        else {
            return;
        };
        let start = Instant::now();
        while ioctl_fionread(&slave).is_ok_and(|left| left > 0) && start.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Sends bytes that nobody may read.
    pub fn keyboard_only(&mut self, bytes: &[u8]) {
        self.keyboard.write_all(bytes).unwrap();
        self.keyboard.flush().unwrap();
    }

    pub fn written(&self) -> Vec<u8> {
        self.output.lock().unwrap().clone()
    }

    /// The terminal as it stands after everything written so far.
    pub fn terminal(&self) -> vt100::Parser {
        let size = self.master.get_size().unwrap();
        let mut parser = vt100::Parser::new(
            size.rows.try_into().unwrap(),
            size.cols.try_into().unwrap(),
            0,
        );
        parser.process(&self.written());
        parser
    }

    pub fn contents(&self) -> String {
        self.terminal().screen().contents()
    }

    pub fn wait_until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            assert!(
                start.elapsed() < PATIENCE,
                "{what} did not come; the screen:\n{}",
                self.contents()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn wait_for_text(&self, text: &str) {
        self.wait_until(text, |session| session.contents().contains(text));
    }

    /// Waits until nothing was written for a while: the first frame and its echoes are over.
    pub fn settle(&self) {
        let mut seen = self.written().len();
        let mut since = Instant::now();
        self.wait_until("quiet", |_| true);
        while since.elapsed() < Duration::from_millis(400) {
            thread::sleep(Duration::from_millis(20));
            let now = self.written().len();
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
        }
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.process_id().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Waits for the end of the process and checks that the terminal is as it was before.
    pub fn ends_restored(mut self, last_words: &str) {
        self.wait_until("the end of the process", |session| {
            String::from_utf8_lossy(&session.written()).contains(last_words)
        });
        assert!(self.is_cooked(), "raw mode was left on");
        let terminal = self.terminal();
        assert!(
            !terminal.screen().alternate_screen(),
            "the alternate screen was not left"
        );
        assert!(!terminal.screen().hide_cursor(), "the cursor is hidden");
        assert!(!self.tells_of_the_mouse(), "the mouse was left on");
        assert!(
            !terminal.screen().bracketed_paste(),
            "bracketed paste was left on"
        );
        self.child.wait().unwrap();
    }

    pub fn tells_of_the_mouse(&self) -> bool {
        let mode = self.terminal().screen().mouse_protocol_mode();
        mode != vt100::MouseProtocolMode::None
    }

    /// Whether the terminal echoes and edits lines, as a shell wants it.
    pub fn is_cooked(&self) -> bool {
        use rustix::termios::{LocalModes, tcgetattr};
        let path = self.master.tty_name().unwrap();
        let terminal = std::fs::File::open(path).unwrap();
        let modes = tcgetattr(&terminal).unwrap().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
