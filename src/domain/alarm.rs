//! Alarms for an operator, and the ways to signal them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Subject of an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlarmKind {
    /// The broker, Dagster's webserver, a worker's link or a remote machine does not answer.
    Unreachable,
    /// Messages wait in a queue and no live worker receives from it.
    NoConsumer,
    /// A worker's heartbeat is overdue.
    SilentWorker,
    /// The number of waiting messages keeps growing.
    Backlog,
    /// The counts of a queue cannot be read.
    Queue,
    /// There are dead letters.
    DeadLetters,
    /// A message has been held for minutes without a slot.
    Held,
    /// A code location fails to load.
    CodeLocation,
    /// A worker has a different version, or the same name as another worker.
    Fleet,
    /// A process that the console started is not up yet, or failed.
    Start,
}

impl AlarmKind {
    /// All kinds.
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

    /// The kinds that are signalled by default: work stands still, or soon will.
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

/// Signal of an alarm in a terminal that is not in view.
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
