//! Alarms that workers judged: shown once, acknowledged, with their history.

use std::collections::BTreeMap;
use std::sync::Arc;

use dagster_taskiq_tui::console::app::{Effect, Message};
use dagster_taskiq_tui::domain::{
    Acknowledgement, Alarm, AlarmChange, AlarmEntry, AlarmKind, Answer, Command, Query, Reply,
    Ring, Severity, Snapshot,
};
use jiff::SignedDuration;

use super::fixture;
use super::harness::{Harness, Options};

fn full_disk() -> Alarm {
    Alarm {
        since: Some(fixture::now() - SignedDuration::from_mins(7)),
        ..Alarm::new(
            Severity::Critical,
            AlarmKind::Disk,
            "etl-1:/var",
            "The disk of /var on etl-1 is nearly full: 12 MiB free",
        )
    }
}

/// A calm fleet whose workers judge, and go on to report themselves.
fn judged(alarms: Vec<Alarm>, acknowledged: BTreeMap<String, Acknowledgement>) -> Arc<Snapshot> {
    let mut snapshot = Arc::unwrap_or_clone(fixture::calm());
    for worker in Arc::make_mut(&mut snapshot.workers) {
        worker.heartbeat_at = fixture::now() + SignedDuration::from_hours(1);
    }
    snapshot.alarms = Some(Arc::new(alarms));
    snapshot.acknowledged = acknowledged;
    Arc::new(snapshot)
}

fn acknowledged(minutes: i64) -> BTreeMap<String, Acknowledgement> {
    let ack = Acknowledgement {
        until: fixture::now() + SignedDuration::from_mins(minutes),
        by: String::from("ann@etl-2"),
    };
    BTreeMap::from([(full_disk().id(), ack)])
}

/// The commands that the console has sent.
fn sent(harness: &Harness) -> Vec<&Command> {
    let effects = harness.effects.iter();
    effects
        .filter_map(|effect| match effect {
            Effect::Request { command, .. } => Some(command),
            _ => None,
        })
        .collect()
}

#[test]
fn an_alarm_of_a_worker_is_shown_since_the_worker_has_seen_it() {
    let mut harness = Harness::new(
        Options::default(),
        judged(vec![full_disk()], BTreeMap::new()),
    );
    assert!(harness.screen().contains("The disk of /var on etl-1"));
    harness.keys("a");
    let shown = harness.screen();
    let line = shown.lines().find(|line| line.contains("disk")).unwrap();
    assert!(line.contains(" 7m "), "{shown}");
}

#[test]
fn workers_that_judge_decide_about_queues_and_the_console_only_where_none_does() {
    let mut snapshot = Arc::unwrap_or_clone(fixture::trouble());
    let kinds = |snapshot: &Snapshot| -> Vec<AlarmKind> {
        let harness = Harness::new(Options::default(), Arc::new(snapshot.clone()));
        let alarms = harness.app.alarms(harness.now);
        alarms.into_iter().map(|alarm| alarm.kind).collect()
    };
    let alone = kinds(&snapshot);
    assert!(alone.contains(&AlarmKind::DeadLetters), "{alone:?}");
    snapshot.alarms = Some(Arc::new(Vec::new()));
    let told = kinds(&snapshot);
    assert!(!told.contains(&AlarmKind::DeadLetters), "{told:?}");
    assert!(told.contains(&AlarmKind::Unreachable), "its own: {told:?}");
}

#[test]
fn an_alarm_is_acknowledged_by_a_key_or_for_a_given_time_and_that_is_taken_back() {
    let mut harness = Harness::new(
        Options::default(),
        judged(vec![full_disk()], BTreeMap::new()),
    );
    harness.keys("au");
    let until = harness.now + SignedDuration::from_hours(1);
    let is_it = |command: &&Command, end| match command {
        Command::AcknowledgeAlarm { alarm, until, .. } => {
            *alarm == full_disk().id() && *until == end
        }
        _ => false,
    };
    let commands = sent(&harness);
    assert!(
        commands.iter().any(|it| is_it(it, Some(until))),
        "{commands:?}"
    );
    harness.effects.clear();
    harness.keys(":ack 8h<enter>");
    let until = harness.now + SignedDuration::from_hours(8);
    let commands = sent(&harness);
    assert!(
        commands.iter().any(|it| is_it(it, Some(until))),
        "{commands:?}"
    );
    harness.effects.clear();
    harness.tell(Message::Snapshot(judged(
        vec![full_disk()],
        acknowledged(30),
    )));
    harness.keys("a");
    let shown = harness.screen();
    assert!(shown.contains("acknowledged by ann@etl-2"), "{shown}");
    harness.keys("u");
    let commands = sent(&harness);
    assert!(commands.iter().any(|it| is_it(it, None)), "{commands:?}");
}

#[test]
fn an_acknowledged_alarm_does_not_ring_before_its_time() {
    let options = Options {
        ring: &[Ring::Bell],
        ..Options::default()
    };
    let mut harness = Harness::new(options, judged(vec![full_disk()], acknowledged(1)));
    let mut rung = |seconds| {
        harness.effects.clear();
        for _ in 0..seconds {
            harness.now += SignedDuration::from_secs(1);
            harness.tell(Message::Tick);
        }
        let rings = |effect: &&Effect| matches!(effect, Effect::Ring { .. });
        harness.effects.iter().filter(rings).count()
    };
    assert_eq!(rung(10), 0);
    assert!(rung(65) > 0);
}

#[test]
fn the_history_of_alarms_is_read_from_a_worker_and_shown_newest_first() {
    let mut harness = Harness::new(Options::default(), judged(Vec::new(), BTreeMap::new()));
    harness.keys("H");
    let effects = harness.effects.iter();
    let request = effects.rev().find_map(|effect| match effect {
        Effect::Request {
            request,
            command: Command::Query(Query::AlarmHistory { .. }),
            ..
        } => Some(*request),
        _ => None,
    });
    let entry = |minutes, change, by: Option<&str>| AlarmEntry {
        at: fixture::now() - SignedDuration::from_mins(minutes),
        change,
        id: full_disk().id(),
        severity: None,
        text: full_disk().text,
        by: by.map(str::to_owned),
    };
    let entries = vec![
        entry(2, AlarmChange::Ended, None),
        entry(5, AlarmChange::Acknowledged, Some("ann@etl-2")),
        entry(9, AlarmChange::Started, None),
    ];
    harness.tell(Message::Reply {
        request: request.unwrap(),
        reply: Reply::Answer(Box::new(Answer::AlarmHistory(entries))),
    });
    let shown = harness.screen();
    let at = |words: &str| {
        shown
            .find(words)
            .unwrap_or_else(|| panic!("{words}: {shown}"))
    };
    assert!(at("2m   ended") < at("5m   acknowledged"), "{shown}");
    assert!(at("by ann@etl-2") < at("9m   started"), "{shown}");
    harness.keys("<esc>");
    assert!(harness.app.overlay().is_none());
}
