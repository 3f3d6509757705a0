//! Common parts of the batch actions: ids, limits, partial failure.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::Context;
use crate::sqs_server::error::{ErrorKind, SqsError};
use crate::sqs_server::state::Broker;
use crate::sqs_server::state::message::Millis;
use crate::sqs_server::state::queue::Queue;

const MAX_ENTRIES: usize = 10;

/// The input of a batch.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Batch<E> {
    queue_url: Option<String>,
    entries: Option<Vec<E>>,
}

/// An entry of a batch.
pub trait Entry {
    /// Takes the id out of the entry.
    fn take_id(&mut self) -> Option<String>;
}

/// A batch whose entries were checked one by one.
pub struct Checked<C> {
    queue: String,
    entries: Vec<(String, Result<C, SqsError>)>,
}

/// Checks a batch's ids, and each entry by `check`; `kind` is the action's name.
pub fn check<E: Entry, C>(
    ctx: &Context<'_>,
    kind: &str,
    batch: Batch<E>,
    mut check: impl FnMut(E) -> Result<C, SqsError>,
) -> Result<Checked<C>, SqsError> {
    let queue = ctx.queue_in(batch.queue_url)?;
    let mut entries = batch.entries.unwrap_or_default();
    let ids = entries.iter_mut().map(Entry::take_id).collect();
    let ids = check_ids(kind, ids)?;
    let checked = entries.into_iter().map(&mut check);
    let entries = ids.into_iter().zip(checked).collect();
    Ok(Checked { queue, entries })
}

impl<C: Send + 'static> Checked<C> {
    /// The queue of the batch.
    pub fn queue(&self) -> &str {
        &self.queue
    }

    /// The entries without an error so far.
    pub fn good(&self) -> impl Iterator<Item = &C> {
        self.entries
            .iter()
            .filter_map(|(_, checked)| checked.as_ref().ok())
    }

    /// Applies each good entry to the queue; returns the outcomes by entry in one answer.
    pub async fn run<T, F>(self, ctx: &Context<'_>, apply: F) -> Result<BatchResult<T>, SqsError>
    where
        T: Send + 'static,
        F: Fn(&mut Broker, Millis, &str, String, C) -> Result<T, SqsError> + Send + 'static,
    {
        self.run_if(ctx, |_, _| Ok(()), apply).await
    }

    /// As [`Checked::run`], if `all` accepts every good entry. One refused entry fails the whole
    /// batch.
    pub async fn run_if<T, A, F>(
        self,
        ctx: &Context<'_>,
        all: A,
        apply: F,
    ) -> Result<BatchResult<T>, SqsError>
    where
        T: Send + 'static,
        A: Fn(&Queue, &C) -> Result<(), SqsError> + Send + 'static,
        F: Fn(&mut Broker, Millis, &str, String, C) -> Result<T, SqsError> + Send + 'static,
    {
        ctx.engine
            .run(move |broker, now| {
                let found = broker.queue(&self.queue)?;
                self.good().try_for_each(|entry| all(found, entry))?;
                let Self { queue, entries } = self;
                let outcomes = entries.into_iter().map(|(id, checked)| {
                    let outcome =
                        checked.and_then(|good| apply(broker, now, &queue, id.clone(), good));
                    (id, outcome)
                });
                Ok(BatchResult::of(outcomes))
            })
            .await
    }
}

/// The answer of a batch.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BatchResult<T> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    successful: Vec<T>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed: Vec<Failed>,
}

/// The answer for an entry whose only content is the id.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Done {
    /// The entry's id.
    pub id: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Failed {
    id: String,
    sender_fault: bool,
    code: &'static str,
    message: String,
}

impl<T> BatchResult<T> {
    /// Number of successful entries.
    pub fn successes(&self) -> usize {
        self.successful.len()
    }

    /// Sorts the entries' outcomes by success.
    fn of(outcomes: impl IntoIterator<Item = (String, Result<T, SqsError>)>) -> Self {
        let (mut successful, mut failed) = (Vec::new(), Vec::new());
        for (id, outcome) in outcomes {
            match outcome {
                Ok(done) => successful.push(done),
                Err(error) => failed.push(Failed {
                    id,
                    sender_fault: error.is_sender_fault(),
                    code: error.kind.query_code(),
                    message: error.message,
                }),
            }
        }
        Self { successful, failed }
    }
}

/// Checks the ids and their number.
fn check_ids(kind: &str, ids: Vec<Option<String>>) -> Result<Vec<String>, SqsError> {
    if ids.is_empty() {
        return Err(SqsError::new(
            ErrorKind::EmptyBatchRequest,
            format!("There should be at least one {kind}RequestEntry in the request."),
        ));
    }
    if ids.len() > MAX_ENTRIES {
        return Err(SqsError::new(
            ErrorKind::TooManyEntriesInBatchRequest,
            format!(
                "Maximum number of entries per request are {MAX_ENTRIES}. You have sent {}.",
                ids.len()
            ),
        ));
    }
    let mut seen = HashSet::new();
    for (index, id) in ids.iter().enumerate() {
        let id = id
            .as_ref()
            .ok_or_else(|| SqsError::missing(&format!("{kind}RequestEntry.{}.Id", index + 1)))?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if id.is_empty() || id.len() > 80 || !id.bytes().all(is_plain) {
            return Err(SqsError::new(
                ErrorKind::InvalidBatchEntryId,
                "A batch entry id can only contain alphanumeric characters, hyphens and \
                 underscores. It can be at most 80 letters long.",
            ));
        }
        if !seen.insert(id) {
            return Err(SqsError::new(
                ErrorKind::BatchEntryIdsNotDistinct,
                format!("Id {id} repeated."),
            ));
        }
    }
    Ok(ids.into_iter().flatten().collect())
}
