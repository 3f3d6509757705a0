//! The command line equivalent to a dialog's action, for use in a script.

use std::borrow::Cow;

use crate::domain::Command;

/// The program, as it is called.
const PROGRAM: &str = "dagster-taskiq-tui";

/// Number of ids that are written out; a longer list is shown as its length.
const IDS: usize = 3;

/// A word as a shell takes it: in quotation marks if it has characters that a shell interprets. An
/// operator copies the line, and names come from others.
pub(super) fn quoted(word: &str) -> Cow<'_, str> {
    // What has a NUL is no word of a command line.
    shlex::try_quote(word).unwrap_or(Cow::Borrowed("…"))
}

/// Lines for a dialog: the first command's equivalent, and a note if there are more.
pub(super) fn twins<'a>(
    commands: impl Iterator<Item = (Option<&'a str>, &'a Command)>,
) -> Vec<String> {
    let all: Vec<String> = commands
        .filter_map(|(worker, command)| twin(worker, command))
        .collect();
    match all.as_slice() {
        [] => Vec::new(),
        [one] => vec![format!("$ {one}")],
        [first, more @ ..] => vec![format!("$ {first}  (and {} more)", more.len())],
    }
}

/// The command line of a command to a worker, or to no particular one, if it has one.
fn twin(worker: Option<&str>, command: &Command) -> Option<String> {
    if let Some(words) = of_worker(command) {
        let name = worker.map_or_else(String::new, |worker| format!(" {worker}"));
        return Some(format!("{PROGRAM} worker {words}{name}"));
    }
    let flag = |set: bool, name: &str| {
        if set {
            format!(" {name}")
        } else {
            String::new()
        }
    };
    let to = |to: &Option<String>| {
        to.as_ref()
            .map_or_else(String::new, |queue| format!(" --to {queue}"))
    };
    let words = match command {
        Command::ReexecuteRun {
            run_id,
            from_failure,
            ..
        } => format!(
            "run reexecute {run_id}{}",
            flag(*from_failure, "--from-failure")
        ),
        Command::ReloadLocation { location } => format!("run reload {}", quoted(location)),
        Command::PauseQueue { queue, .. } => format!("queue pause {queue}"),
        Command::ResumeQueue { queue } => format!("queue resume {queue}"),
        Command::DrainQueue {
            queue,
            keep_waiting,
        } => format!(
            "queue drain {queue}{}",
            flag(*keep_waiting, "--keep-waiting")
        ),
        Command::PurgeQueue {
            queue,
            keep_waiting,
        } => format!(
            "queue purge {queue}{}",
            flag(*keep_waiting, "--keep-waiting")
        ),
        Command::PeekByReceiving { queue, limit, .. } => {
            format!("queue peek {queue} --receive --limit {limit}")
        }
        Command::Redrive {
            queue,
            messages,
            to: target,
        } => {
            let ids = match messages.as_slice() {
                [] => String::from(" --all"),
                messages => first(messages, " --message-id "),
            };
            let more = flag(messages.len() > IDS, "…");
            format!("queue redrive {queue}{ids}{more}{}", to(target))
        }
        Command::Resend {
            queue,
            message_id,
            to: target,
            ..
        } => format!(
            "queue resend {queue} {message_id} --body-file FILE{}",
            to(target)
        ),
        Command::RestoreArchive {
            file,
            to: target,
            again,
        } => format!(
            "queue restore {}{}{}",
            quoted(file),
            to(target),
            flag(*again, "--again")
        ),
        Command::StartWorker => String::from("worker start --background"),
        Command::TerminateRuns { run_ids, force } => {
            let ids = first(run_ids, " ");
            let more = flag(run_ids.len() > IDS, "…");
            format!("run terminate{ids}{more}{}", flag(*force, "--force"))
        }
        Command::Switch { instigator, on } => format!(
            "dagster {} {} --location {}",
            if *on { "start" } else { "stop" },
            quoted(&instigator.name),
            quoted(&instigator.location)
        ),
        Command::AcknowledgeAlarm { alarm, until, .. } => match until {
            Some(until) => format!("alarm ack {} --until {until}", quoted(alarm)),
            None => format!("alarm ack {} --withdraw", quoted(alarm)),
        },
        Command::FreeSlot { run_id, step_key } => {
            format!("run free-slot {run_id} {}", quoted(step_key))
        }
        _ => return None,
    };
    Some(format!("{PROGRAM} {words}"))
}

/// The words after `worker` of a command to one, without its name.
fn of_worker(command: &Command) -> Option<String> {
    let with_time = |verb: &str, within: &Option<u64>| {
        let within = within.map(|seconds| format!(" --within {seconds}"));
        format!("{verb}{}", within.unwrap_or_default())
    };
    Some(match command {
        Command::CancelTask { task_id } => format!("cancel {task_id}"),
        Command::Drain { within } => with_time("drain", within),
        Command::Restart { within } => with_time("restart", within),
        Command::Pause => String::from("pause"),
        Command::Resume => String::from("resume"),
        Command::Reload => String::from("reload"),
        Command::Scale { steps } => format!("scale {steps}"),
        Command::ScaleWithin { range } => format!("scale {range}"),
        Command::Stop => String::from("stop"),
        Command::Kill => String::from("kill"),
        _ => return None,
    })
}

/// The first of some ids, each after `before`.
fn first(ids: &[String], before: &str) -> String {
    let shown = ids.iter().take(IDS);
    shown.flat_map(|id| [before, id]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_reach_a_shell_as_single_words() {
        for name in [
            "load",
            "it's",
            "a b; rm x",
            "$(x)",
            "`x`",
            "\"'\"",
            "größe",
            "",
        ] {
            let command = Command::FreeSlot {
                run_id: String::from("4f0c81aa"),
                step_key: name.to_owned(),
            };
            let words = [PROGRAM, "run", "free-slot", "4f0c81aa", name].map(str::to_owned);
            let line = twin(None, &command);
            let split = line.as_deref().and_then(shlex::split);
            assert_eq!(split.as_deref(), Some(&words[..]), "{line:?}");
        }
    }
}
