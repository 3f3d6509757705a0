//! Process isolation between steps of a code location.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Kind of process that a step gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// Forked if that is safe, otherwise reused.
    #[default]
    Auto,
    /// A child forked from the process that has loaded the code.
    Fork,
    /// A process that has loaded the code and runs one step after the other.
    Reuse,
    /// A process of its own that has loaded the code ahead of time.
    Fresh,
}

impl Isolation {
    /// All of them, in the order in which they are documented.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Fork, Self::Reuse, Self::Fresh];

    /// The word in settings, tags and frames.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Fork => "fork",
            Self::Reuse => "reuse",
            Self::Fresh => "fresh",
        }
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Isolation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.word() == text)
            .ok_or_else(|| format!("{text:?} is none of auto, fork, reuse and fresh"))
    }
}
