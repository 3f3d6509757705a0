//! The demo's child processes. Each has a log file and a process group of its own, under a guard
//! that ends it at the demo's request or death. It is ready when its condition holds.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::cli::child::last_lines;

/// Variables of the user's that are removed for children: they are meant for other Pythons or
/// another SQS, or are ruinous here (without cached byte code every process would compile dagster
/// again).
const UNWANTED: [&str; 9] = [
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONHOME",
    "VIRTUAL_ENV",
    "AWS_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_SQS",
    "DAGSTER_TASKIQ_S3_BUCKET_NAME",
    "DAGSTER_TASKIQ_S3_ENDPOINT_URL",
];

/// Interval at which a readiness condition is tried.
const TRY_EVERY: Duration = Duration::from_millis(50);

/// Time beyond its grace period that a guard may take to end everything.
const GUARD_MARGIN: Duration = Duration::from_secs(5);

/// Number of a failed program's last log lines that are quoted.
const QUOTED_LINES: usize = 3;

/// Failure of a child process.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// Its log file cannot be created.
    #[error("cannot create {}: {source}", path.display())]
    Log { path: PathBuf, source: io::Error },
    /// The guard did not start.
    #[error("cannot start {name}: {source}")]
    Start {
        name: &'static str,
        source: io::Error,
    },
    /// It ended when it should not have.
    #[error("{name} ended ({status}): {last_lines}; its log is {}", log.display())]
    Ended {
        name: &'static str,
        status: ExitStatus,
        last_lines: String,
        log: PathBuf,
    },
    /// It is running but does not become ready.
    #[error("{name} was not ready after {} s; its log is {}", limit.as_secs(), log.display())]
    NotReady {
        name: &'static str,
        limit: Duration,
        log: PathBuf,
    },
}

/// A program to start.
#[derive(Clone, Debug)]
pub(super) struct Program {
    /// Display name, also the name of its log file.
    pub name: &'static str,
    /// `None`: this program itself.
    pub executable: Option<PathBuf>,
    pub args: Vec<OsString>,
    pub env: Vec<(&'static str, OsString)>,
    /// Working directory.
    pub folder: PathBuf,
    /// Time from SIGTERM to SIGKILL.
    pub grace: Duration,
}

struct Running {
    name: &'static str,
    log: PathBuf,
    grace: Duration,
    /// The guard. Dropping its standard input ends the program.
    guard: Child,
}

impl Running {
    fn ended(&self, status: ExitStatus) -> SupervisorError {
        SupervisorError::Ended {
            name: self.name,
            status,
            last_lines: last_lines(&self.log, QUOTED_LINES),
            log: self.log.clone(),
        }
    }
}

/// All child processes, in the order they were started.
pub(super) struct Supervisor {
    guard: PathBuf,
    logs: PathBuf,
    running: Vec<Running>,
}

impl Supervisor {
    /// Creates a supervisor. `guard` is this program's own binary; log files go to `logs`.
    pub fn new(guard: PathBuf, logs: PathBuf) -> Self {
        Self {
            guard,
            logs,
            running: Vec::new(),
        }
    }

    /// The folder of the log files.
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// The log file of a program.
    pub fn log_of(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// Starts a program, without waiting for it.
    pub fn start(&mut self, program: Program) -> Result<(), SupervisorError> {
        let log = self.log_of(program.name);
        let failed = |source| SupervisorError::Log {
            path: log.clone(),
            source,
        };
        let output = File::create(&log).map_err(failed)?;
        let errors = output.try_clone().map_err(failed)?;
        let mut command = Command::new(&self.guard);
        for variable in UNWANTED {
            command.env_remove(variable);
        }
        let guard = command
            .args(["guard", "--grace"])
            .arg(program.grace.as_secs().to_string())
            .arg("--")
            .arg(program.executable.as_ref().unwrap_or(&self.guard))
            .args(&program.args)
            .envs(program.env)
            .current_dir(&program.folder)
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(|source| SupervisorError::Start {
                name: program.name,
                source,
            })?;
        self.running.push(Running {
            name: program.name,
            log,
            grace: program.grace,
            guard,
        });
        Ok(())
    }

    /// Waits until `probe` returns a value, any child ends, or the time limit passes.
    pub async fn ready<T>(
        &mut self,
        name: &'static str,
        limit: Duration,
        mut probe: impl AsyncFnMut() -> Option<T>,
    ) -> Result<T, SupervisorError> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(value) = probe().await {
                return Ok(value);
            }
            self.check()?;
            if Instant::now() >= deadline {
                let log = self.log_of(name);
                return Err(SupervisorError::NotReady { name, limit, log });
            }
            tokio::time::sleep(TRY_EVERY).await;
        }
    }

    /// Waits until a child that is expected to end has done so with exit code 0.
    pub async fn finished(
        &mut self,
        name: &'static str,
        limit: Duration,
    ) -> Result<(), SupervisorError> {
        let Some(place) = self.running.iter().position(|child| child.name == name) else {
            return Ok(());
        };
        let child = &mut self.running[place];
        // Waiting closes standard input, which would end the program.
        let _held = child.guard.stdin.take();
        match tokio::time::timeout(limit, child.guard.wait()).await {
            Ok(Ok(status)) if status.success() => {
                self.running.remove(place);
                Ok(())
            }
            Ok(Ok(status)) => Err(child.ended(status)),
            Ok(Err(source)) => Err(SupervisorError::Start { name, source }),
            Err(_) => Err(SupervisorError::NotReady {
                name,
                limit,
                log: child.log.clone(),
            }),
        }
    }

    /// Returns an error if any child has ended by itself.
    pub fn check(&mut self) -> Result<(), SupervisorError> {
        for child in &mut self.running {
            if let Ok(Some(status)) = child.guard.try_wait() {
                return Err(child.ended(status));
            }
        }
        Ok(())
    }

    /// Whether a child of this name is running.
    pub fn runs(&mut self, name: &str) -> bool {
        let mut named = self.running.iter_mut().filter(|child| child.name == name);
        named.any(|child| matches!(child.guard.try_wait(), Ok(None)))
    }

    /// Ends the named children at the same time, and waits for them.
    pub async fn stop(&mut self, names: &[&str]) {
        let (mut ending, rest) = std::mem::take(&mut self.running)
            .into_iter()
            .partition::<Vec<_>, _>(|child| names.contains(&child.name));
        self.running = rest;
        for child in &mut ending {
            drop(child.guard.stdin.take());
        }
        for mut child in ending {
            let limit = child.grace + GUARD_MARGIN;
            if tokio::time::timeout(limit, child.guard.wait())
                .await
                .is_err()
            {
                // The guard itself hangs: its program is in uninterruptible sleep.
                let _ = child.guard.kill().await;
            }
        }
    }

    /// Ends all children in reverse order, because later ones depend on earlier ones: the first one
    /// started (the broker) is ended last.
    pub async fn stop_all(&mut self) {
        let names: Vec<_> = self.running.iter().map(|child| child.name).collect();
        if let Some((first, others)) = names.split_first() {
            self.stop(others).await;
            self.stop(&[first]).await;
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failing test may panic")]
mod tests {
    use super::*;

    /// Unit tests have no binary of the project, so a shell takes the guard's place. Its first
    /// word, `guard`, is the script it reads, which drops the other three. The script is read and
    /// not executed: a file this process has just written may still be open for writing in a child
    /// that another test forks, and the kernel refuses to execute such a file ("text file busy").
    fn supervisor(folder: &Path) -> Supervisor {
        std::fs::write(folder.join("guard"), "shift 3\nexec \"$@\"\n").unwrap();
        Supervisor::new("/bin/sh".into(), folder.to_owned())
    }

    fn shell(name: &'static str, script: &str, folder: &Path) -> Program {
        Program {
            name,
            executable: Some("/bin/sh".into()),
            args: vec!["-c".into(), script.into()],
            env: Vec::new(),
            folder: folder.to_owned(),
            grace: Duration::from_secs(1),
        }
    }

    #[tokio::test]
    async fn a_child_that_ends_before_it_is_ready_is_quoted_with_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut supervisor = supervisor(folder.path());
        let program = shell("broker", "echo port taken; exit 3", folder.path());
        supervisor.start(program).unwrap();
        let limit = Duration::from_secs(20);
        let error = supervisor
            .ready("broker", limit, async || None::<()>)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(error.contains("port taken"), "{error}");
        assert!(error.contains("broker.log"), "{error}");
    }

    #[tokio::test]
    async fn a_child_that_is_to_end_is_waited_for_and_its_failure_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let mut supervisor = supervisor(folder.path());
        let limit = Duration::from_secs(20);
        supervisor
            .start(shell("good", "exit 0", folder.path()))
            .unwrap();
        supervisor.finished("good", limit).await.unwrap();
        supervisor
            .start(shell("bad", "echo no disk; exit 1", folder.path()))
            .unwrap();
        let error = supervisor.finished("bad", limit).await.unwrap_err();
        assert!(error.to_string().contains("no disk"), "{error}");
    }

    #[tokio::test]
    async fn closing_standard_input_ends_a_child() {
        let folder = tempfile::tempdir().unwrap();
        let mut supervisor = supervisor(folder.path());
        supervisor
            .start(shell("a", "read line", folder.path()))
            .unwrap();
        supervisor.check().unwrap();
        supervisor.stop_all().await;
        assert!(supervisor.running.is_empty());
    }
}
