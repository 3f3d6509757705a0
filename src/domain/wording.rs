//! Parts of sentences that several texts have.

use std::error::Error;

/// A number of things that wait: "1 message waits", "7 messages wait".
#[must_use]
pub fn they_wait(count: impl Into<u64>, noun: &str) -> String {
    match count.into() {
        1 => format!("1 {noun} waits"),
        count => format!("{count} {noun}s wait"),
    }
}

/// The cause at the bottom of an error: "Connection refused", not five wrappers around it.
#[must_use]
pub fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
