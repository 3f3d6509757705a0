//! Clocks that differ and that are set back, and the zone of the times.

use std::sync::Arc;

use dagster_taskiq_tui::console::app::{Effect, Message};
use dagster_taskiq_tui::console::view::View;
use dagster_taskiq_tui::domain::{AlarmKind, Ring, Snapshot};
use jiff::SignedDuration;

use super::fixture;
use super::harness::{Harness, Options};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// The night, with the clock of its first worker's host so far behind.
fn with_clock_behind(seconds: i64) -> Arc<Snapshot> {
    let mut snapshot = (*fixture::snapshot()).clone();
    Arc::make_mut(&mut snapshot.workers)[0].clock_behind = seconds;
    Arc::new(snapshot)
}

#[test]
fn a_difference_of_clocks_is_told_by_host() {
    for (seconds, told) in [
        (60, "The clock of etl-1.internal is 1m behind"),
        (-3600, "The clock of etl-1.internal is 1h ahead"),
    ] {
        let mut harness = Harness::new(Options::default(), with_clock_behind(seconds));
        harness.keys("a");
        assert!(harness.screen().contains(told), "{}", harness.screen());
    }
    let mut harness = Harness::new(Options::default(), with_clock_behind(3));
    harness.keys("a");
    assert!(
        !harness.screen().contains("The clock of"),
        "{}",
        harness.screen()
    );
}

#[test]
fn a_clock_that_is_set_back_holds_nothing_up() {
    // A note goes after its seconds.
    let mut harness = Harness::night();
    harness.keys("3o");
    assert_eq!(harness.app.toasts().len(), 1);
    harness.now -= HOUR;
    harness.tell(Message::Tick);
    assert_eq!(harness.app.toasts().len(), 1);
    harness.now += SignedDuration::from_secs(6);
    harness.tell(Message::Tick);
    assert!(harness.app.toasts().is_empty(), "it stays for an hour");

    // What is followed is asked again.
    let mut harness = super::following::details(Options::default());
    harness.effects.clear();
    harness.now -= HOUR;
    harness.tell(Message::Tick);
    harness.now += SignedDuration::from_secs(3);
    harness.tell(Message::Tick);
    let asked = |effect: &Effect| matches!(effect, Effect::Request { .. });
    assert!(
        harness.effects.iter().any(asked),
        "nothing is asked for an hour"
    );

    // An alarm rings once it has stood.
    let options = Options {
        ring: &[Ring::Bell],
        ..Options::default()
    };
    let mut snapshot = (*fixture::snapshot()).clone();
    Arc::make_mut(&mut snapshot.workers).clear();
    assert!(AlarmKind::USUAL.contains(&AlarmKind::NoConsumer));
    let mut harness = Harness::new(options, Arc::new(snapshot));
    harness.now -= HOUR;
    harness.tell(Message::Tick);
    harness.now += SignedDuration::from_secs(6);
    harness.effects.clear();
    harness.tell(Message::Tick);
    let rang = |effect: &Effect| matches!(effect, Effect::Ring { .. });
    assert!(harness.effects.iter().any(rang), "it is silent for an hour");
}

#[test]
fn times_are_in_utc_or_in_the_hosts_zone_and_say_which() {
    let mut harness = Harness::in_zone("Asia/Tokyo");
    harness.size = (200, 50);
    harness.tell(Message::Resize(200, 50));
    harness.keys("6t");
    assert!(harness.screen().contains("+09:00 "), "{}", harness.screen());
    harness.keys(":utc<enter>");
    let screen = harness.screen();
    assert!(screen.contains("Times are in UTC (+00:00)"), "{screen}");
    assert!(!screen.contains("+09:00 "), "{screen}");
    harness.keys(":utc<enter>");
    let screen = harness.screen();
    assert!(screen.contains("Times are in JST (+09:00)"), "{screen}");
    assert!(screen.contains("+09:00 "), "{screen}");
}

#[test]
fn the_zone_of_the_times_is_in_the_head_line_of_every_view_on_80_columns() {
    for (zone, shown) in [("Asia/Tokyo", "JST"), ("America/Sao_Paulo", "-03:00")] {
        let mut harness = Harness::in_zone(zone);
        for view in View::ALL {
            harness.keys(&view.digit().to_string());
            for zone in [shown, "UTC", shown] {
                let screen = harness.screen();
                let head = screen.lines().next().unwrap();
                assert!(head.ends_with(&format!("  {zone}")), "{head}");
                harness.keys(":utc<enter>");
            }
            harness.keys(":utc<enter>");
        }
    }
}
