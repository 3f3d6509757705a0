//! The real program in a pseudo-terminal of 80x24.

use std::fs::OpenOptions;
use std::io::{Read as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use rustix::fs::OFlags;
use rustix::io::ioctl_fionread;

use super::{LOOK, PATIENCE, wait_until};

const SIZE: PtySize = PtySize {
    rows: 24,
    cols: 80,
    pixel_width: 0,
    pixel_height: 0,
};

/// A command with its arguments, variables and folder, to be run in a terminal.
pub fn in_terminal(command: &std::process::Command) -> CommandBuilder {
    let mut builder = CommandBuilder::new(command.get_program());
    builder.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => builder.env(name, value),
            None => builder.env_remove(name),
        }
    }
    if let Some(folder) = command.get_current_dir() {
        builder.cwd(folder);
    }
    builder
}

/// A terminal and what runs in it; that ends when this is dropped.
pub struct Terminal {
    child: Box<dyn Child + Send + Sync>,
    keyboard: Box<dyn Write + Send>,
    written: Arc<Mutex<Vec<u8>>>,
    master: Box<dyn MasterPty + Send>,
}

impl Terminal {
    /// Runs a command with its arguments, variables and folder; the terminal is the size of old.
    pub fn run(command: &std::process::Command) -> Self {
        let mut builder = in_terminal(command);
        builder.env("TERM", "xterm-256color");
        builder.env("LC_ALL", "C.UTF-8");
        for name in ["NO_COLOR", "SSH_CONNECTION", "TMUX", "RUST_BACKTRACE"] {
            builder.env_remove(name);
        }
        let pair = native_pty_system().openpty(SIZE).unwrap();
        let child = pair.slave.spawn_command(builder).unwrap();
        let written = Arc::new(Mutex::new(Vec::new()));
        let mut reader = pair.master.try_clone_reader().unwrap();
        let sink = Arc::clone(&written);
        // Ends when the child is gone and the terminal is closed.
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = reader.read(&mut bytes) {
                sink.lock().unwrap().extend_from_slice(&bytes[..read]);
            }
        });
        Self {
            child,
            keyboard: pair.master.take_writer().unwrap(),
            written,
            master: pair.master,
        }
    }

    /// Types, as a person does: each key is read before the next is pressed.
    pub fn keys(&mut self, keys: &str) {
        let name = self.master.tty_name().unwrap();
        let flags = i32::try_from(OFlags::NOCTTY.bits()).unwrap();
        let slave = OpenOptions::new().read(true).custom_flags(flags).open(name);
        for key in keys.chars() {
            let mut bytes = [0; 4];
            let bytes = key.encode_utf8(&mut bytes).as_bytes();
            self.keyboard.write_all(bytes).unwrap();
            self.keyboard.flush().unwrap();
            // The kernel takes a moment to hand it on.
            thread::sleep(LOOK);
            let Ok(slave) = &slave else { continue };
            wait_until("that the key is read", PATIENCE, || {
                ioctl_fionread(slave)
                    .map_or(true, |left| left == 0)
                    .then_some(())
            });
        }
    }

    /// The process id of what runs in it.
    pub fn pid(&self) -> u32 {
        self.child.process_id().unwrap()
    }

    /// Waits until what runs in it has ended.
    pub fn wait_for_end(&mut self) {
        wait_until("the end of what runs in the terminal", PATIENCE, || {
            self.child.try_wait().unwrap()
        });
    }

    /// Every byte that was written to it.
    pub fn written(&self) -> Vec<u8> {
        self.written.lock().unwrap().clone()
    }

    /// What it shows.
    pub fn screen(&self) -> String {
        let (rows, columns) = (SIZE.rows.try_into().unwrap(), SIZE.cols.try_into().unwrap());
        let mut parser = vt100::Parser::new(rows, columns, 0);
        parser.process(&self.written());
        parser.screen().contents()
    }

    /// Waits until it shows a text.
    pub fn wait_for(&self, text: &str) {
        let start = Instant::now();
        while !self.screen().contains(text) {
            let screen = self.screen();
            assert!(
                start.elapsed() < PATIENCE,
                "{text:?} is not on the screen:\n{screen}"
            );
            thread::sleep(LOOK);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
