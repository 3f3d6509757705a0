//! Alarms of the overview, the badges of sources that are down, and how the terminal rings.

use std::sync::Arc;

use dagster_taskiq_tui::console::app::{Effect, Message};
use dagster_taskiq_tui::console::view::View;
use dagster_taskiq_tui::domain::{
    QueueCounts, QueueRole, QueueView, Ring, Snapshot, SourceHealth, Trend, WorkerState,
};
use jiff::SignedDuration;

use super::fixture;
use super::harness::{Harness, Options};

/// A calm fleet of two workers: one receives from all queues but `gpu`, the other from `gpu` alone.
fn shared(gpu_waiting: u64) -> Snapshot {
    let mut snapshot = Arc::unwrap_or_clone(fixture::calm());
    let queues = Arc::make_mut(&mut snapshot.queues);
    queues.push(QueueView {
        name: String::from("jobs-gpu"),
        url: String::from("http://127.0.0.1:9324/000000000000/jobs-gpu"),
        role: QueueRole::Named(String::from("gpu")),
        counts: Some(QueueCounts {
            visible: gpu_waiting,
            ..QueueCounts::default()
        }),
        counted_at: Some(fixture::now()),
        oldest: None,
        error: None,
        unreachable: false,
        trend: Trend::default(),
    });
    let names = queues.iter().map(|queue| queue.name.clone());
    let others: Vec<String> = names.filter(|name| name != "jobs-gpu").collect();
    let workers = Arc::make_mut(&mut snapshot.workers);
    workers[0].queues = others;
    workers[1].queues = vec![String::from("jobs-gpu")];
    snapshot
}

fn screen(snapshot: Snapshot) -> String {
    Harness::new(Options::default(), Arc::new(snapshot)).screen()
}

#[test]
fn a_queue_from_which_no_live_worker_receives_is_named_with_what_to_do() {
    let served = screen(shared(7));
    assert!(served.contains("No alarms"), "{served}");

    let alarm = "~7 messages wait in jobs-gpu, from which no live worker receives: start";
    for state in [
        WorkerState::Paused,
        WorkerState::Draining,
        WorkerState::Stopped,
    ] {
        let mut snapshot = shared(7);
        Arc::make_mut(&mut snapshot.workers)[1].state = state;
        let shown = screen(snapshot);
        assert!(shown.contains(alarm), "{state:?}: {shown}");
    }
    let mut snapshot = shared(7);
    let heard = &mut Arc::make_mut(&mut snapshot.workers)[1].heartbeat_at;
    *heard -= SignedDuration::from_secs(60);
    assert!(
        screen(snapshot).contains(alarm),
        "a silent worker serves nobody"
    );

    // With nobody left there is nobody to wait for, whether or not anything waits.
    for state in [WorkerState::Stopped, WorkerState::Lost] {
        let mut snapshot = shared(0);
        for worker in Arc::make_mut(&mut snapshot.workers) {
            worker.state = state;
        }
        let shown = screen(snapshot);
        let alarm = "No worker runs any more; ~0 messages wait: S starts one";
        assert!(shown.contains(alarm), "{state:?}: {shown}");
    }

    let mut empty = shared(0);
    Arc::make_mut(&mut empty.workers)[1].state = WorkerState::Paused;
    let shown = screen(empty);
    assert!(shown.contains("No alarms"), "nothing waits: {shown}");
}

#[test]
fn a_worker_of_another_host_that_reports_itself_serves_its_queues_until_it_falls_silent() {
    let mut snapshot = shared(7);
    Arc::make_mut(&mut snapshot.workers)[1].state = WorkerState::Paused;
    let mut elsewhere = fixture::fleet().fleet[1].clone();
    elsewhere.queues = vec![String::from("jobs-gpu")];
    snapshot.fleet = Arc::new(vec![elsewhere]);
    let shown = screen(snapshot.clone());
    assert!(shown.contains("No alarms"), "{shown}");

    let reported = &mut Arc::make_mut(&mut snapshot.fleet)[0];
    reported.heartbeat_at -= SignedDuration::from_secs(90);
    let shown = screen(snapshot);
    assert!(shown.contains("~7 messages wait in jobs-gpu"), "{shown}");
}

/// A minute's count of each of the calm fleet's queues: the low band and the dead letters are flooded,
/// the base queue drains faster than that.
fn flooded() -> Snapshot {
    let mut snapshot = calm();
    for queue in Arc::make_mut(&mut snapshot.queues) {
        for minute in 0..6 {
            let count = match (&queue.role, u64::try_from(minute).unwrap()) {
                (QueueRole::Base, minute) => 5_000 - minute * 900,
                (QueueRole::Band(name), minute) if name == "low" => 40 + minute * 100,
                (QueueRole::DeadLetter, minute) => minute * 100,
                _ => 7,
            };
            let at = fixture::now() - SignedDuration::from_mins(5 - minute);
            queue.trend.note(count, at);
        }
    }
    snapshot
}

#[test]
fn a_flood_on_one_band_is_told_at_once_although_another_one_drains() {
    let shown = screen(flooded());
    let alarm = "dagster-tasks-low grows: ~40 waited 5 minutes ago, ~540 now";
    assert!(shown.contains(alarm), "{shown}");
    assert_eq!(shown.matches(" grows: ").count(), 1, "{shown}");
}

#[test]
fn runs_that_wait_where_no_worker_has_run_slots_are_told() {
    let mut snapshot = Arc::unwrap_or_clone(fixture::calm());
    for queue in Arc::make_mut(&mut snapshot.queues) {
        if queue.role == QueueRole::Runs {
            queue.counts = Some(QueueCounts {
                visible: 1,
                ..QueueCounts::default()
            });
        }
    }
    for worker in Arc::make_mut(&mut snapshot.workers) {
        worker.runs.target = 0;
    }
    let shown = screen(snapshot);
    let alarm = "~1 message waits in dagster-tasks-runs and no live worker has run slots";
    assert!(shown.contains(alarm), "{shown}");
}

#[test]
fn two_workers_of_one_name_are_told() {
    let mut snapshot = Arc::unwrap_or_clone(fixture::calm());
    for worker in Arc::make_mut(&mut snapshot.workers) {
        worker.shared_name = Some(String::from("etl"));
    }
    let shown = screen(snapshot);
    let alarm = "2 workers are named etl, on etl-1.internal and etl-2.internal";
    assert!(shown.contains(alarm), "{shown}");
}

/// A calm fleet that goes on to report itself, however much time passes.
fn calm() -> Snapshot {
    let mut snapshot = Arc::unwrap_or_clone(fixture::calm());
    let later = fixture::now() + SignedDuration::from_hours(1);
    for worker in Arc::make_mut(&mut snapshot.workers) {
        worker.heartbeat_at = later;
    }
    for queue in Arc::make_mut(&mut snapshot.queues) {
        queue.counted_at = Some(later);
    }
    snapshot
}

/// The same, but the webserver has been down for `seconds` and is asked again after `retry`.
fn webserver_down(seconds: i64, retry: i64) -> Arc<Snapshot> {
    let mut snapshot = calm();
    let source = &mut snapshot.sources[1];
    source.health = SourceHealth::Down {
        reason: String::from("connection refused"),
    };
    source.seen_at = Some(fixture::now() - SignedDuration::from_secs(seconds));
    source.retry_at = Some(fixture::now() + SignedDuration::from_secs(retry));
    snapshot.revision += u64::try_from(seconds).unwrap();
    Arc::new(snapshot)
}

#[test]
fn a_console_that_hears_of_nothing_any_more_says_so_as_long_as_it_is_open() {
    let mut harness = Harness::new(Options::default(), Arc::new(calm()));
    assert!(harness.screen().contains("No alarms"));
    harness.tell(Message::CutOff);
    harness.keys("3<esc>1");
    let screen = harness.screen();
    assert!(screen.contains("hears of nothing any more"), "{screen}");
}

#[test]
fn a_source_that_is_down_has_its_age_and_when_it_is_asked_again_in_badge_and_alarm() {
    let mut harness = Harness::new(Options::default(), webserver_down(130, 14));
    let shown = harness.screen();
    assert!(shown.contains("webserver down 2m, retry <20s"), "{shown}");
    let alarm = "webserver 127.0.0.1:3000 does not answer for 2m (retry <20s)";
    assert!(shown.contains(alarm), "{shown}");

    harness.now += SignedDuration::from_secs(6);
    let later = harness.screen();
    assert!(later.contains("down 2m, retry <10s"), "{later}");
    harness.now += SignedDuration::from_secs(14);
    let trying = harness.screen();
    assert!(trying.contains("down 2m, trying"), "{trying}");
}

#[test]
fn a_webserver_that_stays_down_changes_no_cell_between_the_coarse_steps_of_its_age() {
    let mut harness = Harness::new(Options::default(), webserver_down(130, 5));
    let before = harness.screen();
    let start = harness.now;
    // As the aggregator tells it: asked every five seconds, in vain.
    for second in 1..=40 {
        harness.now = start + SignedDuration::from_secs(second);
        if second % 5 == 0 {
            harness.tell(Message::Snapshot(webserver_down(130, second + 5)));
        } else {
            harness.tell(Message::Tick);
        }
        assert_eq!(harness.screen(), before, "after {second} s");
    }
}

/// Lets seconds pass, one tick each; gives how the terminal was rung.
fn rung(harness: &mut Harness, seconds: i64) -> Vec<Effect> {
    harness.effects.clear();
    for _ in 0..seconds {
        harness.now += SignedDuration::from_secs(1);
        harness.tell(Message::Tick);
    }
    let effects = harness.effects.iter();
    let rings = effects.filter(|effect| matches!(effect, Effect::Ring { .. }));
    rings.cloned().collect()
}

#[test]
fn the_terminal_rings_once_for_an_alarm_that_stands_and_only_where_that_is_wanted() {
    let options = Options {
        ring: &[Ring::Bell, Ring::Desktop],
        ..Options::default()
    };
    let mut harness = Harness::new(options, Arc::new(calm()));
    assert_eq!(rung(&mut harness, 10), []);
    harness.tell(Message::Snapshot(webserver_down(1, 5)));
    assert_eq!(rung(&mut harness, 4), [], "it may be back at once");
    let rings = rung(&mut harness, 120);
    let [
        Effect::Ring {
            bell: true,
            notification: Some(text),
        },
    ] = rings.as_slice()
    else {
        panic!("rung once, both ways: {rings:?}");
    };
    assert!(
        text.starts_with("webserver 127.0.0.1:3000 does not answer"),
        "{text}"
    );

    let mut quiet = Harness::new(Options::default(), Arc::new(calm()));
    quiet.tell(Message::Snapshot(webserver_down(1, 5)));
    assert_eq!(rung(&mut quiet, 30), [], "off by default");
}

#[test]
fn every_alarm_is_listed_with_its_whole_text_at_any_size_and_the_overview_says_how_many_there_are()
{
    for size in [(200, 50), (80, 24), (40, 10)] {
        let options = Options {
            size,
            ..Options::default()
        };
        let mut harness = Harness::new(options, fixture::trouble());
        let alarms = harness.app.alarms(harness.now);
        assert!(alarms.len() > 4, "{alarms:?}");
        if size.1 == 50 {
            let shown = harness.screen();
            let told = alarms.iter().filter(|alarm| shown.contains(&alarm.text));
            assert_eq!(told.count(), alarms.len(), "there is room for all: {shown}");
        } else {
            let first = harness.screen();
            assert!(first.contains(" a "), "how to see the others: {first}");
        }
        harness.keys("a");
        for alarm in &alarms {
            let shown = harness.screen();
            let words = |text: &str| -> String {
                let kept = text.split_whitespace().filter(|word| *word != "│");
                kept.collect::<Vec<_>>().join(" ")
            };
            assert!(
                words(&shown).contains(alarm.kind.name()),
                "{alarm:?}: {shown}"
            );
            let last = alarm.text.rsplit(' ').next().unwrap();
            let is_told = |harness: &Harness| harness.screen().contains(last);
            for _ in 0..20 {
                if !is_told(&harness) {
                    harness.keys("j");
                }
            }
            assert!(is_told(&harness), "the end of {alarm:?}: {shown}");
            harness.keys("j");
        }
        harness.keys("<esc>");
        assert!(harness.app.overlay().is_none());
    }
}

#[test]
fn enter_on_an_alarm_shows_what_it_is_about_and_escape_comes_back() {
    let mut snapshot = flooded();
    let workers = Arc::make_mut(&mut snapshot.workers);
    workers[1].heartbeat_at = fixture::now() - SignedDuration::from_secs(60);
    let silent = workers[1].id.clone();
    let mut harness = Harness::new(Options::default(), Arc::new(snapshot));
    harness.keys("2/high<enter>1:alarms<enter><enter>");
    assert_eq!(harness.app.view(), View::Workers);
    harness.keys("y");
    let copied = |harness: &Harness| harness.effects.contains(&Effect::Copy(silent.clone()));
    assert!(copied(&harness), "{:?}", harness.effects);

    harness.keys("<esc>a<end><enter>");
    assert_eq!(harness.app.view(), View::Queues);
    harness.keys("y");
    let low = Effect::Copy(String::from("dagster-tasks-low"));
    assert!(
        harness.effects.contains(&low),
        "its filter hid it: {:?}",
        harness.effects
    );
    harness.keys("<esc>");
    assert_eq!(harness.app.view(), View::Overview);
    let queues = harness.keys("2");
    let shown = harness.screen();
    assert!(queues.is_empty() && shown.contains("/high"), "{shown}");
}

#[test]
fn the_cursor_stays_on_its_alarm_when_others_come_and_its_age_is_since_it_was_seen() {
    let mut harness = Harness::new(Options::default(), Arc::new(flooded()));
    harness.keys("aj");
    harness.now += SignedDuration::from_secs(125);
    let mut later = flooded();
    later.revision += 1;
    later.sources[1].health = SourceHealth::Failing {
        reason: String::from("it answered 500"),
    };
    harness.tell(Message::Snapshot(Arc::new(later)));
    let shown = harness.screen();
    let line = |kind: &str| {
        let mut lines = shown.lines();
        lines
            .find(|line| line.contains(kind))
            .unwrap_or_else(|| panic!("{shown}"))
    };
    assert!(
        line("unreachable").contains("answers with errors"),
        "{shown}"
    );
    assert!(line("unreachable").contains(" 0s "), "{shown}");
    let backlog = line("backlog");
    assert!(backlog.contains("▌") && backlog.contains(" 2m "), "{shown}");
}
