//! Tables: what is filtered, in which order it stands, which columns are shown, what is marked.

use std::sync::Arc;

use dagster_taskiq_tui::console::app::Message;
use dagster_taskiq_tui::console::filter::Filter;
use dagster_taskiq_tui::console::rows::{self, Rows, Sort};
use dagster_taskiq_tui::console::shown::Shown;
use dagster_taskiq_tui::console::view::View;
use dagster_taskiq_tui::domain::{Command, LogLevel, QueueView};
use proptest::prelude::*;

use super::fixture;
use super::harness::{Harness, Options};

pub fn wide() -> Harness {
    Harness::new(
        Options {
            size: (200, 50),
            ..Options::default()
        },
        fixture::snapshot(),
    )
}

#[test]
fn the_cursor_stays_on_its_row_when_rows_come_and_go() {
    let mut harness = Harness::night();
    harness.keys("4jjj");
    let mut snapshot = (*fixture::snapshot()).clone();
    Arc::make_mut(&mut snapshot.runs).remove(0);
    harness.tell(Message::Snapshot(Arc::new(snapshot)));
    harness.keys("X");
    assert!(harness.screen().contains("Terminate run 4f0c81aa?"));
}

#[test]
fn a_filter_applies_while_it_is_typed_and_escape_brings_the_old_one_back() {
    let mut harness = Harness::night();
    harness.keys("3/transform");
    assert!(
        harness.screen().contains("transform_orders")
            && !harness.screen().contains("train_gradient")
    );
    harness.keys("<esc>");
    assert!(harness.screen().contains("train_gradient"));
    harness.keys("/prio:>5 status:running<enter>");
    assert!(harness.screen().contains("2 of 73"), "{}", harness.screen());
    harness.keys("<esc>");
    assert!(!harness.screen().contains("2 of 73"));
}

#[test]
fn the_last_row_of_a_framed_table_is_in_sight_above_the_panel_of_its_details() {
    let mut snapshot = (*fixture::snapshot()).clone();
    let queues = Arc::make_mut(&mut snapshot.queues);
    let queue = queues[0].clone();
    queues.extend((0..60).map(|number| QueueView {
        name: format!("more-{number:02}"),
        ..queue.clone()
    }));
    let options = Options {
        size: (120, 36),
        ..Options::default()
    };
    let mut harness = Harness::new(options, Arc::new(snapshot));
    harness.keys("2G");
    let screen = harness.screen();
    // In the table, and as the title of the panel.
    assert_eq!(screen.matches("more-59").count(), 2, "{screen}");
}

#[test]
fn a_range_and_everything_that_matches_can_be_marked() {
    let mut harness = Harness::night();
    harness.keys("3/status:running<enter>*");
    assert!(
        harness.screen().contains("6 rows marked"),
        "{}",
        harness.screen()
    );
    harness.keys("X");
    assert!(harness.screen().contains("Cancel 6 steps?"));
    assert_eq!(harness.commands("6<enter>").len(), 6);
    harness.keys("**<esc>");
    harness.keys("g<space>jjV");
    assert!(
        harness.screen().contains("4 marked"),
        "{}",
        harness.screen()
    );
}

#[test]
fn how_much_is_marked_is_seen_where_the_filter_has_no_room_beside_it() {
    let options = Options {
        size: (40, 10),
        ..Options::default()
    };
    let mut harness = Harness::new(options, fixture::snapshot());
    harness.keys("3/status:running !queue:nothing<enter>*");
    let screen = harness.screen();
    assert!(screen.contains("6 marked"), "{screen}");
}

#[test]
fn a_marked_row_that_is_gone_is_not_acted_on() {
    let mut harness = Harness::night();
    harness.keys("4<space><space>");
    let mut snapshot = (*fixture::snapshot()).clone();
    Arc::make_mut(&mut snapshot.runs).remove(0);
    harness.tell(Message::Snapshot(Arc::new(snapshot)));
    assert!(harness.screen().contains("1 marked"));
}

#[test]
fn columns_are_chosen_and_a_narrow_table_leaves_the_details_out() {
    let mut harness = Harness::new(
        Options {
            size: (200, 50),
            ..Options::default()
        },
        fixture::snapshot(),
    );
    harness.keys("3");
    assert!(harness.screen().contains("RECV"));
    harness.keys("n");
    assert!(!harness.screen().contains("RECV") && harness.screen().contains("narrow"));
    harness.keys("n:columns recv<enter>");
    assert!(!harness.screen().contains("RECV") && harness.screen().contains("1 column hidden"));
    harness.keys("cjjj <esc>");
    assert!(
        harness.screen().contains("2 columns hidden"),
        "{}",
        harness.screen()
    );
    harness.keys(":columns nonsense<enter>");
    assert!(harness.screen().contains("no column `nonsense`"));
}

#[test]
fn marked_rows_are_acted_on_together_and_escape_takes_the_marks_away() {
    let mut harness = Harness::night();
    harness.keys("4<space><space><space>");
    assert!(
        harness.screen().contains("3 marked"),
        "{}",
        harness.screen()
    );
    harness.keys("X");
    // One of the three is over already.
    assert!(
        harness.screen().contains("Terminate 2 runs?"),
        "{}",
        harness.screen()
    );
    assert!(harness.screen().contains("1 marked are over already"));
    let sent = harness.commands("2<enter>");
    let [(None, Command::TerminateRuns { run_ids, .. })] = sent.as_slice() else {
        panic!("{sent:?}")
    };
    assert_eq!(run_ids.len(), 2);
    harness.keys("<esc>");
    assert!(!harness.screen().contains("marked"));
}

#[test]
fn every_titled_column_of_queues_steps_and_runs_is_one_to_sort_by() {
    for (view, titles) in [
        ("2", "ROLE WAITING OLDEST QUEUE DELAYED HELD RUNNING"),
        (
            "3",
            "STATE STEP ELAPSED WAITED PRIO TRY JOB RUN QUEUE CPU MEMORY PID RECV ENDED WORKER",
        ),
        ("4", "STATUS RUN JOB STEPS FAILED DURATION CREATED PRIO"),
    ] {
        for title in titles.split(' ') {
            let mut harness = wide();
            harness.keys(&format!("{view}:sort {}<enter>", title.to_lowercase()));
            let screen = harness.screen();
            assert!(screen.contains("Sorted by"), "{title}: {screen}");
            let head = screen.lines().find(|line| line.contains("STAT")).unwrap();
            let sign = head.contains('^') || head.contains('\u{2191}') || head.contains('\u{25b4}');
            assert!(sign, "the head shows the order by {title}: {head}");
        }
    }
}

#[test]
fn the_longest_running_step_and_the_largest_are_found_by_sorting() {
    let mut harness = wide();
    harness.keys("3/status:running<enter>:sort elapsed<enter>OG");
    let first = |harness: &Harness| {
        let screen = harness.screen();
        let row = screen
            .lines()
            .find(|line| line.contains(" running  "))
            .unwrap();
        row.to_owned()
    };
    assert!(
        first(&harness).contains("train_gradient_boosting"),
        "{}",
        harness.screen()
    );
    harness.keys(":sort memory<enter>O");
    assert!(first(&harness).contains("(run)"), "{}", harness.screen());
}

#[test]
fn a_filter_takes_a_field_by_a_regular_expression_and_quoted_words() {
    let mut harness = wide();
    harness.keys("4/job:re:^n.*etl$<enter>");
    assert!(harness.screen().contains("2 of 5"), "{}", harness.screen());
    harness.keys("6/\"paused by\"<enter>");
    assert!(
        harness.screen().contains("paused by admin"),
        "{}",
        harness.screen()
    );
}

#[test]
fn the_fields_of_each_view_find_its_rows_and_one_that_it_has_not_is_told() {
    for view in View::ALL {
        for field in rows::fields(view) {
            let mut harness = Harness::night();
            harness.keys(&format!("{}/{field}:re:.<enter>", view.digit()));
            let screen = harness.screen();
            assert!(!screen.contains("Esc clears it"), "{field}: {screen}");
        }
    }
    let mut harness = Harness::night();
    harness.keys("6/queue:tasks");
    let screen = harness.screen();
    assert!(screen.contains("no row has a queue"), "{screen}");
    harness.keys("<enter>");
    let screen = harness.screen();
    let told = "No row has a queue; Esc clears it. Fields: level run step worker";
    assert!(screen.contains(told), "{screen}");
}

proptest! {
    #[test]
    fn an_order_is_the_same_whatever_the_order_was_before(
        before in Just((0..120_usize).collect::<Vec<_>>()).prop_shuffle(),
        kept in 0..120_usize,
        column in 0..16_usize,
        descending: bool,
        filter in prop::sample::select(vec!["", "running", "!etl", "prio:>4"]),
    ) {
        let mut shown = Shown::default();
        shown.receive(fixture::snapshot());
        let filter = Filter::parse(filter);
        let sort = Some(Sort { column, descending });
        let of = |before: &Rows| {
            let rows = Rows::of(before, View::Steps, &shown, &filter, LogLevel::Info, sort);
            (0..rows.len()).map(|row| rows.get(row).unwrap()).collect::<Vec<_>>()
        };
        let before = Rows::Picked(before[..kept].to_vec());
        prop_assert_eq!(of(&before), of(&Rows::default()));
    }
}

#[test]
fn a_filter_is_saved_by_name_and_used_in_other_views_and_by_the_next_console() {
    let mut harness = Harness::night();
    harness.keys("3/job:nightly<enter>:save-filter night<enter>");
    assert!(
        harness.screen().contains("/@night is now: job:nightly"),
        "{}",
        harness.screen()
    );
    harness.keys("4/@night status:started<enter>");
    let screen = harness.screen();
    assert!(
        screen.contains("/@night status:started") && screen.contains("1 of 5"),
        "{screen}"
    );
    let memory = harness.app.memory();
    let mut next = Harness::night();
    next.app = next.app.with_memory(memory);
    next.keys("4");
    assert!(next.screen().contains("1 of 5"), "{}", next.screen());
    next.keys("/<c-u>@nightly");
    assert!(
        next.screen()
            .contains("no filter is saved as @nightly: @night"),
        "{}",
        next.screen()
    );
}
