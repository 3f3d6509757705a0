//! What an operator is alarmed of, and how.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What an alarm is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlarmKind {
    /// The broker, Dagster's webserver, a worker's link or a host does not answer.
    Unreachable,
    /// Messages wait in a queue and no live worker receives from it.
    NoConsumer,
    /// A worker's heartbeat is overdue.
    SilentWorker,
    /// More and more messages wait.
    Backlog,
    /// A queue cannot be counted.
    Queue,
    /// There are dead letters.
    DeadLetters,
    /// A message is held for minutes without a slot.
    Held,
    /// A code location does not load.
    CodeLocation,
    /// A worker is of another version, or has the name of another one.
    Fleet,
    /// What the console started is not there yet, or failed.
    Start,
}

impl AlarmKind {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Unreachable,
        Self::NoConsumer,
        Self::SilentWorker,
        Self::Backlog,
        Self::Queue,
        Self::DeadLetters,
        Self::Held,
        Self::CodeLocation,
        Self::Fleet,
        Self::Start,
    ];

    /// Those that are rung for unless others are chosen: work stands still, or will.
    pub const USUAL: [Self; 4] = [
        Self::Unreachable,
        Self::NoConsumer,
        Self::SilentWorker,
        Self::Backlog,
    ];

    /// Its name in settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::NoConsumer => "no-consumer",
            Self::SilentWorker => "silent-worker",
            Self::Backlog => "backlog",
            Self::Queue => "queue",
            Self::DeadLetters => "dead-letters",
            Self::Held => "held",
            Self::CodeLocation => "code-location",
            Self::Fleet => "fleet",
            Self::Start => "start",
        }
    }
}

impl fmt::Display for AlarmKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for AlarmKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = Self::ALL.into_iter();
        all.find(|kind| kind.name() == text)
            .ok_or_else(|| format!("give one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// How a terminal tells of an alarm when nobody looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ring {
    /// BEL: the terminal rings, or marks its tab or window.
    Bell,
    /// OSC 9: the terminal's desktop shows a notification.
    Desktop,
}

impl FromStr for Ring {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "bell" => Ok(Self::Bell),
            "desktop" => Ok(Self::Desktop),
            _ => Err(String::from("give bell, desktop or both")),
        }
    }
}
