//! Toasts: outcomes of commands, shown for a few seconds over the hint bar.

use crate::domain::Timestamp;

/// Kind of a toast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// A command is on its way.
    Sent,
    /// Done.
    Done,
    /// Information.
    Note,
    /// Refused or failed.
    Failed,
}

/// A toast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toast {
    /// Its kind.
    pub tone: Tone,
    /// One sentence.
    pub text: String,
    /// Time at which it disappears.
    pub until: Timestamp,
    /// The request it reports, so that the answer replaces it.
    pub request: Option<u64>,
}

/// Maximum number of kept toasts; more at once could not be read.
pub const MAX_TOASTS: usize = 4;

impl Tone {
    /// Display time of a toast of this tone, in seconds. A pending command is shown until its
    /// answer, or until the answer can no longer be expected.
    #[must_use]
    pub fn seconds(self) -> i64 {
        match self {
            Self::Sent => 120,
            Self::Done | Self::Note => 5,
            Self::Failed => 12,
        }
    }
}
