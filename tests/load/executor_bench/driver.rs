//! The Python process that executes runs, as `drive.py` has it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStdin, ChildStdout};

use super::common::Failure;
use super::services::{Service, command};

/// The longest that one answer may take.
const PATIENCE: Duration = Duration::from_hours(1);

/// A warm process that has imported Dagster and the code location.
pub struct Driver {
    /// The process.
    pub service: Service,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

/// What an execution took; times in seconds.
#[derive(Debug, Deserialize)]
pub struct Executed {
    /// From the call of `execute_job` to its return; of several, from the first to the last.
    pub wall: f64,
    /// Processor time of the processes that executed the runs.
    pub executor_cpu: f64,
    /// Processor time of their children that have ended.
    pub children_cpu: f64,
    /// The runs.
    pub runs: Vec<Steps>,
}

/// When the steps of a run started and ended.
#[derive(Debug, Deserialize)]
pub struct Steps {
    /// Seconds since the epoch by step.
    pub started: BTreeMap<String, f64>,
    /// The same, of the steps that succeeded.
    pub ended: BTreeMap<String, f64>,
    /// The processes that ran them.
    pub pids: BTreeSet<u32>,
}

/// What a launch took, in seconds.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Launched {
    /// The call of the launcher.
    pub call: f64,
    /// From the call to the start of the run's first step.
    pub first_step: f64,
}

impl Driver {
    /// Starts it on a code location and waits until it has loaded a job.
    pub async fn start(
        python: &Path,
        folder: &Path,
        job: &str,
        variables: &[(String, String)],
    ) -> Result<Self, Failure> {
        let mut drive = command(python, variables);
        drive
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/load/executor_bench/drive.py"))
            .arg(folder.join("location.py"))
            .arg(job);
        let mut service = Service::start(drive, "driver", folder, true)?;
        let (stdin, stdout) = service.pipes()?;
        let mut driver = Self {
            service,
            stdin,
            stdout,
        };
        driver.answer::<Value>().await?;
        Ok(driver)
    }

    /// Executes a job, so often at once.
    pub async fn execute(&mut self, job: &str, runs: usize) -> Result<Executed, Failure> {
        self.ask(&json!({ "job": job, "runs": runs })).await
    }

    /// Launches a job through the instance's run launcher.
    pub async fn launch(&mut self, job: &str) -> Result<Launched, Failure> {
        self.ask(&json!({ "launch": job })).await
    }

    async fn ask<T: DeserializeOwned>(&mut self, question: &Value) -> Result<T, Failure> {
        self.stdin
            .write_all(format!("{question}\n").as_bytes())
            .await?;
        self.answer().await
    }

    async fn answer<T: DeserializeOwned>(&mut self) -> Result<T, Failure> {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, self.stdout.read_line(&mut line));
        read.await.map_err(|_| "the driver does not answer")??;
        let answer: Value = serde_json::from_str(&line)
            .map_err(|_| format!("the driver ended:\n{}", self.service.tail()))?;
        match answer["error"].as_str() {
            Some(error) => Err(format!("the driver failed:\n{error}").into()),
            None => Ok(serde_json::from_value(answer)?),
        }
    }
}
