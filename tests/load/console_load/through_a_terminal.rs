//! The whole way of a key: through a pseudo-terminal into the console's process, its loop and its
//! pace, and back as bytes.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use dagster_taskiq_tui::console::{self, ConsoleOptions};
use dagster_taskiq_tui::domain::Snapshot;
use dagster_taskiq_tui::fleet::Handle;
use portable_pty::{CommandBuilder, PtySize, native_pty_system};

use super::Failure;

/// Set in the process that is the console.
pub const CONSOLE: &str = "CONSOLE_LOAD_CONSOLE";

/// Rows of the console's lists.
pub const ROWS: usize = 100;

const KEYS: usize = 400;

/// The longest a screen is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Is the console, told of a thousand changes a second.
pub fn console(mut present: Snapshot) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (snapshots, seen) = tokio::sync::watch::channel(Arc::new(present.clone()));
        let (requests, _unanswered) = tokio::sync::mpsc::channel(64);
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(1));
            for number in 0_usize.. {
                tick.tick().await;
                present.revision += 1;
                Arc::make_mut(&mut present.runs)[number % ROWS].steps_succeeded += 1;
                if snapshots.send(Arc::new(present.clone())).is_err() {
                    return;
                }
            }
        });
        console::run(Handle::new(seen, requests), ConsoleOptions::default()).await
    })?;
    Ok(())
}

/// Keys that show another view; the time is that from the key's being typed to the view's being on the
/// terminal. `ssh`: as in a session over ssh, where frames are fewer.
pub fn key_to_screen(ssh: bool) -> Result<(), Failure> {
    let size = PtySize {
        rows: 24,
        cols: 80,
        ..PtySize::default()
    };
    let pair = native_pty_system().openpty(size)?;
    let mut command = CommandBuilder::new(std::env::current_exe()?);
    command.env_clear();
    command.env(CONSOLE, "1");
    command.env("TERM", "xterm-256color");
    command.env("LC_ALL", "C.UTF-8");
    if ssh {
        command.env("SSH_CONNECTION", "192.0.2.1 50022 192.0.2.2 22");
    }
    let mut child = pair.slave.spawn_command(command)?;
    drop(pair.slave);
    let mut reader = pair.master.try_clone_reader()?;
    let mut keyboard = pair.master.take_writer()?;
    let (send, written) = mpsc::channel();
    let reading = thread::spawn(move || {
        let mut bytes = [0; 8192];
        while let Ok(read @ 1..) = reader.read(&mut bytes) {
            if send.send(bytes[..read].to_vec()).is_err() {
                return;
            }
        }
    });
    let mut screen = vt100::Parser::new(size.rows.try_into()?, size.cols.try_into()?, 0);
    let mut wait_for = |text: &str| -> Result<(), Failure> {
        let began = Instant::now();
        while !screen.screen().contents().contains(text) {
            match written.recv_timeout(PATIENCE.saturating_sub(began.elapsed())) {
                Ok(bytes) => screen.process(&bytes),
                Err(RecvTimeoutError::Timeout) => return Err(format!("no {text}").into()),
                Err(RecvTimeoutError::Disconnected) => return Err("the console ended".into()),
            }
        }
        Ok(())
    };
    wait_for("Overview")?;
    let mut taken = Vec::new();
    for number in 0..KEYS {
        let (key, text) = [("4", "STATUS"), ("5", "No worker is connected: nothing")][number % 2];
        // Not in step with the frames.
        thread::sleep(Duration::from_millis(u64::try_from(90 + number * 37 % 60)?));
        let pressed = Instant::now();
        keyboard.write_all(key.as_bytes())?;
        keyboard.flush()?;
        wait_for(text)?;
        taken.push(pressed.elapsed());
    }
    keyboard.write_all(b"q")?;
    keyboard.flush()?;
    child.wait()?;
    drop(pair.master);
    reading.join().map_err(|_| "the terminal's reader failed")?;
    taken.sort();
    let at = |percent: usize| taken[(taken.len() - 1) * percent / 100].as_micros();
    println!(
        "key to screen through a terminal{}, 1,000 changes/s: median {} us, p99 {} us",
        if ssh { " over ssh" } else { "" },
        at(50),
        at(99)
    );
    Ok(())
}
