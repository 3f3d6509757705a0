//! Alarms for an operator, and the ways to signal them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Severity of an alarm, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Work stands still, or will.
    Critical,
    /// Should be looked at.
    Warning,
}

impl Severity {
    /// Its name in settings and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
        }
    }
}

/// A condition that needs an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// Its severity.
    pub severity: Severity,
    /// Its kind.
    pub kind: AlarmKind,
    /// Its subject: there is one alarm for each kind and subject.
    pub about: String,
    /// One sentence, with the remedy if it is known.
    pub text: String,
    /// Time at which it was first seen; absent before it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The acknowledgement that is in effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledgement>,
}

/// An operator has seen an alarm: it is not signalled until a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// End of the acknowledgement.
    pub until: Timestamp,
    /// `user@host`, as reported by the client.
    pub by: String,
}

impl Alarm {
    /// An alarm that was not recorded yet.
    #[must_use]
    pub fn new(
        severity: Severity,
        kind: AlarmKind,
        about: impl Into<String>,
        text: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            kind,
            about: about.into(),
            text: text.into(),
            since: None,
            acknowledged: None,
        }
    }

    /// Its identity over time and over workers: `KIND/SUBJECT`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}", self.kind, self.about)
    }

    /// Whether an acknowledgement is in effect.
    #[must_use]
    pub fn is_acknowledged(&self, now: Timestamp) -> bool {
        self.acknowledged
            .as_ref()
            .is_some_and(|ack| ack.until > now)
    }

    /// The alarms that several observers report, each subject once, in the order of their kinds.
    #[must_use]
    pub fn merged<'a>(reported: impl IntoIterator<Item = &'a Self>) -> Vec<Self> {
        let mut merged: BTreeMap<(AlarmKind, &str), Self> = BTreeMap::new();
        for alarm in reported {
            merged
                .entry((alarm.kind, &alarm.about))
                .and_modify(|known| known.join(alarm))
                .or_insert_with(|| alarm.clone());
        }
        merged.into_values().collect()
    }

    /// Combines the reports of two observers of the same subject: the worse one, since the earlier
    /// time, with the acknowledgement that lasts longer.
    pub fn join(&mut self, other: &Self) {
        if other.severity < self.severity {
            self.severity = other.severity;
            self.text.clone_from(&other.text);
        }
        self.since = match (self.since, other.since) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
        let until = |ack: &Option<Acknowledgement>| ack.as_ref().map(|ack| ack.until);
        if until(&other.acknowledged) > until(&self.acknowledged) {
            self.acknowledged.clone_from(&other.acknowledged);
        }
    }
}

/// A change of an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmChange {
    /// It began.
    Started,
    /// It ended.
    Ended,
    /// It was acknowledged.
    Acknowledged,
    /// Its acknowledgement was withdrawn.
    Unacknowledged,
}

impl AlarmChange {
    /// One word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Ended => "ended",
            Self::Acknowledged => "acknowledged",
            Self::Unacknowledged => "unacknowledged",
        }
    }
}

/// A line of the history of alarms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmEntry {
    /// Time of the change.
    pub at: Timestamp,
    /// The change.
    pub change: AlarmChange,
    /// The alarm's id.
    pub id: String,
    /// The alarm's severity, if the change was seen together with the alarm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// The alarm's text; of an acknowledgement, its end.
    pub text: String,
    /// The operator who acknowledged it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

impl AlarmEntry {
    /// Maximum number of kept entries.
    pub const MAX: usize = 1_000;
}

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
    /// The oldest message of a queue waits too long.
    OldMessage,
    /// Too many steps of a job failed lately.
    FailureRate,
    /// A job's last run failed.
    FailedRun,
    /// A disk is nearly full.
    Disk,
    /// The clocks of two hosts differ.
    Clock,
    /// One of Dagster's daemons does not report any more.
    Daemon,
    /// An alarm hook fails.
    Hook,
}

impl AlarmKind {
    /// All kinds.
    pub const ALL: [Self; 17] = [
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
        Self::OldMessage,
        Self::FailureRate,
        Self::FailedRun,
        Self::Disk,
        Self::Clock,
        Self::Daemon,
        Self::Hook,
    ];

    /// The kinds that are signalled by default: work stands still, or soon will.
    pub const USUAL: [Self; 7] = [
        Self::Unreachable,
        Self::NoConsumer,
        Self::SilentWorker,
        Self::Backlog,
        Self::OldMessage,
        Self::Disk,
        Self::Daemon,
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
            Self::OldMessage => "old-message",
            Self::FailureRate => "failure-rate",
            Self::FailedRun => "failed-run",
            Self::Disk => "disk",
            Self::Clock => "clock",
            Self::Daemon => "daemon",
            Self::Hook => "hook",
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
