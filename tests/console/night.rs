//! Five questions of a night on call: each is answered within three keys, on 80x24 as on 200x50.

use std::sync::Arc;

use dagster_taskiq_tui::domain::{
    Alarm, AlarmKind, Answer, BrokenLocation, DagsterPart, DagsterParts, Explanation, Health,
    Holder, Query, Reason, RunStatus, Severity, Snapshot, StackReport, UsualTime,
};
use jiff::SignedDuration;

use super::fixture;
use super::harness::{Harness, Options};
use super::pictures::Recording;
use super::screens::SIZES;

/// A situation, and where its question is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Situation {
    /// A run is queued, because a run that is over holds the slot of its pool.
    PoolHeld,
    /// Steps fail with one exception.
    Failures,
    /// A code location does not load.
    BrokenLocation,
    /// A step runs far longer than usual.
    StuckStep,
    /// `dagster-daemon` was killed.
    DaemonStopped,
    /// A disk is nearly full.
    FullDisk,
}

use Situation::{BrokenLocation as Broken, DaemonStopped, Failures, FullDisk, PoolHeld, StuckStep};

/// The pictures of the guide, on 80x24: file name, and what is shown.
pub const PICTURES: [(&str, Situation); 5] = [
    ("pool-held", PoolHeld),
    ("failures", Failures),
    ("code-location", Broken),
    ("stuck-step", StuckStep),
    ("daemon-stopped", DaemonStopped),
];

impl Situation {
    const ALL: [Self; 6] = [
        PoolHeld,
        Failures,
        Broken,
        StuckStep,
        DaemonStopped,
        FullDisk,
    ];

    /// The keys from the overview to the answer.
    fn keys(self) -> &'static str {
        match self {
            PoolHeld => "4fw",
            Failures => "9",
            Broken | DaemonStopped => "0",
            StuckStep => "b",
            FullDisk => "",
        }
    }

    /// What the screen then says.
    fn answer(self) -> &'static [&'static str] {
        match self {
            PoolHeld => &[
                "The pool warehouse has 1 slot, and it is held.",
                "its run is over (CANCELED).",
                "F gives back the pool slot of load_returns",
            ],
            Failures => &[
                "OperationalError",
                "ingest_orders",
                "3 of 4 runs not executed",
            ],
            Broken => &[
                "billing",
                "does not load",
                "No module named 'stripe_client_v2'",
            ],
            StuckStep => &[
                "46s so far. It runs longer than usual: 2.0 s (median)",
                "line 32 in export_region",
            ],
            DaemonStopped => &[
                "silent",
                "Sensors launch no runs: is dagster-daemon running?",
            ],
            FullDisk => &["The disk of /srv/dagster on etl-1 is nearly full: 12 MiB free"],
        }
    }

    /// How things stand.
    fn snapshot(self) -> Snapshot {
        let mut snapshot = Arc::unwrap_or_clone(fixture::snapshot());
        for worker in Arc::make_mut(&mut snapshot.workers) {
            worker.heartbeat_at = fixture::now();
        }
        let mut alarms = Vec::new();
        match self {
            PoolHeld => {
                let runs = Arc::make_mut(&mut snapshot.runs);
                // The oldest of all.
                runs[0].status = RunStatus::Started;
                let last = runs.last_mut().unwrap();
                last.status = RunStatus::Queued;
                last.job = String::from("nightly_load");
                last.started_at = None;
            }
            Failures => {}
            Broken => {
                let broken = BrokenLocation {
                    name: String::from("billing"),
                    cause: String::from(CAUSE),
                };
                snapshot.broken_locations = Arc::new(vec![broken]);
            }
            StuckStep => {
                // Its run is longer under way, and so is another step.
                let tasks = Arc::make_mut(&mut snapshot.tasks);
                let step = tasks.iter_mut().find(|it| it.name() == "transform_orders");
                let step = step.unwrap();
                step.step_key = Some(String::from("export_region"));
                step.beyond_usual = Some(UsualTime {
                    runs: 5,
                    median_ms: 2_000,
                    late_ms: 2_100,
                    longest_ms: 2_100,
                });
            }
            DaemonStopped => {
                let text = "No daemon of Dagster reports for 5m: is dagster-daemon running?";
                let about = "dagster-daemon";
                alarms.push(Alarm::new(
                    Severity::Critical,
                    AlarmKind::Daemon,
                    about,
                    text,
                ));
                snapshot.lost_daemons = Arc::new(daemons());
            }
            FullDisk => {
                let text = "The disk of /srv/dagster on etl-1 is nearly full: 12 MiB free";
                let about = "etl-1:/srv/dagster";
                alarms.push(Alarm::new(Severity::Critical, AlarmKind::Disk, about, text));
            }
        }
        for alarm in &mut alarms {
            alarm.since = Some(fixture::now() - SignedDuration::from_mins(2));
        }
        snapshot.alarms = Some(Arc::new(alarms));
        snapshot
    }

    /// What a worker and Dagster answer.
    fn answers(self, snapshot: &Snapshot) -> Vec<(Query, Answer)> {
        match self {
            PoolHeld => {
                let run_id = snapshot.runs.last().unwrap().run_id.clone();
                let answer = Answer::Explanation(held(&run_id));
                let step_key = None;
                vec![(Query::Explain { run_id, step_key }, answer)]
            }
            StuckStep => {
                let mut tasks = snapshot.tasks.iter();
                let task = tasks.find(|task| task.is_late()).unwrap();
                let task_id = task.task_id.clone();
                let stack = StackReport {
                    pid: 18_213,
                    at: fixture::now(),
                    by: String::from("faulthandler"),
                    text: STACK.to_owned(),
                };
                vec![(Query::Stack { task_id }, Answer::Stack(stack))]
            }
            Broken | DaemonStopped => {
                let parts = self.parts();
                let parts = DagsterParts {
                    parts,
                    problems: Vec::new(),
                };
                vec![(Query::DagsterParts, Answer::DagsterParts(parts))]
            }
            Failures | FullDisk => Vec::new(),
        }
    }

    /// A console with the overview.
    fn overview(self, size: (u16, u16)) -> Harness {
        let options = Options {
            size,
            ..Options::default()
        };
        let snapshot = self.snapshot();
        if self == Failures {
            return Harness::new(options, Arc::new(snapshot));
        }
        let answers = self.answers(&snapshot);
        let taken_at = fixture::now();
        let recording = Recording {
            taken_at,
            snapshot,
            answers,
        };
        Harness::replay(options, recording)
    }

    /// A console with the answer on its screen.
    pub fn answered(self, size: (u16, u16)) -> Harness {
        let mut harness = self.overview(size);
        harness.keys(self.keys());
        harness
    }

    fn parts(self) -> Vec<DagsterPart> {
        let mut parts = fixture::parts();
        let is_daemon = |part: &DagsterPart| part.id.starts_with("daemon ");
        parts.retain(|part| !is_daemon(part) && part.name != "new_orders_sensor");
        if self == DaemonStopped {
            parts.retain(|part| part.name != "ml");
            parts.splice(0..0, daemons());
        } else if let Some(location) = parts.iter_mut().find(|part| part.name == "ml") {
            location.name = String::from("billing");
            location.error = Some(format!("{CAUSE}\n{LED_TO}"));
        }
        parts
    }
}

const CAUSE: &str = "ModuleNotFoundError: No module named 'stripe_client_v2'";

const LED_TO: &str = "dagster._core.errors.DagsterImportError: Encountered ImportError: \
    `No module named 'stripe_client_v2'` while importing module billing.";

const STACK: &str = "\
Current thread 0x00007f0852ea9b80 (most recent call first):
  File \"/srv/dagster/exports.py\", line 32 in export_region
  File \"/srv/venv/lib/python3.11/site-packages/dagster/_core/execution/plan/compute_generator.py\", line 116 in invoke_compute_fn
";

/// The daemons, of which the last report came five minutes ago.
fn daemons() -> Vec<DagsterPart> {
    let like = fixture::parts().swap_remove(0);
    let part = |name: &str, effect: &str| DagsterPart {
        id: format!("daemon {name}"),
        name: name.to_owned(),
        state: String::from("silent"),
        health: Health::Bad,
        at: Some(fixture::now() - SignedDuration::from_secs(312)),
        error: Some(format!(
            "{effect} is dagster-daemon running? A heartbeat is due every 30 s, and none came."
        )),
        ..like.clone()
    };
    vec![
        part("SENSOR", "Sensors launch no runs:"),
        part("BACKFILL", "Backfills do not go on:"),
        part("SCHEDULER", "Schedules launch no runs:"),
        part("QUEUED_RUN_COORDINATOR", "Queued runs do not start:"),
    ]
}

/// Why the queued run does not start, in the words of Dagster's storage.
fn held(run_id: &str) -> Explanation {
    let holder = Holder {
        run_id: String::from("65198d21-a470-40db-8c54-ecce13f48529"),
        step_key: Some(String::from("load_returns")),
        state: String::from("over"),
        text: String::from(
            "load_returns of run 65198d21 has had it for 3 h: its run is over (CANCELED).",
        ),
        can_free: true,
        is_named: true,
        ..Holder::default()
    };
    let text = format!(
        "The run queue waits for a slot of a pool. The pool warehouse has 1 slot, and it is held. \
         Its holder may not need it any more: {}",
        holder.text
    );
    Explanation {
        run_id: run_id.to_owned(),
        job: String::from("nightly_load"),
        status: String::from("QUEUED"),
        waits: true,
        reasons: vec![Reason {
            holders: vec![holder],
            pool: Some(String::from("warehouse")),
            ..Reason::new("pool", text)
        }],
        ..Explanation::default()
    }
}

/// What a screen says, without its line breaks and frames.
fn words(screen: &str) -> String {
    let bare: String = screen
        .chars()
        .map(|sign| {
            if "│─╭╮╰╯".contains(sign) {
                ' '
            } else {
                sign
            }
        })
        .collect();
    bare.split_whitespace().collect::<Vec<&str>>().join(" ")
}

#[test]
fn each_question_of_a_night_is_answered_within_three_keys_on_small_and_large_screens() {
    for situation in Situation::ALL {
        assert!(situation.keys().len() <= 3, "{situation:?}");
        for size in [SIZES[0], SIZES[1]] {
            let screen = situation.answered(size).screen();
            for answer in situation.answer() {
                let is_there = words(&screen).contains(answer);
                assert!(is_there, "{situation:?} {size:?} {answer}: {screen}");
            }
        }
    }
}

#[test]
fn the_overview_names_what_needs_a_look_before_any_key() {
    for (situation, text) in [
        (PoolHeld, "1 run queued"),
        (
            Broken,
            "✖ Location billing does not load: ModuleNotFoundError:",
        ),
        (StuckStep, "▲ export_region has run for 46s, usually 2.0 s"),
        (
            DaemonStopped,
            "✖ No daemon of Dagster reports for 5m: is dagster-daemon running?",
        ),
        (DaemonStopped, "✖ 4 daemons silent"),
        (
            FullDisk,
            "✖ The disk of /srv/dagster on etl-1 is nearly full: 12 MiB free",
        ),
    ] {
        for size in [SIZES[0], SIZES[1]] {
            let screen = situation.overview(size).screen();
            assert!(screen.contains(text), "{size:?} {text}: {screen}");
        }
    }
}

#[test]
fn an_alarm_of_dagster_leads_to_the_part_that_it_is_about() {
    for (situation, part) in [(Broken, "billing"), (DaemonStopped, "SENSOR")] {
        let mut harness = situation.overview(SIZES[1]);
        harness.keys("a<enter>");
        let screen = harness.screen();
        let row = screen.lines().find(|line| line.starts_with('▌'));
        assert!(row.is_some_and(|row| row.contains(part)), "{screen}");
    }
}

#[test]
fn a_location_that_a_worker_reports_keeps_the_workers_words() {
    let mut snapshot = Broken.snapshot();
    let text = "billing does not load on etl-1: no module";
    let alarm = Alarm::new(Severity::Critical, AlarmKind::CodeLocation, "billing", text);
    snapshot.alarms = Some(Arc::new(vec![alarm]));
    let harness = Harness::new(Options::default(), Arc::new(snapshot));
    let alarms = harness.app.alarms(harness.now);
    let found: Vec<&str> = alarms
        .iter()
        .filter(|alarm| alarm.kind == AlarmKind::CodeLocation)
        .map(|alarm| alarm.text.as_str())
        .collect();
    assert_eq!(found, [text]);
}
