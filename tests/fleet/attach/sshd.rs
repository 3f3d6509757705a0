//! A real sshd on 127.0.0.1 with keys and configuration of its own, run by the present user.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dagster_taskiq_tui::protocol::frames;

/// The longest a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where Debian, Fedora, Alpine and the BSDs put it.
const PLACES: [&str; 3] = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"];

/// The server's program, if this machine has one; else the test says on the terminal that it was not
/// run.
pub fn program() -> Option<PathBuf> {
    let found = PLACES.map(PathBuf::from).into_iter().find(|p| p.is_file());
    if found.is_none() {
        // Not `eprintln!`, which the test harness keeps to itself where a test does not fail.
        let _ = writeln!(
            std::io::stderr(),
            "\n*** NOT RUN: attaching through ssh: no sshd in {PLACES:?}; install openssh-server"
        );
    }
    found
}

/// Keys, and the configurations of server and client.
pub struct Keys {
    folder: tempfile::TempDir,
}

impl Keys {
    pub fn new() -> Self {
        let keys = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        for name in ["host", "user", "stranger"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(keys.path(name))
                .status();
            assert!(made.unwrap().success(), "ssh-keygen made no key");
        }
        fs::copy(keys.path("user.pub"), keys.path("authorized")).unwrap();
        keys
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The ssh command that uses these keys alone, and knows the hosts of `servers` by these names.
    pub fn ssh(&self, servers: &[(&str, &Sshd)]) -> Vec<String> {
        let key = fs::read_to_string(self.path("host.pub")).unwrap();
        let (mut config, mut known) = (String::new(), String::new());
        for (name, server) in servers {
            let port = server.port;
            writeln!(
                config,
                "Host {name}\nHostName 127.0.0.1\nPort {port}\nHostKeyAlias {name}"
            )
            .unwrap();
            write!(known, "{name} {key}").unwrap();
        }
        let path = |name: &str| self.path(name).display().to_string();
        writeln!(
            config,
            "Host *\nIdentityFile {}\nIdentitiesOnly yes\nIdentityAgent none\n\
             UserKnownHostsFile {}\nGlobalKnownHostsFile none\nStrictHostKeyChecking yes",
            path("user"),
            path("known")
        )
        .unwrap();
        fs::write(self.path("known"), known).unwrap();
        fs::write(self.path("client.conf"), config).unwrap();
        vec!["ssh".to_owned(), "-F".to_owned(), path("client.conf")]
    }
}

/// A running server. It and its sessions end when it is dropped.
pub struct Sshd {
    child: Child,
    config: PathBuf,
    program: PathBuf,
    pub port: u16,
}

impl Sshd {
    /// Starts a server; `forced` is run whatever the client asks for.
    pub fn start(program: &Path, keys: &Keys, name: &str, forced: Option<&str>) -> Self {
        let port = free_port();
        let path = |name: &str| keys.path(name).display().to_string();
        let mut text = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\n\
             PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nPermitRootLogin yes\nPrintMotd no\n",
            path("host"),
            path("authorized")
        );
        if let Some(command) = forced {
            writeln!(text, "ForceCommand {command}").unwrap();
        }
        let config = keys.path(&format!("{name}.conf"));
        fs::write(&config, text).unwrap();
        if rustix::process::geteuid().is_root() {
            // Where the server puts its unprivileged part when root runs it.
            fs::create_dir_all("/run/sshd").unwrap();
        }
        Self {
            child: spawn(program, &config, port),
            config,
            program: program.to_owned(),
            port,
        }
    }

    /// Ends the server and every session of it, as a host that goes down does.
    pub fn stop(&mut self) {
        for pid in descendants(self.child.id()) {
            let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again on the same port.
    pub fn start_again(&mut self) {
        self.child = spawn(&self.program, &self.config, self.port);
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(program: &Path, config: &Path, port: u16) -> Child {
    let mut child = Command::new(program)
        .args(["-D", "-e", "-f"])
        .arg(config)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "sshd ended at its start: {ended:?}");
        assert!(begin.elapsed() < PATIENCE, "sshd does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// The processes that a process started, and those that they did.
fn descendants(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        let tasks = format!("/proc/{parent}/task/{parent}/children");
        let children = fs::read_to_string(tasks).unwrap_or_default();
        found.extend(
            children
                .split_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok()),
        );
        at += 1;
    }
    found.remove(0);
    found
}

/// `user@host` as the workers' audit log has it for this process.
pub fn own_name() -> String {
    frames::own_name()
}
