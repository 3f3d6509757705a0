//! Messages that wait too long, and jobs whose steps fail.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Found;
use crate::config::AlarmSettings;
use crate::domain::{
    AlarmKind, Phase, QueueRole, QueueView, Snapshot, TaskOutcome, TaskView, coarse_age,
    seconds_between,
};

/// Time in seconds for which a message that was received after a long wait counts.
const RECENT: u64 = 300;

/// Finds queues whose oldest message waits longer than their threshold. Only the embedded broker
/// reports that message; of any other one, the age at which the latest messages were received is
/// known, while more messages wait.
pub(super) fn old_messages(
    snapshot: &Snapshot,
    settings: &AlarmSettings,
    now: Timestamp,
    found: &mut Found,
) {
    let live = snapshot.queues.iter();
    for queue in live.filter(|queue| queue.role != QueueRole::DeadLetter) {
        let limit = settings.old_message_of(&queue.name, &queue.role);
        let waits = queue.counts.is_some_and(|counts| counts.visible > 0);
        let name = &queue.name;
        if !waits {
            continue;
        }
        if let Some(oldest) = queue.oldest {
            let age = seconds_between(oldest, now);
            if age >= limit {
                let text = format!("The oldest message of {name} waits for {}", coarse_age(age));
                found.critical(AlarmKind::OldMessage, name, text);
            }
        } else if let Some(age) = waited(snapshot, queue, now).filter(|age| *age >= limit) {
            let age = coarse_age(age);
            let text = format!("Messages of {name} waited for {age} before they were received");
            found.critical(AlarmKind::OldMessage, name, text);
        }
    }
}

/// The longest wait of the messages that were received lately, for the first time: a message that
/// was given back has waited elsewhere.
fn waited(snapshot: &Snapshot, queue: &QueueView, now: Timestamp) -> Option<u64> {
    let tasks = snapshot.tasks.iter().chain(snapshot.recent.iter());
    let lately = tasks.filter(|task| {
        task.queue == queue.name
            && task.receive_count <= 1
            && seconds_between(task.received_at, now) < RECENT
    });
    lately
        .filter_map(|task| Some(seconds_between(task.sent_at?, task.received_at)))
        .max()
}

/// Finds jobs of which too large a part of the steps failed lately.
pub(super) fn failures(
    snapshot: &Snapshot,
    settings: &AlarmSettings,
    now: Timestamp,
    found: &mut Found,
) {
    let mut jobs: BTreeMap<&str, (u64, u64, &str)> = BTreeMap::new();
    for task in snapshot.recent.iter().filter(|task| !task.kind.is_run()) {
        let Some((failure, job)) = ended(task, settings.failure_window, now) else {
            continue;
        };
        let (failed, all, reason) = jobs.entry(job).or_default();
        *all += 1;
        if let Some(failure) = failure {
            // Newest first: the latest reason is shown.
            if *failed == 0 {
                *reason = failure;
            }
            *failed += 1;
        }
    }
    for (job, (failed, all, reason)) in jobs {
        let percent = failed * 100 / all.max(1);
        if failed >= settings.failure_count && percent >= settings.failure_percent {
            let window = coarse_age(settings.failure_window);
            let text = format!(
                "{failed} of {all} steps of {job} failed within {window}, the last one: {reason}"
            );
            found.critical(AlarmKind::FailureRate, job, text);
        }
    }
}

/// The reason of the failure of a step that ended within the window, if it failed; and its job.
fn ended(task: &TaskView, window: u64, now: Timestamp) -> Option<(Option<&str>, &str)> {
    let Phase::Done { at, outcome, .. } = &task.phase else {
        return None;
    };
    if seconds_between(*at, now) >= window {
        return None;
    }
    let failure = match outcome {
        TaskOutcome::Success => None,
        TaskOutcome::Failure { reason } => Some(reason.as_str()),
        _ => return None,
    };
    Some((failure, task.job.as_deref()?))
}
