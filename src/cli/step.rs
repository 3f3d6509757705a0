//! `step stack|usage`: where a running step of this host is, and what it uses.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use thiserror::Error;

use super::block_on;
use super::output::out;
use super::worker::sockets_in;
use crate::console::labels;
use crate::domain::{Answer, Command, Query, Reply, TaskView};
use crate::fleet::{WorkerSocket, client};
use crate::protocol::ControlError;

/// Verbs of `step`.
#[derive(Debug, Subcommand)]
pub enum StepVerb {
    /// Print the Python stacks of a running step's process: is it slow, or stuck, and where
    Stack(StepArgs),
    /// Print what a running step's processes use: processor, memory, open files, threads
    Usage(StepArgs),
}

/// The step, and how to find its worker.
#[derive(Debug, Args)]
pub struct StepArgs {
    /// Run id, the beginning of one, or a Taskiq task id
    run: String,
    /// Step key; without it the run's own process is meant
    step: Option<String>,
    /// Folder of the control sockets [default: the user's runtime folder]
    #[arg(long, value_name = "DIR")]
    runtime_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Error of a step command: one sentence each.
#[derive(Debug, Error)]
pub enum StepError {
    /// No worker of this host runs it.
    #[error(
        "no worker of this host runs {what}; `worker status` prints what runs, and the console \
         reaches other hosts (`attach --host HOST`)"
    )]
    NotHere {
        /// `step load of run 4f0c`.
        what: String,
    },
    /// The arguments name several tasks.
    #[error("{count} running tasks are {what}: give more of the run's id")]
    Several {
        /// `step load of run 4f0c`.
        what: String,
        /// Their number.
        count: usize,
    },
    /// The worker's refusal.
    #[error("worker {worker}: {reason}")]
    Refused {
        /// The worker.
        worker: String,
        /// One sentence.
        reason: String,
    },
    /// The control socket.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The runtime.
    #[error("cannot start the asynchronous runtime: {0}; check this process's limits (ulimit -a)")]
    Runtime(#[from] std::io::Error),
}

/// Runs a step verb.
///
/// # Errors
/// [`StepError`]
pub fn run(verb: StepVerb) -> Result<ExitCode, StepError> {
    block_on(async {
        let (args, is_stack) = match verb {
            StepVerb::Stack(args) => (args, true),
            StepVerb::Usage(args) => (args, false),
        };
        let (socket, task_id) = find(&args).await?;
        let query = if is_stack {
            Query::Stack { task_id }
        } else {
            Query::Usage { task_id }
        };
        let reason = match client::call(&socket.path, Command::Query(query)).await? {
            Reply::Answer(answer) => {
                print(&answer, args.json);
                return Ok(ExitCode::SUCCESS);
            }
            other => other.text().to_owned(),
        };
        let worker = socket.worker;
        Err(StepError::Refused { worker, reason })
    })
}

/// Finds the one running task that the arguments name, with its worker.
async fn find(args: &StepArgs) -> Result<(WorkerSocket, String), StepError> {
    let sockets = sockets_in(args.runtime_dir.as_ref()).await;
    let requested = sockets.iter().map(|socket| client::status(&socket.path));
    let answers = futures::future::join_all(requested).await;
    let mut found = Vec::new();
    for (socket, snapshot) in sockets.into_iter().zip(answers) {
        // One that does not answer may not be the one that runs it.
        let Ok(snapshot) = snapshot else { continue };
        let named = snapshot.tasks.iter().filter(|task| args.names(task));
        let ids: Vec<String> = named.map(|task| task.task_id.clone()).collect();
        found.extend(ids.into_iter().map(|id| (socket.clone(), id)));
    }
    let what = match &args.step {
        Some(step) => format!("step {step} of run {}", args.run),
        None => format!("run {}", args.run),
    };
    let count = found.len();
    if count > 1 {
        return Err(StepError::Several { what, count });
    }
    found.pop().ok_or(StepError::NotHere { what })
}

impl StepArgs {
    fn names(&self, task: &TaskView) -> bool {
        let is_of_run = task.run_id.starts_with(&self.run) && task.step_key == self.step;
        task.is_running() && (is_of_run || task.task_id == self.run)
    }
}

fn print(answer: &Answer, json: bool) {
    match answer {
        // Plain data always serialize.
        Answer::Stack(report) if json => {
            out!("{}", serde_json::to_string(report).unwrap_or_default());
        }
        Answer::Usage(usage) if json => {
            out!("{}", serde_json::to_string(usage).unwrap_or_default());
        }
        Answer::Stack(report) => {
            out!("process {}, {}, by {}", report.pid, report.at, report.by);
            out!("{}", report.text.trim_end());
        }
        Answer::Usage(usage) => {
            out!("process {}", usage.pid);
            for line in labels::usage(usage) {
                out!("{line}");
            }
        }
        _ => {}
    }
}
