//! `worker restart`: workers of this host start again in their places, one after the other.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, ExitCode};
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::verbs::{resolve_worker, sockets_in};
use super::{RestartArgs, WorkerError};
use crate::cli::output::{note, out};
use crate::domain::{Command, Timestamp, WorkerState};
use crate::fleet::{WorkerSocket, client};

/// Time for a worker to be back once it is gone: it loads Dagster, perhaps on a busy machine.
const BACK: Duration = Duration::from_mins(3);

/// Interval of the looks at a worker that restarts.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Replaces this process by the same program with the same arguments, or by the one that was
/// installed in its place meanwhile. Returns only if that fails.
pub(super) fn in_place() -> WorkerError {
    let program = match std::env::current_exe() {
        Ok(program) => installed(&program),
        Err(source) => return WorkerError::Restart { source },
    };
    let mut arguments = std::env::args_os();
    let mut process = Process::new(program);
    if let Some(name) = arguments.next() {
        process.arg0(name);
    }
    let source = process.args(arguments).exec();
    WorkerError::Restart { source }
}

/// Linux adds a word to the path of a program whose file was replaced.
fn installed(program: &Path) -> PathBuf {
    let text = program.to_string_lossy();
    match text.strip_suffix(" (deleted)") {
        Some(path) if Path::new(path).exists() => PathBuf::from(path),
        _ => program.to_owned(),
    }
}

/// Restarts the worker, or all of this host; the next only when the former is back.
pub(super) async fn restart(args: &RestartArgs) -> Result<ExitCode, WorkerError> {
    let target = &args.order.target;
    let mut workers = if args.all {
        sockets_in(target.runtime_dir.as_ref()).await
    } else {
        Vec::new()
    };
    if workers.is_empty() {
        workers.push(resolve_worker(target).await?);
    }
    let all = workers.len();
    for (done, worker) in workers.iter().enumerate() {
        if let Err(problem) = one(args, worker).await {
            let left: Vec<&str> = workers[done + 1..]
                .iter()
                .map(|worker| worker.worker.as_str())
                .collect();
            if !left.is_empty() {
                note!(
                    "{done} of {all} restarted; not restarted: {}",
                    left.join(", ")
                );
            }
            return Err(problem);
        }
        let name = &worker.worker;
        if target.json {
            let within = args.within;
            let verb = Command::Restart { within }.verb();
            let line = json!({"worker": name, "verb": verb, "text": "restarted"});
            out!("{line}");
        } else {
            out!("{name}: restarted, {} of {all}", done + 1);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn one(args: &RestartArgs, socket: &WorkerSocket) -> Result<(), WorkerError> {
    let worker = || socket.worker.clone();
    let began = client::status(&socket.path).await?.worker.started_at;
    let within = args.within;
    let command = Command::Restart { within };
    let reply = client::call_because(&socket.path, command, args.order.reason.text()).await?;
    if let Some(reason) = reply.problem() {
        let (worker, reason) = (worker(), reason.to_owned());
        return Err(WorkerError::Refused { worker, reason });
    }
    let mut gone: Option<Instant> = None;
    loop {
        sleep(LOOK_EVERY).await;
        match is_back(&socket.path, began).await {
            Some(true) => return Ok(()),
            // It has as long as its steps take.
            Some(false) => gone = None,
            None => {
                let since = *gone.get_or_insert_with(Instant::now);
                if since.elapsed() >= BACK {
                    let (worker, seconds) = (worker(), BACK.as_secs());
                    return Err(WorkerError::NotBack { worker, seconds });
                }
            }
        }
    }
}

/// Whether the worker is back; `None` if it does not answer.
async fn is_back(socket: &Path, began: Timestamp) -> Option<bool> {
    let worker = client::status(socket).await.ok()?.worker.clone();
    let receives = matches!(worker.state, WorkerState::Running | WorkerState::Paused);
    Some(worker.started_at != began && receives)
}
