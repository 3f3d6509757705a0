//! `queue drain|purge|restore|redrive|resend`: refused in read-only mode, written to the audit log.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;

use super::{
    QueueArgs, QueueError, RedriveArgs, RemoveArgs, ResendArgs, RestoreArgs, group, meant,
    queues_meant,
};
use crate::cli::output::{note, out};
use crate::cli::reason::ReasonArgs;
use crate::cli::worker::{host_settings, identity};
use crate::config::{Partial, Settings, state_folder};
use crate::domain::{Command, OperationResult, Reply};
use crate::fork_server::ForkServers;
use crate::protocol::audit::{self, AuditLog};
use crate::queue_ops::{Operator, read_archive};
use crate::sqs::{Broker, QueueSet};

/// Kind of removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removal {
    Drain,
    Purge,
}

/// Capacity of the channel of notices from a Python process that only writes to Dagster's log; they
/// are dropped.
const NOTICES: usize = 16;

pub(super) async fn remove(args: RemoveArgs, removal: Removal) -> Result<ExitCode, QueueError> {
    let flags = Partial {
        python: args.python.clone(),
        dagster_home: args.dagster_home.clone(),
        ..Partial::default()
    };
    let settings = args.common.connection.settings(flags, true)?;
    let broker = Broker::connect(&settings).await;
    let queue = broker.lookup(&meant(&settings, &args.queue)).await?;
    let counts = broker.counts(&queue).await?;
    let (name, keep_waiting) = (queue.name.clone(), args.keep_waiting);
    let (queue_name, word) = (
        name.clone(),
        if removal == Removal::Drain {
            "drain"
        } else {
            "purge"
        },
    );
    let command = match removal {
        Removal::Drain => Command::DrainQueue {
            queue: name,
            keep_waiting,
        },
        Removal::Purge => Command::PurgeQueue {
            queue: name,
            keep_waiting,
        },
    };
    if args.dry_run {
        let also = counts.in_flight + counts.delayed;
        let all = removal == Removal::Purge && keep_waiting;
        let would = counts.visible + if all { also } else { 0 };
        return Ok(dry_run(&args.common, word, &queue_name, would));
    }
    let done = act(&settings, &command, &args.reason, async {
        if !args.yes {
            super::confirm::typed_name(word, &queue_name, counts)?;
        }
        let hosts = if keep_waiting {
            None
        } else {
            Some(start_instance_agent(&settings).await?)
        };
        let archives = args.archive_dir.clone();
        let archives = archives.unwrap_or_else(|| state_folder().join("archive"));
        let operator = Operator::new(broker, &QueueSet::default(), hosts.clone(), archives);
        let queue = operator.queue(&queue.url).await?;
        let result = match removal {
            Removal::Drain => operator.drain(&queue, keep_waiting).await,
            Removal::Purge => operator.purge(&queue, keep_waiting).await,
        };
        drop(operator);
        if let Some(hosts) = hosts {
            hosts.shutdown(Duration::ZERO).await;
        }
        Ok(result?)
    });
    let done = Box::pin(done).await?;
    Ok(finished(&args.common, word, &queue_name, &done))
}

pub(super) async fn restore(args: RestoreArgs) -> Result<ExitCode, QueueError> {
    let settings = args.common.settings()?;
    let file = args.file.display().to_string();
    if args.dry_run {
        let archived = read_archive(&args.file).map_err(QueueError::Refused)?;
        let count = u64::try_from(archived.len()).unwrap_or(u64::MAX);
        return Ok(dry_run(&args.common, "restore", &file, count));
    }
    let to = args.to.as_ref().map(|name| meant(&settings, name));
    let command = Command::RestoreArchive {
        file: file.clone(),
        to: to.clone(),
        again: args.again,
    };
    let done = act(&settings, &command, &args.reason, async {
        let operator = plain_operator(&settings).await;
        Ok(operator
            .restore(&args.file, to.as_deref(), args.again)
            .await?)
    });
    let done = Box::pin(done).await?;
    Ok(finished(&args.common, "restore", &file, &done))
}

pub(super) async fn redrive(args: RedriveArgs) -> Result<ExitCode, QueueError> {
    let settings = args.common.settings()?;
    let operator = plain_operator(&settings).await;
    let queues = queues_meant(&settings, operator.broker(), &args.which).await?;
    if queues.len() > 1 && !args.message_id.is_empty() {
        let text = "name the queue whose messages --message-id means";
        return Err(QueueError::Refused(text.to_owned()));
    }
    let to = args.to.as_ref().map(|name| meant(&settings, name));
    let ids: &[String] = if args.all { &[] } else { &args.message_id };
    let mut chosen = Vec::new();
    if let Some(class) = &args.group.group {
        let read_only = settings.read_only.value;
        chosen = group::letters(&operator, &queues, class, &args, read_only).await?;
    } else {
        for name in &queues {
            chosen.push((operator.queue(name).await?, ids.to_vec()));
        }
    }
    let mut outcome = ExitCode::SUCCESS;
    for (queue, ids) in chosen {
        if args.dry_run {
            let count = match ids.len() {
                0 => operator.broker().counts(&queue).await?.visible,
                some => u64::try_from(some).unwrap_or(u64::MAX),
            };
            dry_run(&args.common, "redrive", &queue.name, count);
            continue;
        }
        let command = Command::Redrive {
            queue: queue.name.clone(),
            messages: ids.clone(),
            to: to.clone(),
        };
        let done = act(&settings, &command, &args.reason, async {
            Ok(operator.redrive(&queue, &ids, to.as_deref()).await?)
        });
        let done = done.await?;
        let code = finished(&args.common, "redrive", &queue.name, &done);
        if done.failed {
            outcome = code;
        }
    }
    Ok(outcome)
}

pub(super) async fn resend(args: ResendArgs) -> Result<ExitCode, QueueError> {
    let settings = args.common.settings()?;
    let body = read_body(&args.body_file)?;
    let operator = plain_operator(&settings).await;
    let queue = operator.queue(&meant(&settings, &args.queue)).await?;
    let to = args.to.as_ref().map(|name| meant(&settings, name));
    let command = Command::Resend {
        queue: queue.name.clone(),
        message_id: args.message_id.clone(),
        body: String::new(),
        to: to.clone(),
    };
    let done = act(&settings, &command, &args.reason, async {
        let id = &args.message_id;
        Ok(operator.resend(&queue, id, &body, to.as_deref()).await?)
    });
    let done = done.await?;
    Ok(finished(&args.common, "resend", &queue.name, &done))
}

fn read_body(file: &Path) -> Result<String, QueueError> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|mut file| file.read_to_string(&mut text))
    };
    match read {
        Ok(_) => Ok(text),
        Err(error) => {
            let file = file.display();
            Err(QueueError::Refused(format!(
                "cannot read the new body from {file}: {error}"
            )))
        }
    }
}

async fn plain_operator(settings: &Settings) -> Operator {
    let broker = Broker::connect(settings).await;
    Operator::new(broker, &QueueSet::default(), None, state_folder())
}

/// Starts the Python process that writes the end of steps and runs into Dagster's log.
pub(in crate::cli) async fn start_instance_agent(
    settings: &Settings,
) -> Result<ForkServers, QueueError> {
    let (notices, mut incoming) = mpsc::channel(NOTICES);
    tokio::spawn(async move { while incoming.recv().await.is_some() {} });
    let host_settings = host_settings(settings, &identity(settings))?;
    Ok(ForkServers::start(host_settings, notices).await?)
}

/// Executor of commands for a process without a pool; the commands may name every configured queue.
pub(in crate::cli) fn operator(
    settings: &Settings,
    broker: Broker,
    hosts: Option<ForkServers>,
) -> Operator {
    let queues = QueueSet::looked_at(settings);
    let named = QueueSet {
        steps: queues.all().chain(&queues.others).cloned().collect(),
        ..QueueSet::default()
    };
    Operator::new(broker, &named, hosts, state_folder().join("archive"))
}

/// Carries out a command, unless this process is read-only; both outcomes are recorded.
pub(super) async fn act(
    settings: &Settings,
    command: &Command,
    reason: &ReasonArgs,
    work: impl Future<Output = Result<OperationResult, QueueError>>,
) -> Result<OperationResult, QueueError> {
    let verb = command.verb();
    let result = if settings.read_only.value {
        Err(QueueError::Refused(format!(
            "{verb} was refused: read_only is set"
        )))
    } else {
        work.await
    };
    let reply = match &result {
        Ok(done) => Reply::Operation(done.clone()),
        Err(problem) => Reply::Failed(problem.to_string()),
    };
    record(command, &reply, reason).await;
    result
}

/// Writes a line to the audit log.
pub(super) async fn record(command: &Command, reply: &Reply, reason: &ReasonArgs) {
    let log = AuditLog::default_path().map(AuditLog::new);
    let entry = audit::own_entry("command line", command, reply);
    if let (Some(log), Some(entry)) = (log, entry) {
        log.record(entry.because(reason.text().as_deref())).await;
    }
}

fn dry_run(args: &QueueArgs, verb: &str, queue: &str, messages: u64) -> ExitCode {
    if args.json {
        let verb = format!("queue {verb}");
        let line = json!({"verb": verb, "queue": queue, "messages": messages, "dry_run": true});
        out!("{line}");
    } else {
        out!("{verb} {queue}: ~{messages} messages; nothing was done");
    }
    ExitCode::SUCCESS
}

pub(super) fn finished(
    args: &QueueArgs,
    verb: &str,
    queue: &str,
    done: &OperationResult,
) -> ExitCode {
    if args.json {
        // Plain data always serialize.
        let mut value = serde_json::to_value(done).unwrap_or_default();
        value["verb"] = json!(format!("queue {verb}"));
        value["queue"] = json!(queue);
        out!("{value}");
    } else if !done.failed {
        out!("{}", done.text);
    }
    if done.failed {
        note!("dagster-taskiq-tui: {verb}: {}", done.text);
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
