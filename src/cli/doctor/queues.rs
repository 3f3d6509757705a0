//! The broker's side: it is reachable, queues exist, permissions are granted, dead letters are
//! kept, clocks agree, the bucket is readable.

use std::collections::HashSet;
use std::sync::Arc;

use super::Report;
use crate::config::Settings;
use crate::domain::{QueueDetail, QueueRole};
use crate::sqs::{Broker, BrokerError, BucketAccess, Permission, Queue, QueueSet};

/// Receives beyond `max_deliveries` that restarts, lost workers and full workers may use up, for
/// which the message is not to blame.
const SPARE_RECEIVES: u32 = 10;

/// Clock difference in seconds beyond which ages and heartbeats are wrong.
const CLOCKS_APART: i64 = 10;
/// Clock difference in seconds beyond which SQS refuses signatures.
const CLOCKS_TOO_FAR: i64 = 300;

/// Permissions that a worker uses on every queue it serves. It sends messages anew that can be run,
/// but would otherwise be moved to the dead-letter queue.
const NEEDED: [Permission; 4] = [
    Permission::Receive,
    Permission::Delete,
    Permission::ChangeVisibility,
    Permission::Send,
];

/// Makes the checks; returns the names of the queues that a worker would serve.
pub(super) async fn examine(
    report: &mut Report,
    settings: &Settings,
    broker: &Broker,
) -> Vec<String> {
    let set = QueueSet::configured(settings);
    let kind = if broker.is_embedded() {
        "the embedded broker"
    } else {
        "SQS"
    };
    // Those that are not there yet, too: a worker makes them, or fails.
    let served = set.all().map(|queue| queue.name.clone()).collect();
    let (mut answered, mut probed) = (false, HashSet::new());
    for queue in set.all() {
        match broker.describe(queue).await {
            Ok(detail) => {
                if !answered {
                    report.ok("broker", format!("{kind} answers at {}", broker.endpoint()));
                    answered = true;
                }
                let required = settings.max_deliveries.value.saturating_add(SPARE_RECEIVES);
                dead_letters(report, broker, queue, &detail, required, &mut probed).await;
                permissions(report, broker, queue).await;
            }
            Err(problem) if problem.is_no_such_queue() => missing(report, broker, queue, &problem),
            Err(problem @ (BrokerError::Unreachable { .. } | BrokerError::Credentials { .. })) => {
                // The other queues would only report the same error.
                report.failed("broker", problem.to_string());
                return served;
            }
            Err(problem) => report.failed(&subject(queue), problem.to_string()),
        }
    }
    clock(report, broker).await;
    match broker.probe_bucket().await {
        None => {}
        Some((bucket, Ok(BucketAccess::Readable))) => {
            report.ok("bucket", format!("s3://{bucket} can be read"));
        }
        Some((bucket, Ok(BucketAccess::Unclear))) => report.warning(
            "bucket",
            format!(
                "it cannot be told whether s3://{bucket} can be read: S3 denied a request for an \
                 object that does not exist, as it does without s3:ListBucket; grant that, or a \
                 message whose object is gone is tried again for ever"
            ),
        ),
        Some((_, Err(problem))) => report.failed("bucket", problem.to_string()),
    }
    served
}

fn subject(queue: &Queue) -> String {
    format!("queue {}", queue.name)
}

fn missing(report: &mut Report, broker: &Broker, queue: &Arc<Queue>, problem: &BrokerError) {
    let check = subject(queue);
    if broker.is_embedded() {
        report.ok(&check, "is not there yet: a worker creates it");
        return;
    }
    match &queue.role {
        QueueRole::Runs => report.warning(
            &check,
            "does not exist: runs share the base queue; create it with `dagster-taskiq-tui queue \
             create`",
        ),
        QueueRole::Band(_) => report.warning(
            &check,
            "does not exist: its band's steps use the base queue; create it with \
             `dagster-taskiq-tui queue create`",
        ),
        _ => report.failed(&check, problem.to_string()),
    }
}

async fn dead_letters(
    report: &mut Report,
    broker: &Broker,
    queue: &Arc<Queue>,
    detail: &QueueDetail,
    required: u32,
    probed: &mut HashSet<String>,
) {
    let check = subject(queue);
    let Some(policy) = &detail.redrive else {
        report.warning(
            &check,
            "exists, and has no dead-letter queue: a message that cannot be run stays in it, hidden for 15 \
             minutes at a time; `dagster-taskiq-tui queue create --dead-letters` makes one",
        );
        return;
    };
    let times = policy.max_receives;
    let words = format!(
        "exists; after {times} receives SQS moves a message to {}",
        policy.queue
    );
    if times <= required {
        report.warning(
            &check,
            format!(
                "{words}, which restarts and lost workers may use up before max_deliveries ends a \
                 task by rule: set its maxReceiveCount to more than {required} (100, say)"
            ),
        );
    } else {
        report.ok(&check, words);
    }
    let target = match broker.dead_letter_queue(queue).await {
        Ok(Some(url)) => Queue::new(url, QueueRole::DeadLetter, 0),
        Ok(None) => {
            let text = format!(
                "{} is named as its dead-letter queue and not found",
                policy.queue
            );
            return report.failed(&check, text);
        }
        Err(problem) => return report.failed(&check, problem.to_string()),
    };
    // Several queues may have one.
    if !probed.insert(target.url.clone()) {
        return;
    }
    // A FIFO queue needs a group; without one, SQS refuses for another reason.
    match broker.probe(&target, Permission::Send).await {
        Ok(()) => report.ok(&subject(&target), "takes dead letters"),
        Err(problem) => report.failed(&subject(&target), problem.to_string()),
    }
}

async fn permissions(report: &mut Report, broker: &Broker, queue: &Queue) {
    let check = format!("permissions {}", queue.name);
    let mut granted = Vec::new();
    let mut complaints = Vec::new();
    for permission in NEEDED {
        match broker.probe(queue, permission).await {
            Ok(()) => granted.push(permission.action()),
            Err(problem) => complaints.push(problem.to_string()),
        }
    }
    if complaints.is_empty() {
        report.ok(&check, granted.join(", "));
    }
    for complaint in complaints {
        report.failed(&check, complaint);
    }
}

async fn clock(report: &mut Report, broker: &Broker) {
    let Some(ahead) = broker.clock_difference().await else {
        report.warning("clock", "the broker does not tell its time: not compared");
        return;
    };
    let way = if ahead < 0 { "behind" } else { "ahead of" };
    let text = format!("this host's is {} s {way} the broker's", ahead.abs());
    match ahead.abs() {
        CLOCKS_TOO_FAR.. => report.failed("clock", format!("{text}: SQS refuses its requests")),
        CLOCKS_APART.. => report.warning("clock", format!("{text}: check its time service")),
        _ => report.ok("clock", text),
    }
}
