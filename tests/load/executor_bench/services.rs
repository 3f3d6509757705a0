//! The processes that a measurement needs: each leads a process group, and ends with its value.

use std::ffi::OsStr;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

use super::common::Failure;

/// How long a server may take to its start on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);
/// How long a process may take to its end before it is killed with its group.
const GRACE: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(50);

/// Variables of whoever runs the benchmark that would change what is measured.
const SCRUBBED: [&str; 12] = [
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONPATH",
    "DAGSTER_HOME",
    "DAGSTER_TASKIQ_SQS_QUEUE_URL",
    "DAGSTER_TASKIQ_SQS_ENDPOINT_URL",
    "DAGSTER_TASKIQ_WEBSERVER_URL",
    "DAGSTER_CELERY_BROKER_HOST",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_SQS",
    "VIRTUAL_ENV",
];

/// A command without the variables of whoever runs the benchmark.
pub fn command(program: impl AsRef<OsStr>, variables: &[(String, String)]) -> Command {
    let mut command = Command::new(program);
    for variable in SCRUBBED {
        command.env_remove(variable);
    }
    command
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null());
    command
}

/// A process that leads a group, with its output in a file.
pub struct Service {
    name: &'static str,
    child: Child,
    /// What it prints.
    pub log: PathBuf,
}

impl Service {
    /// Starts it; standard output too goes to `<folder>/<name>.log` unless the command says
    /// otherwise by `piped`.
    pub fn start(
        mut command: Command,
        name: &'static str,
        folder: &Path,
        piped: bool,
    ) -> Result<Self, Failure> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log)?;
        if piped {
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
        } else {
            command.stdout(file.try_clone()?);
        }
        let child = command
            .stderr(file)
            .process_group(0)
            .spawn()
            .map_err(|error| format!("cannot start {name}: {error}"))?;
        Ok(Self { name, child, log })
    }

    /// Its process id; 0 where it has ended.
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Its ends of the pipes.
    pub fn pipes(
        &mut self,
    ) -> Result<
        (
            tokio::process::ChildStdin,
            BufReader<tokio::process::ChildStdout>,
        ),
        Failure,
    > {
        let stdin = self.child.stdin.take();
        let stdout = self.child.stdout.take();
        let pipes = stdin.zip(stdout.map(BufReader::new));
        pipes.ok_or_else(|| format!("{} has no pipes", self.name).into())
    }

    /// Waits until its output holds these words.
    pub async fn wait_for(&mut self, words: &str) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let output = std::fs::read_to_string(&self.log).unwrap_or_default();
            if output.contains(words) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("{} ended ({status}):\n{}", self.name, self.tail()).into());
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "{} has not printed `{words}` within {PATIENCE:?}:\n{}",
                    self.name,
                    self.tail()
                )
                .into());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The last lines of its output.
    pub fn tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else {
            return;
        };
        // An open pipe would keep alive what waits for its end.
        drop(self.child.stdin.take());
        // What has ended meanwhile cannot be signalled; that is what is wanted.
        let _ = kill_process(pid, Signal::TERM);
        let deadline = Instant::now() + GRACE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(LOOK);
        }
        let _ = kill_process_group(pid, Signal::KILL);
        let _ = self.child.start_kill();
        let _ = self.child.try_wait();
    }
}

/// A port of 127.0.0.1 on which nothing listens now.
pub fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A Redis server that keeps nothing on disk.
pub struct Redis {
    service: Service,
    port: u16,
}

impl Redis {
    /// Starts `redis-server` in a folder.
    pub async fn start(folder: &Path) -> Result<Self, Failure> {
        let port = free_port()?;
        let mut redis = command("redis-server", &[]);
        redis
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(folder);
        let service = Service::start(redis, "redis-server", folder, false);
        let mut service = service.map_err(|error| {
            format!("{error}; install it (Debian: `apt install redis-server`) or leave out celery")
        })?;
        service.wait_for("Ready to accept connections").await?;
        Ok(Self { service, port })
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.service.pid()
    }

    /// How many commands it has answered.
    pub async fn commands(&self) -> Result<u64, Failure> {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.write_all(b"INFO stats\r\nQUIT\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let line = answer
            .lines()
            .find_map(|line| line.strip_prefix("total_commands_processed:"))
            .ok_or("Redis does not say how many commands it has answered")?;
        Ok(line.trim().parse()?)
    }
}

/// A `PostgreSQL` server, started by the Python code that the tests use.
pub struct Postgres {
    /// Ends the server when it ends.
    _service: Service,
    /// The server's process id.
    pub pid: u32,
    port: u16,
}

impl Postgres {
    /// Starts it with these databases.
    pub async fn start(
        python: &Path,
        folder: &Path,
        databases: &[String],
    ) -> Result<Self, Failure> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let path = root.join("python").to_string_lossy().into_owned();
        let mut serve = command(python, &[("PYTHONPATH".to_owned(), path)]);
        serve
            .arg(root.join("load/executor_bench/serve_postgres.py"))
            .arg(folder.join("postgres"))
            .args(databases);
        let mut service = Service::start(serve, "postgres", folder, true)?;
        let (stdin, mut stdout) = service.pipes()?;
        service.child.stdin = Some(stdin);
        let mut line = String::new();
        tokio::time::timeout(PATIENCE, stdout.read_line(&mut line)).await??;
        let answer: serde_json::Value = serde_json::from_str(&line)
            .map_err(|_| format!("PostgreSQL does not start:\n{}", service.tail()))?;
        let number = |name: &str| answer[name].as_u64().ok_or("a number is missing");
        Ok(Self {
            pid: u32::try_from(number("pid")?)?,
            port: u16::try_from(number("port")?)?,
            _service: service,
        })
    }

    /// The part of dagster.yaml that puts Dagster's storage into a database.
    pub fn storage(&self, database: &str) -> String {
        format!(
            "storage: {{postgres: {{postgres_url: \
             'postgresql+psycopg2://test@127.0.0.1:{}/{database}'}}}}\n",
            self.port
        )
    }
}
