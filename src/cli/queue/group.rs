//! `queue redrive --group`: the dead letters that have one reason, as the console groups them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use clap::Args;

use super::look::looked;
use super::{QueueError, RedriveArgs};
use crate::cli::output::note;
use crate::domain::{FailureGroup, MAX_PEEKED, RunFailures, group_failures};
use crate::queue_ops::Operator;
use crate::sqs::Queue;

/// Which dead letters, by what broke.
#[derive(Debug, Args)]
pub struct GroupArgs {
    /// The messages that were dead-lettered for this reason, as the console's failures name it
    #[arg(long, value_name = "REASON", conflicts_with_all = ["message_id", "all"])]
    pub(super) group: Option<String>,
    /// With --group: only of this job
    #[arg(long, value_name = "NAME", requires = "group")]
    job: Option<String>,
    /// With --group: receive the messages to look at them where the broker has no other way, see
    /// `peek`
    #[arg(long, requires = "group")]
    receive: bool,
}

/// The ids of the messages with the reason `class`, by queue. As in the console, only the first
/// messages of a queue are known.
pub(super) async fn letters(
    operator: &Operator,
    queues: &[String],
    class: &str,
    args: &RedriveArgs,
    read_only: bool,
) -> Result<Vec<(Arc<Queue>, Vec<String>)>, QueueError> {
    let GroupArgs { job, receive, .. } = &args.group;
    let mut found = Vec::new();
    let mut others: BTreeMap<String, usize> = BTreeMap::new();
    for name in queues {
        let queue = operator.queue(name).await?;
        let peek = looked(operator, &queue, (MAX_PEEKED, None), *receive, read_only).await?;
        if peek.more {
            let name = &queue.name;
            note!("{name}: only the first {MAX_PEEKED} messages were looked at");
        }
        let no_runs: HashMap<String, RunFailures> = HashMap::new();
        let groups = group_failures(&[], &no_runs, &peek.messages);
        let is_meant = |group: &FailureGroup| {
            group.class == class && job.as_ref().is_none_or(|job| group.job == *job)
        };
        let mut ids = Vec::new();
        for group in groups {
            if is_meant(&group) {
                ids.extend(group.letters().map(|(_, id)| id.clone()));
            } else {
                *others.entry(group.class).or_default() += group.count;
            }
        }
        if !ids.is_empty() {
            found.push((queue, ids));
        }
    }
    if found.is_empty() {
        return Err(QueueError::Refused(none(class, job.as_deref(), &others)));
    }
    Ok(found)
}

/// The reason why nothing was redriven, with the groups there are.
fn none(class: &str, job: Option<&str>, others: &BTreeMap<String, usize>) -> String {
    let job = job.map(|job| format!(" of job {job}")).unwrap_or_default();
    let others = others.iter().map(|(other, n)| format!("`{other}` ({n})"));
    let others = match others.collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => String::from("there are no dead letters"),
        some => format!("the reasons are {some}"),
    };
    format!("no dead letter{job} has the reason `{class}`; {others}")
}
