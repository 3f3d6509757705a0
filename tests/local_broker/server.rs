//! Starts the real binary as a broker on a port of its own, and ends it.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};

pub const BINARY: &str = env!("CARGO_BIN_EXE_dagster-taskiq-tui");

/// A running broker; killed when dropped.
pub struct Server {
    child: Child,
    pub endpoint: String,
    /// The `export` lines it printed.
    pub exports: Vec<String>,
}

impl Server {
    /// Starts a broker on a free port.
    pub fn start(data_dir: &Path) -> Self {
        Self::start_on(data_dir, "127.0.0.1:0", &[])
    }

    /// Starts a broker on this address and waits until it says that it listens.
    pub fn start_on(data_dir: &Path, listen: &str, more: &[&str]) -> Self {
        let mut child = serve(data_dir, listen, more).spawn().unwrap();
        let printed = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        let mut lines: Vec<String> = printed.take(4).map(Result::unwrap).collect();
        let first = lines.remove(0);
        let endpoint = first.trim().strip_prefix("endpoint: ").unwrap().to_owned();
        Self {
            child,
            endpoint,
            exports: lines,
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        self.endpoint.strip_prefix("http://").unwrap()
    }

    /// Kills it as `kill -9` does, and starts another on the same folder and port.
    pub fn crash_and_restart(mut self, data_dir: &Path) -> Self {
        let address = self.address().to_owned();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        Self::start_on(data_dir, &address, &[])
    }

    /// Sends a signal and waits for the end; returns how long it took and the exit status.
    pub fn end(mut self, signal: rustix::process::Signal) -> (Duration, std::process::ExitStatus) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let began = Instant::now();
        rustix::process::kill_process(pid, signal).unwrap();
        let status = self.child.wait().unwrap();
        (began.elapsed(), status)
    }

    /// A client of AWS's own SDK.
    pub fn client(&self) -> Client {
        self.client_with("local", "local")
    }

    /// A client with these keys.
    pub fn client_with(&self, key: &str, secret: &str) -> Client {
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new(key, secret, None, None, "test"))
            .endpoint_url(&self.endpoint)
            .build();
        Client::from_conf(config)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A `broker serve` that is expected to fail.
pub fn serve_in_vain(data_dir: &Path, listen: &str) -> Output {
    serve_in_vain_with(data_dir, listen, &[])
}

/// As [`serve_in_vain`], with more arguments.
pub fn serve_in_vain_with(data_dir: &Path, listen: &str, more: &[&str]) -> Output {
    serve(data_dir, listen, more).output().unwrap()
}

fn serve(data_dir: &Path, listen: &str, more: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command
        .args(["broker", "serve", "--listen", listen, "--data-dir"])
        .arg(data_dir)
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}
