//! The parts of Dagster itself: daemons, code locations, schedules, sensors and backfills.

#![expect(
    clippy::struct_field_names,
    reason = "they are those of Dagster's GraphQL schema"
)]

mod backfills;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{self, seconds};
use super::schema::{LocationEntry, PythonError};
use super::{Client, DagsterError};
use crate::domain::secrets::redact_text;
use crate::domain::{
    DagsterPart, DagsterParts, Health, Instigator, PartKind, note_missing_daemons,
};

impl Client {
    /// The parts of Dagster. What this version of Dagster does not answer is a problem in the
    /// result.
    ///
    /// # Errors
    /// The webserver does not answer at all: see [`DagsterError`].
    pub async fn parts(&self) -> Result<DagsterParts, DagsterError> {
        let mut found = DagsterParts::default();
        let mut add = |what: &str, part: Result<Vec<DagsterPart>, DagsterError>| match part {
            Ok(parts) => found.parts.extend(parts),
            Err(error) => found
                .problems
                .push(format!("{what} cannot be read: {error}")),
        };
        let (daemons, instigators, backfills) =
            tokio::join!(self.daemons(), self.instigators(), self.backfills());
        if let (Err(error), Err(_), Err(_)) = (&daemons, &instigators, &backfills) {
            return Err(error.clone());
        }
        add("daemons", daemons);
        add("schedules and sensors", instigators);
        add("backfills", backfills);
        note_missing_daemons(&mut found.parts);
        found
            .parts
            .sort_by(|a, b| (a.kind, &a.location).cmp(&(b.kind, &b.location)));
        Ok(found)
    }

    /// The daemons that Dagster knows.
    ///
    /// # Errors
    /// See [`DagsterError`].
    pub async fn daemons(&self) -> Result<Vec<DagsterPart>, DagsterError> {
        let document = include_str!("queries/daemons.graphql");
        let instance: Instance = answer::read(self.read(document, Value::Null).await?)?;
        let daemons = instance.daemon_health.all_daemon_statuses;
        Ok(daemons.into_iter().map(Daemon::part).collect())
    }

    /// The code locations, and their schedules and sensors.
    async fn instigators(&self) -> Result<Vec<DagsterPart>, DagsterError> {
        let document = include_str!("queries/instigators.graphql");
        let entries = self.workspace(document).await?;
        Ok(entries.into_iter().flat_map(location_parts).collect())
    }

    /// Turns a schedule or sensor on or off.
    ///
    /// # Errors
    /// See [`DagsterError`].
    pub async fn switch(&self, instigator: &Instigator, on: bool) -> Result<(), DagsterError> {
        let (document, expected) = match (instigator.is_sensor, on) {
            (false, true) => (
                include_str!("queries/start_schedule.graphql"),
                "ScheduleStateResult",
            ),
            (false, false) => (
                include_str!("queries/stop_schedule.graphql"),
                "ScheduleStateResult",
            ),
            (true, true) => (include_str!("queries/start_sensor.graphql"), "Sensor"),
            (true, false) => (
                include_str!("queries/stop_sensor.graphql"),
                "StopSensorMutationResult",
            ),
        };
        let name = if instigator.is_sensor {
            "sensorName"
        } else {
            "scheduleName"
        };
        let variables = if on {
            json!({"selector": {
                "repositoryLocationName": instigator.location,
                "repositoryName": instigator.repository,
                name: instigator.name,
            }})
        } else {
            json!({"id": instigator.state_id})
        };
        let answer = self.write(document, variables).await?;
        answer::expect::<Value>(answer, expected).map(|_| ())
    }
}

fn shown(text: &str) -> String {
    redact_text(text.trim()).into_owned()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Instance {
    daemon_health: DaemonHealth,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DaemonHealth {
    all_daemon_statuses: Vec<Daemon>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Daemon {
    daemon_type: String,
    required: bool,
    healthy: Option<bool>,
    last_heartbeat_time: Option<f64>,
    #[serde(default)]
    last_heartbeat_errors: Vec<PythonError>,
}

/// The innermost cause first, then what it led to, then the stack.
fn error_text(error: &PythonError) -> String {
    let mut lines = error.messages();
    lines.reverse();
    lines.extend(error.stack.iter().map(|frame| frame.trim_end()));
    shown(&lines.join("\n"))
}

/// Seconds without a heartbeat, of which one is due every 30 s, after which a daemon is shown as
/// silent. Dagster itself calls it healthy for half an hour.
const SILENT: i64 = 90;

/// The same after which it counts as one that should run and does not, as for the alarm.
const MISSING: i64 = 300;

/// What stands still without a daemon.
fn effect_of_silence(daemon: &str) -> &'static str {
    match daemon {
        "QUEUED_RUN_COORDINATOR" => "Queued runs do not start:",
        "SCHEDULER" => "Schedules launch no runs:",
        "SENSOR" => "Sensors launch no runs:",
        "BACKFILL" => "Backfills do not go on:",
        "ASSET" => "No asset is materialized by its automation condition:",
        "FRESHNESS_DAEMON" => "The freshness of assets is not checked:",
        _ => "It does nothing:",
    }
}

impl Daemon {
    fn part(self) -> DagsterPart {
        let at = seconds(self.last_heartbeat_time);
        let mut errors: Vec<String> = self.last_heartbeat_errors.iter().map(error_text).collect();
        let silent = at.map_or(0, |at| Timestamp::now().duration_since(at).as_secs());
        let (state, health) = match (self.healthy, at) {
            _ if !self.required => ("not required", Health::Off),
            (Some(true), _) if silent >= MISSING => ("silent", Health::Bad),
            (Some(true), _) if silent >= SILENT => ("silent", Health::Pending),
            (Some(true), _) => ("healthy", Health::Good),
            (_, None) => ("never ran", Health::Pending),
            _ if !errors.is_empty() => ("errors", Health::Bad),
            _ => ("dead", Health::Bad),
        };
        if state == "silent" {
            let effect = effect_of_silence(&self.daemon_type);
            let text = format!(
                "{effect} is dagster-daemon running? A heartbeat is due every 30 s, and none came."
            );
            errors.insert(0, text);
        }
        DagsterPart {
            id: format!("daemon {}", self.daemon_type),
            kind: PartKind::Daemon,
            name: self.daemon_type,
            location: String::new(),
            state: state.to_owned(),
            health,
            at,
            result: String::new(),
            detail: String::new(),
            error: (!errors.is_empty()).then(|| errors.join("\n")),
            instigator: None,
        }
    }
}

#[derive(Deserialize)]
struct Repository {
    name: String,
    schedules: Vec<Schedule>,
    sensors: Vec<Sensor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Schedule {
    name: String,
    cron_schedule: String,
    execution_timezone: Option<String>,
    schedule_state: State,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sensor {
    name: String,
    sensor_type: Option<String>,
    sensor_state: State,
}

#[derive(Deserialize)]
struct State {
    id: String,
    status: String,
    ticks: Vec<Tick>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tick {
    status: String,
    timestamp: Option<f64>,
    skip_reason: Option<String>,
    #[serde(default)]
    run_ids: Vec<String>,
    error: Option<PythonError>,
}

fn location_parts(entry: LocationEntry<Repository>) -> Vec<DagsterPart> {
    let (location, is_loading) = (entry.name.clone(), entry.is_loading());
    let (repositories, error) = entry.loaded();
    let (state, health) = match (&error, is_loading) {
        (_, true) => ("loading", Health::Pending),
        (Some(_), _) => ("does not load", Health::Bad),
        (None, _) => ("loaded", Health::Good),
    };
    let mut parts = vec![DagsterPart {
        id: format!("location {location}"),
        kind: PartKind::Location,
        name: location.clone(),
        location: location.clone(),
        state: state.to_owned(),
        health,
        at: None,
        result: String::new(),
        detail: String::new(),
        error: error.as_ref().map(error_text),
        instigator: None,
    }];
    for repository in repositories {
        let place = (location.as_str(), repository.name.as_str());
        for schedule in repository.schedules {
            let zone = schedule.execution_timezone.as_deref().unwrap_or("UTC");
            let detail = format!("{} {zone}", schedule.cron_schedule);
            let state = schedule.schedule_state;
            parts.push(state.part(false, schedule.name, detail, place));
        }
        for sensor in repository.sensors {
            let detail = sensor.sensor_type.unwrap_or_default();
            let detail = detail.to_lowercase().replace('_', " ");
            parts.push(sensor.sensor_state.part(true, sensor.name, detail, place));
        }
    }
    parts
}

impl State {
    fn part(
        self,
        is_sensor: bool,
        name: String,
        detail: String,
        (location, repository): (&str, &str),
    ) -> DagsterPart {
        let is_on = self.status == "RUNNING";
        let tick = self.ticks.into_iter().next();
        let failed = tick.as_ref().is_some_and(|tick| tick.status == "FAILURE");
        let health = match (is_on, failed) {
            (true, true) => Health::Bad,
            (true, false) => Health::Good,
            (false, _) => Health::Off,
        };
        let instigator = Instigator {
            is_sensor,
            is_on,
            name: name.clone(),
            location: location.to_owned(),
            repository: repository.to_owned(),
            state_id: self.id,
        };
        let kind = if is_sensor {
            PartKind::Sensor
        } else {
            PartKind::Schedule
        };
        DagsterPart {
            id: format!("{} {location} {repository} {name}", kind.word()),
            kind,
            name,
            location: location.to_owned(),
            state: String::from(if is_on { "running" } else { "stopped" }),
            health,
            at: tick.as_ref().and_then(|tick| seconds(tick.timestamp)),
            result: tick.as_ref().map(Tick::result).unwrap_or_default(),
            detail,
            error: tick.and_then(|tick| Some(error_text(&tick.error?))),
            instigator: Some(instigator),
        }
    }
}

impl Tick {
    fn result(&self) -> String {
        let word = self.status.to_lowercase();
        match (&self.skip_reason, self.run_ids.len()) {
            (Some(reason), _) => format!("{word}: {}", shown(reason)),
            (None, 0) => word,
            (None, 1) => format!("{word}, 1 run"),
            (None, runs) => format!("{word}, {runs} runs"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_whose_heartbeats_stopped_is_silent_long_before_dagster_calls_it_dead() {
        #[expect(clippy::cast_precision_loss, reason = "seconds of this century")]
        let part = |age: i64| {
            Daemon {
                daemon_type: String::from("SENSOR"),
                required: true,
                healthy: Some(true),
                last_heartbeat_time: Some((Timestamp::now().as_second() - age) as f64),
                last_heartbeat_errors: Vec::new(),
            }
            .part()
        };
        let states = [31, 100, 310].map(|age| (part(age).state, part(age).health));
        let expected = [
            ("healthy", Health::Good),
            ("silent", Health::Pending),
            ("silent", Health::Bad),
        ];
        assert_eq!(
            states,
            expected.map(|(state, health)| (state.to_owned(), health))
        );
        assert_eq!(part(31).error, None);
        let error = part(310).error.unwrap_or_default();
        assert!(
            error.starts_with("Sensors launch no runs: is dagster-daemon"),
            "{error}"
        );
    }
}
