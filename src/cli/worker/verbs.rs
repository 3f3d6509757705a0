//! Verbs for a worker that runs on this host, through its control socket.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::{CancelArgs, EndArgs, OrderArgs, ScaleArgs, TargetArgs, WorkerError, wait};
use crate::cli::output::out;
use crate::domain::{Command, QueuePause, Reply, SlotChange, SlotRange, TaskView, WorkerSnapshot};
use crate::fleet::WorkerSocket;
use crate::fleet::client::{self, discover_in};
use crate::protocol::socket_folder;

/// Time limit for the answer of a worker that is to be killed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

pub(in crate::cli) async fn sockets_in(folder: Option<&PathBuf>) -> Vec<WorkerSocket> {
    match folder {
        Some(folder) => discover_in(std::slice::from_ref(folder)).await,
        None => client::discover().await,
    }
}

/// Finds the one worker that the flags select.
pub(super) async fn resolve_worker(target: &TargetArgs) -> Result<WorkerSocket, WorkerError> {
    let mut found = sockets_in(target.runtime_dir.as_ref()).await;
    if let Some(name) = &target.worker {
        found.retain(|socket| socket.worker == *name);
    }
    if found.len() > 1 {
        let names: Vec<String> = found.into_iter().map(|socket| socket.worker).collect();
        return Err(WorkerError::WhichWorker {
            names: names.join(", "),
        });
    }
    found.pop().ok_or_else(|| WorkerError::NoWorker {
        named: target
            .worker
            .as_ref()
            .map(|name| format!(" {name}"))
            .unwrap_or_default(),
        folder: target
            .runtime_dir
            .clone()
            .unwrap_or_else(socket_folder::folder)
            .display()
            .to_string(),
    })
}

/// Sends a command that ends the worker, and waits for the end if requested.
pub(super) async fn end(args: &EndArgs, command: Command) -> Result<ExitCode, WorkerError> {
    let socket = resolve_worker(&args.order.target).await?.path;
    let code = send(&args.order, command).await?;
    if args.wait {
        wait::until_gone(&socket).await;
    }
    Ok(code)
}

/// Sends the worker the command to kill itself, which records the caller; a silent worker is killed
/// from here.
pub(super) async fn kill(order: &OrderArgs) -> Result<ExitCode, WorkerError> {
    let target = &order.target;
    let socket = resolve_worker(target).await?;
    let (worker, pid) = (socket.worker.clone(), socket.pid);
    let call = client::call_because(&socket.path, Command::Kill, order.reason.text());
    let response = tokio::time::timeout(ANSWER_TIMEOUT, call).await;
    if let Ok(Ok(Reply::Failed(reason))) = response {
        return Err(WorkerError::Refused { worker, reason });
    }
    let process = Pid::from_raw(pid.cast_signed());
    match process.map_or(Err(Errno::SRCH), |pid| kill_process(pid, Signal::KILL)) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(source) => {
            return Err(WorkerError::Kill {
                worker,
                pid,
                source,
            });
        }
    }
    if target.json {
        let verb = Command::Kill.verb();
        let line = json!({"worker": worker, "verb": verb, "text": "killed"});
        out!("{line}");
    } else {
        out!("{worker}: killed (pid {pid})");
    }
    Ok(ExitCode::SUCCESS)
}

/// Sends a command to the worker.
pub(super) async fn send(order: &OrderArgs, command: Command) -> Result<ExitCode, WorkerError> {
    let target = &order.target;
    let socket = resolve_worker(target).await?;
    let verb = command.verb();
    let reply = client::call_because(&socket.path, command, order.reason.text()).await?;
    let worker = socket.worker;
    if let Some(reason) = reply.problem() {
        let reason = reason.to_owned();
        return Err(WorkerError::Refused { worker, reason });
    }
    let text = reply.text();
    if target.json {
        out!("{}", json!({"worker": worker, "verb": verb, "text": text}));
    } else {
        out!("{worker}: {text}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Sets the number of step slots, or changes the present one.
pub(super) async fn scale(args: &ScaleArgs) -> Result<ExitCode, WorkerError> {
    let range = match args.steps {
        SlotChange::To(range) => range,
        SlotChange::By(by) => {
            let socket = resolve_worker(&args.order.target).await?;
            let present = client::status(&socket.path).await?.worker.steps.target;
            SlotRange::fixed(present.saturating_add_signed(by))
        }
    };
    send(&args.order, Command::scale(range)).await
}

/// Interrupts the one held task that the arguments select.
pub(super) async fn cancel(args: &CancelArgs) -> Result<ExitCode, WorkerError> {
    let socket = resolve_worker(&args.order.target).await?;
    let snapshot = client::status(&socket.path).await?;
    let (task, step) = (args.task.as_str(), &args.step);
    let is_meant = |known: &&TaskView| {
        known.task_id == task || (known.run_id.starts_with(task) && known.step_key == *step)
    };
    let mut meant = snapshot.tasks.iter().filter(is_meant);
    let found = match (meant.next(), meant.next()) {
        (Some(found), None) => found,
        (first, _) => {
            let what = step.as_ref().map_or_else(
                || format!("the process of run {task}"),
                |step| format!("step {step} of run {task}"),
            );
            let reason = if first.is_none() {
                format!("it does not have {what}; `worker status` lists what it has")
            } else {
                format!("{what} is several of its tasks; give more of the run's id")
            };
            let worker = socket.worker;
            return Err(WorkerError::Refused { worker, reason });
        }
    };
    let task_id = found.task_id.clone();
    send(&args.order, Command::CancelTask { task_id }).await
}

pub(super) async fn status(target: &TargetArgs) -> Result<ExitCode, WorkerError> {
    let socket = resolve_worker(target).await?;
    let snapshot = client::status(&socket.path).await?;
    if target.json {
        // A snapshot is plain data, which always serialize.
        out!("{}", serde_json::to_string(&*snapshot).unwrap_or_default());
    } else {
        print_status(&snapshot);
    }
    Ok(ExitCode::SUCCESS)
}

fn print_status(snapshot: &WorkerSnapshot) {
    let worker = &snapshot.worker;
    out!(
        "{} {}: steps {}, runs {}, finished {}, failed {}",
        worker.id,
        worker.state.word(),
        worker.steps,
        worker.runs,
        worker.finished,
        worker.failed
    );
    for (queue, pause) in &snapshot.paused_queues {
        let QueuePause { by, at, reason } = pause;
        let why = reason.as_ref().map(|reason| format!(": {reason}"));
        out!(
            "  queue {queue} is paused by {by} since {at}{}",
            why.unwrap_or_default()
        );
    }
    for TaskView {
        job,
        run_id,
        step_key,
        queue,
        priority,
        attempt,
        ..
    } in snapshot.tasks.iter().filter(|task| task.is_running())
    {
        let job = job.as_deref().unwrap_or("?");
        let what = step_key.as_ref().map_or_else(
            || format!("run {run_id} of {job}"),
            |step| format!("step {step} of run {run_id} of {job}"),
        );
        out!("  {what}, from {queue}, priority {priority}, attempt {attempt}");
    }
}
