//! What the batches have in common: ids, limits, partial failure.

use std::collections::HashSet;

use serde::Serialize;

use crate::local_broker::error::{ErrorKind, SqsError};

const MAX_ENTRIES: usize = 10;

/// The answer of a batch.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BatchResult<T> {
    successful: Vec<T>,
    failed: Vec<Failed>,
}

/// The answer for an entry of which only the id is of interest.
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
    /// Sorts the entries' outcomes by success.
    pub fn of(outcomes: impl IntoIterator<Item = (String, Result<T, SqsError>)>) -> Self {
        let (mut successful, mut failed) = (Vec::new(), Vec::new());
        for (id, outcome) in outcomes {
            match outcome {
                Ok(done) => successful.push(done),
                Err(error) => failed.push(Failed {
                    id,
                    sender_fault: error.kind.is_sender_fault(),
                    code: error.kind.query_code(),
                    message: error.message,
                }),
            }
        }
        Self { successful, failed }
    }
}

/// Checks a batch's ids and their number; returns them.
pub fn check_ids<'a>(
    kind: &str,
    ids: impl IntoIterator<Item = Option<&'a String>>,
) -> Result<Vec<String>, SqsError> {
    let ids: Vec<_> = ids.into_iter().collect();
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
        let id =
            id.ok_or_else(|| SqsError::missing(&format!("{kind}RequestEntry.{}.Id", index + 1)))?;
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
    Ok(ids.into_iter().flatten().cloned().collect())
}
