//! Toasts: what came of a command, shown for a few seconds over the hint bar.

use crate::domain::Timestamp;

/// How a toast is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// A command is on its way.
    Sent,
    /// Done.
    Done,
    /// Worth knowing.
    Note,
    /// Refused or failed.
    Failed,
}

/// A toast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toast {
    /// How it is meant.
    pub tone: Tone,
    /// One sentence.
    pub text: String,
    /// When it goes.
    pub until: Timestamp,
    /// The request it tells of, so that the answer takes its place.
    pub request: Option<u64>,
}

/// How many are kept; more answers than this at once are not read anyway.
pub const MAX_TOASTS: usize = 4;

impl Tone {
    /// How long a toast of this tone stays, in seconds. A command that is on its way is told until
    /// its answer, or until nobody expects one any more.
    #[must_use]
    pub fn seconds(self) -> i64 {
        match self {
            Self::Sent => 120,
            Self::Done | Self::Note => 5,
            Self::Failed => 12,
        }
    }
}
