//! Starts the real binary as a broker on a port of its own, and ends it.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::{BehaviorVersion, Builder, Credentials, Region};

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
        Self::ready(&mut serve(data_dir, listen, more))
    }

    /// Starts a broker through another program, which is given the broker's command to execute.
    pub fn start_through(mut program: Command, data_dir: &Path) -> Self {
        let serve = serve(data_dir, "127.0.0.1:0", &[]);
        program.arg(serve.get_program()).args(serve.get_args());
        Self::ready(piped(&mut program))
    }

    fn ready(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
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
        self.endpoint.split_once("://").unwrap().1
    }

    /// Kills it as `kill -9` does, and starts another on the same folder and port.
    pub fn crash_and_restart(self, data_dir: &Path) -> Self {
        let address = self.crash();
        Self::start_on(data_dir, &address, &[])
    }

    /// Kills it as `kill -9` does; answers the address at which its clients expect it again.
    pub fn crash(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.address().to_owned()
    }

    /// Kills it; answers what it had said on standard error.
    pub fn errors(mut self) -> String {
        self.child.kill().unwrap();
        let mut text = String::new();
        let errors = self.child.stderr.take();
        errors.unwrap().read_to_string(&mut text).unwrap();
        text
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

    /// A client that does not try again: a send whose answer was lost would be sent twice.
    pub fn client_without_retries(&self) -> Client {
        let config = self.config("local", "local");
        Client::from_conf(config.retry_config(RetryConfig::disabled()).build())
    }

    /// A client with these keys.
    pub fn client_with(&self, key: &str, secret: &str) -> Client {
        Client::from_conf(self.config(key, secret).build())
    }

    fn config(&self, key: &str, secret: &str) -> Builder {
        aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new(key, secret, None, None, "test"))
            .endpoint_url(&self.endpoint)
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
        .args(more);
    piped(&mut command);
    command
}

fn piped(command: &mut Command) -> &mut Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
}
