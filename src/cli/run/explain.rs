//! `run explain` and `run free-slot`: through Dagster's storage if `DAGSTER_HOME` is known,
//! otherwise through a worker of this host, otherwise with the webserver's data.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::RunError;
use crate::cli::connection::ConnectionArgs;
use crate::cli::output::out;
use crate::cli::queue::{operator, start_instance_agent};
use crate::cli::reason::ReasonArgs;
use crate::cli::worker::sockets_in;
use crate::config::{Partial, Settings};
use crate::dagster::Client;
use crate::domain::{
    Answer, Command, Explanation, Query, Reason, Reply, RunStatus, WorkerSnapshot,
};
use crate::fleet::{WorkerSocket, client};
use crate::protocol::audit::{self, AuditLog};
use crate::sqs::Broker;

/// Flags of `run explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Run id, or its beginning where `DAGSTER_HOME` is known or a worker runs on this host
    run: String,
    /// Step key; without it the run itself is explained
    step: Option<String>,
    #[command(flatten)]
    common: StorageArgs,
    /// Dagster's webserver, for what it knows where nothing else can be asked [env:
    /// `DAGSTER_TASKIQ_WEBSERVER_URL`]
    #[arg(long, value_name = "URL")]
    webserver_url: Option<String>,
}

/// Flags of `run free-slot`.
#[derive(Debug, Args)]
pub struct FreeSlotArgs {
    /// Whole id of the run whose step holds the slot
    run: String,
    /// Step key
    step: String,
    #[command(flatten)]
    reason: ReasonArgs,
    #[command(flatten)]
    common: StorageArgs,
    /// Refuse what changes something
    #[arg(long)]
    read_only: bool,
}

/// Where Dagster's storage and the queues are.
#[derive(Debug, Args)]
pub struct StorageArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    /// Folder of dagster.yaml [env: `DAGSTER_HOME`]
    #[arg(long, value_name = "DIR")]
    dagster_home: Option<PathBuf>,
    /// Python that reads Dagster's storage; it must have dagster [default: `$VIRTUAL_ENV`, then
    /// PATH]
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Folder of the control sockets [default: the user's runtime folder]
    #[arg(long, value_name = "DIR")]
    runtime_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl StorageArgs {
    fn settings(&self, flags: Partial) -> Result<Settings, RunError> {
        let flags = Partial {
            dagster_home: self.dagster_home.clone(),
            python: self.python.clone(),
            ..flags
        };
        // Without a configured queue the embedded broker is queried, which may not be running.
        Ok(self.connection.settings(flags, true)?)
    }
}

pub(super) async fn explain(args: ExplainArgs) -> Result<(), RunError> {
    let settings = args.common.settings(Partial {
        webserver_url: args.webserver_url.clone(),
        ..Partial::default()
    })?;
    let sockets = sockets_in(args.common.runtime_dir.as_ref()).await;
    let query = Query::Explain {
        run_id: args.run.clone(),
        step_key: args.step.clone(),
    };
    let response = carry_out(&settings, &sockets, Command::Query(query)).await?;
    let mut found = match response {
        Some(Reply::Answer(answer)) => match *answer {
            Answer::Explanation(found) => found,
            _ => return Err(RunError::NoStorage),
        },
        Some(other) => return Err(RunError::Unclear(other.text().to_owned())),
        None => of_webserver(&settings, &args).await?,
    };
    add_workers(&mut found, &sockets).await;
    if args.common.json {
        // Plain data always serialize.
        out!("{}", serde_json::to_string(&found).unwrap_or_default());
    } else {
        print(&found);
    }
    Ok(())
}

pub(super) async fn free_slot(args: FreeSlotArgs) -> Result<(), RunError> {
    let settings = args.common.settings(Partial {
        read_only: args.read_only.then_some(true),
        ..Partial::default()
    })?;
    let command = Command::FreeSlot {
        run_id: args.run.clone(),
        step_key: args.step.clone(),
    };
    let sockets = sockets_in(args.common.runtime_dir.as_ref()).await;
    let reply = if settings.read_only.value {
        let verb = command.verb();
        let refusal = RunError::ReadOnly { verb }.to_string();
        Reply::Failed(refusal)
    } else {
        let response = carry_out(&settings, &sockets, command.clone()).await?;
        response.ok_or(RunError::NoStorage)?
    };
    let entry = audit::own_entry("command line", &command, &reply);
    if let (Some(log), Some(entry)) = (AuditLog::default_path().map(AuditLog::new), entry) {
        log.record(entry.because(args.reason.text().as_deref()))
            .await;
    }
    if let Some(problem) = reply.problem() {
        return Err(RunError::Unclear(problem.to_owned()));
    }
    if args.common.json {
        let (verb, text) = (command.verb(), reply.text());
        let line = json!({"run_id": args.run, "step_key": args.step, "verb": verb, "text": text});
        out!("{line}");
    } else {
        out!("{}", reply.text());
    }
    Ok(())
}

/// Queries Dagster's storage, from here or through a worker of this host; `None` if neither is
/// known.
async fn carry_out(
    settings: &Settings,
    sockets: &[WorkerSocket],
    command: Command,
) -> Result<Option<Reply>, RunError> {
    let known = settings.dagster_home.value.is_some() || std::env::var_os("DAGSTER_HOME").is_some();
    if !known {
        let Some(socket) = sockets.first() else {
            return Ok(None);
        };
        let response = client::call(&socket.path, command).await;
        return response
            .map(Some)
            .map_err(|problem| RunError::Unclear(problem.to_string()));
    }
    let hosts = start_instance_agent(settings).await;
    let hosts = hosts.map_err(|problem| RunError::Unclear(problem.to_string()))?;
    let broker = Broker::connect(settings).await;
    let operator = operator(settings, broker, Some(hosts.clone()));
    let reply = operator.handle(command).await;
    drop(operator);
    hosts.shutdown(Duration::ZERO).await;
    Ok(Some(reply))
}

/// Adds the tasks that the workers of this host hold.
async fn add_workers(found: &mut Explanation, sockets: &[WorkerSocket]) {
    if !found.is_in_queue() {
        return;
    }
    let statuses = sockets.iter().map(|socket| client::status(&socket.path));
    let answers = futures::future::join_all(statuses).await;
    let snapshots: Vec<Arc<WorkerSnapshot>> = answers.into_iter().flatten().collect();
    let tasks = snapshots.iter().flat_map(|snapshot| &snapshot.tasks);
    let recent = snapshots.iter().flat_map(|snapshot| &snapshot.recent);
    found.note_tasks(tasks, recent);
}

/// Data of the webserver: the run's status and which steps have ended.
async fn of_webserver(settings: &Settings, args: &ExplainArgs) -> Result<Explanation, RunError> {
    let url = settings.webserver_url.value.as_deref();
    let client = Client::new(url.ok_or(RunError::NoStorage)?)?;
    let run = client.run(&args.run).await?;
    let mut found = Explanation {
        run_id: run.run_id.clone(),
        job: run.job.clone(),
        status: run.status.word().to_owned(),
        step_key: args.step.clone(),
        waits: !run.status.is_finished(),
        ..Explanation::default()
    };
    found.unknown.push(String::from(
        "limits of the run queue, pools, workers and queues: they are read from Dagster's storage; \
         set DAGSTER_HOME, or ask on a worker's host",
    ));
    let text = format!("The run is {}.", run.status.word());
    found.reasons.push(Reason::new("run_status", text));
    let (status, steps) = (run.status, run.into_steps());
    if let Some(key) = &args.step {
        let Some(step) = steps.steps.iter().find(|step| step.key == *key) else {
            return Err(RunError::Unclear(format!(
                "run {} has no step {key}; `run show` prints them",
                found.run_id
            )));
        };
        if let Some(word) = &step.status {
            found.waits = false;
            found.put_first(Reason::new("step_status", format!("The step is {word}.")));
        } else if status == RunStatus::Started {
            let ended = |key: &String| {
                let need = steps.steps.iter().find(|step| step.key == *key);
                let status = need.and_then(|step| step.status.as_deref());
                matches!(status, Some("SUCCESS" | "SKIPPED"))
            };
            let needs = step.depends_on.iter().filter(|key| !ended(key));
            let needs: Vec<&str> = needs.map(String::as_str).collect();
            if !needs.is_empty() {
                let text = format!("It needs steps that have not ended: {}.", needs.join(", "));
                found.put_first(Reason::new("needs", text));
            }
        }
    }
    Ok(found)
}

fn print(found: &Explanation) {
    let Explanation {
        run_id,
        job,
        status,
        ..
    } = found;
    match &found.step_key {
        Some(step) => out!("{step} of run {run_id} ({job}, {status}):"),
        None => out!("run {run_id} ({job}, {status}):"),
    }
    for reason in &found.reasons {
        out!("  {}", reason.text);
        for holder in reason.other_holders() {
            out!("    {}", holder.text);
        }
    }
    for step in &found.steps {
        out!("  {}: {}", step.step_key, step.reason);
    }
    for unknown in &found.unknown {
        out!("  Not known: {}.", unknown);
    }
    for holder in found.freeable() {
        let command = Command::FreeSlot {
            run_id: holder.run_id.clone(),
            step_key: holder.step_key.clone().unwrap_or_default(),
        };
        if let Some(line) = command.command_line(None) {
            out!("  To free the slot: {line}");
        }
    }
}
