//! `alarm …`: the alarms of the workers on this host, and their acknowledgement.

mod test_hooks;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::SignedDuration;
use serde_json::json;
use thiserror::Error;

use super::block_on;
use super::output::out;
use super::reason::ReasonArgs;
use super::worker::sockets_in;
use crate::alarms::history;
use crate::config::ConfigError;
use crate::domain::{
    Alarm, AlarmEntry, Command, Timestamp, coarse_age, parse_duration, parse_moment, plain,
    seconds_between,
};
use crate::fleet::{WorkerSocket, client};
use crate::protocol::frames::own_name;
use crate::protocol::{ControlError, socket_folder};

/// Time for which an alarm is acknowledged if none is given.
const AN_HOUR: SignedDuration = SignedDuration::from_hours(1);

/// Verbs of `alarm`.
#[derive(Debug, Subcommand)]
pub enum AlarmVerb {
    /// Print the alarms of the workers on this host, worst first; exit code 1 if there are any
    List(ListArgs),
    /// Acknowledge an alarm in the whole deployment: until a time no hook and no console signals it
    Ack(AckArgs),
    /// Print what became of alarms on this host, newest first
    History(HistoryArgs),
    /// Send a made-up alarm, and its end, to the alarm hooks; exit code 1 if one is not delivered
    Test(test_hooks::TestArgs),
}

/// Flags of `alarm list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Folder of the control sockets [default: the user's runtime folders]
    #[arg(long, value_name = "DIR")]
    runtime_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Flags of `alarm ack`.
#[derive(Debug, Args)]
pub struct AckArgs {
    /// Id of the alarm, as `alarm list` prints it
    id: String,
    /// For how long: `30m`, `8h`, `2d` [default: 1h]
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration, conflicts_with_all = ["until", "withdraw"])]
    within: Option<SignedDuration>,
    /// Until when: `2026-03-14T08:00Z`
    #[arg(long, value_name = "TIME", value_parser = parse_moment, conflicts_with = "withdraw")]
    until: Option<Timestamp>,
    /// Take an acknowledgement back
    #[arg(long)]
    withdraw: bool,
    #[command(flatten)]
    reason: ReasonArgs,
    #[command(flatten)]
    list: ListArgs,
}

/// Flags of `alarm history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Maximum number of lines
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Error of an alarm command.
#[derive(Debug, Error)]
pub enum AlarmError {
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The settings have no such hook.
    #[error(
        "there is no alarm hook{name} in these settings{near}; give the workers' settings file \
         with -y, which has hooks under alarm_hooks"
    )]
    NoHook {
        /// The hook's name after a space, or nothing.
        name: String,
        /// A hook with nearly that name.
        near: String,
    },
    /// The control socket.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// There is no worker.
    #[error(
        "no worker runs on this host ({folder}), and workers judge alarms; start one with \
         `dagster-taskiq-tui worker start`"
    )]
    NoWorker {
        /// The runtime folder.
        folder: String,
    },
    /// The time is out of range.
    #[error("cannot acknowledge {id}: give a time that is to come")]
    Past {
        /// The alarm.
        id: String,
    },
    /// The worker refused.
    #[error("cannot acknowledge {id}: {reason}")]
    Refused {
        /// The alarm.
        id: String,
        /// Its reason.
        reason: String,
    },
    /// The history cannot be read, or the runtime not be set up.
    #[error("cannot read the history of alarms: {0}")]
    History(#[from] std::io::Error),
}

/// Runs a verb of `alarm`.
///
/// # Errors
/// [`AlarmError`]
pub fn run(verb: AlarmVerb) -> Result<ExitCode, AlarmError> {
    block_on(async {
        match verb {
            AlarmVerb::List(args) => list(&args).await,
            AlarmVerb::Ack(args) => acknowledge(args).await,
            AlarmVerb::History(args) => print_history(&args),
            AlarmVerb::Test(args) => test_hooks::test(args).await,
        }
    })
}

async fn workers(args: &ListArgs) -> Result<Vec<WorkerSocket>, AlarmError> {
    let found = sockets_in(args.runtime_dir.as_ref()).await;
    if found.is_empty() {
        let folder = args
            .runtime_dir
            .clone()
            .unwrap_or_else(socket_folder::folder);
        let folder = folder.display().to_string();
        return Err(AlarmError::NoWorker { folder });
    }
    Ok(found)
}

async fn list(args: &ListArgs) -> Result<ExitCode, AlarmError> {
    let mut reported = Vec::new();
    for worker in workers(args).await? {
        let state = client::status(&worker.path).await?;
        reported.extend(state.alarms.iter().flatten().cloned());
    }
    let now = Timestamp::now();
    let mut alarms = Alarm::merged(&reported);
    alarms.sort_by_key(|alarm| (alarm.is_acknowledged(now), alarm.severity));
    if args.json {
        let rows: Vec<_> = alarms
            .iter()
            .map(|alarm| json!({"id": alarm.id(), "alarm": alarm}))
            .collect();
        out!("{:#}", json!(rows));
    } else {
        for alarm in &alarms {
            let age = alarm.since.map_or(0, |since| seconds_between(since, now));
            let state = match &alarm.acknowledged {
                Some(ack) if ack.until > now => {
                    format!("acknowledged by {} until {}", ack.by, ack.until)
                }
                _ => alarm.severity.name().to_owned(),
            };
            let line = format!(
                "{}  {state}  {}  {}",
                alarm.id(),
                coarse_age(age),
                alarm.text
            );
            out!("{}", plain(&line));
        }
        if alarms.is_empty() {
            out!("No alarm");
        }
    }
    let open = alarms.iter().any(|alarm| !alarm.is_acknowledged(now));
    Ok(if open {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

async fn acknowledge(args: AckArgs) -> Result<ExitCode, AlarmError> {
    let now = Timestamp::now();
    let until = match (args.withdraw, args.until, args.within) {
        (true, ..) => None,
        (false, Some(until), _) => Some(until),
        (false, None, within) => now.checked_add(within.unwrap_or(AN_HOUR)).ok(),
    };
    let id = args.id;
    if !args.withdraw && until.is_none_or(|until| until <= now) {
        return Err(AlarmError::Past { id });
    }
    let command = Command::AcknowledgeAlarm {
        alarm: id.clone(),
        until,
        by: own_name(),
    };
    // Workers agree on acknowledgements: any of them will do.
    let mut workers = workers(&args.list).await?;
    let worker = workers.swap_remove(0);
    let verb = command.verb();
    let reply = client::call_because(&worker.path, command, args.reason.text()).await?;
    if let Some(reason) = reply.problem() {
        let reason = reason.to_owned();
        return Err(AlarmError::Refused { id, reason });
    }
    if args.list.json {
        let line = json!({"alarm": id, "verb": verb, "until": until, "text": reply.text()});
        out!("{line}");
    } else {
        out!("{}", reply.text());
    }
    Ok(ExitCode::SUCCESS)
}

fn print_history(args: &HistoryArgs) -> Result<ExitCode, AlarmError> {
    let entries = history::read(&history::default_path(), args.limit)?;
    if args.json {
        out!("{:#}", json!(entries));
        return Ok(ExitCode::SUCCESS);
    }
    for entry in &entries {
        out!("{}", line(entry));
    }
    Ok(ExitCode::SUCCESS)
}

fn line(entry: &AlarmEntry) -> String {
    let by = entry.by.as_ref().map(|by| format!(" by {by}"));
    let (by, word) = (by.unwrap_or_default(), entry.change.word());
    let at = Timestamp::from_second(entry.at.as_second()).unwrap_or(entry.at);
    plain(&format!("{at}  {word}{by}  {}  {}", entry.id, entry.text)).into_owned()
}
