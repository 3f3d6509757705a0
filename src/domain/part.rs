//! The parts of Dagster itself: daemons, code locations, schedules, sensors and backfills.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Kind of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartKind {
    /// A process of `dagster-daemon`.
    Daemon,
    /// A code location.
    Location,
    /// A schedule.
    Schedule,
    /// A sensor.
    Sensor,
    /// A backfill.
    Backfill,
}

impl PartKind {
    /// The word for tables and filters.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Daemon => "daemon",
            Self::Location => "location",
            Self::Schedule => "schedule",
            Self::Sensor => "sensor",
            Self::Backfill => "backfill",
        }
    }
}

/// Whether a part works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It fails, or should run and does not.
    Bad,
    /// It is on its way, or nothing is known of it.
    Pending,
    /// It works.
    Good,
    /// It is off, or over.
    Off,
}

/// One part of Dagster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DagsterPart {
    /// Its identity: kind, code location and name.
    pub id: String,
    /// Its kind.
    pub kind: PartKind,
    /// Its name.
    pub name: String,
    /// Its code location; empty if it has none.
    pub location: String,
    /// A word for its state.
    pub state: String,
    /// Whether it works.
    pub health: Health,
    /// Time of the last heartbeat or tick; of a backfill, of its request.
    pub at: Option<Timestamp>,
    /// Result of the last tick, or progress of a backfill.
    pub result: String,
    /// Cron schedule, type of sensor, or the target of a backfill.
    pub detail: String,
    /// Its error, whole.
    pub error: Option<String>,
    /// Identity under which a schedule or sensor is started and stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instigator: Option<Instigator>,
}

/// A schedule or sensor, as Dagster's mutations name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instigator {
    /// Whether it is a sensor, and not a schedule.
    pub is_sensor: bool,
    /// Whether it is on.
    pub is_on: bool,
    /// Name.
    pub name: String,
    /// Code location name.
    pub location: String,
    /// Repository name.
    pub repository: String,
    /// Id of its state in Dagster.
    pub state_id: String,
}

impl Instigator {
    /// The word for its kind.
    #[must_use]
    pub fn word(&self) -> &'static str {
        if self.is_sensor { "sensor" } else { "schedule" }
    }
}

/// The parts of Dagster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DagsterParts {
    /// The parts, by kind and name.
    pub parts: Vec<DagsterPart>,
    /// Kinds of parts that could not be read: one sentence each.
    pub problems: Vec<String>,
}

/// A code location that Dagster's webserver cannot load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokenLocation {
    /// Name.
    pub name: String,
    /// The innermost cause, one line.
    pub cause: String,
}

/// Marks daemons that never ran, but have something to do, as bad.
pub(crate) fn note_missing_daemons(parts: &mut [DagsterPart]) {
    let is_on = |part: &DagsterPart, is_sensor| {
        let instigator = part.instigator.as_ref();
        instigator.is_some_and(|known| known.is_on && known.is_sensor == is_sensor)
    };
    for (daemon, is_sensor) in [("SCHEDULER", false), ("SENSOR", true)] {
        let needed = parts.iter().filter(|part| is_on(part, is_sensor)).count();
        let missing = parts
            .iter_mut()
            .find(|part| part.kind == PartKind::Daemon && part.name == daemon && part.at.is_none());
        if let Some(missing) = missing.filter(|_| needed > 0) {
            missing.health = Health::Bad;
            let what = if is_sensor { "sensors" } else { "schedules" };
            missing.error = Some(format!(
                "It never ran, and {needed} {what} are on: start dagster-daemon"
            ));
        }
    }
}
