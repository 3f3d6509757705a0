//! A traceback among the log lines is one row.

use std::sync::Arc;

use dagster_taskiq_tui::console::app::Message;
use dagster_taskiq_tui::domain::{LogLevel, LogLine, Snapshot};

use super::fixture;
use super::harness::Harness;

const RUN: &str = "4f0c81aa-51b2-4c58-9a3b-8a7be0f1d201";

fn failed() -> Snapshot {
    let mut snapshot = (*fixture::snapshot()).clone();
    let logs = Arc::make_mut(&mut snapshot.logs);
    for message in [
        "Traceback (most recent call last):",
        "  File \"warehouse.py\", line 41, in load_warehouse",
        "    connect()",
        "ConnectionRefusedError: warehouse:5432",
        "cleaning up",
    ] {
        logs.push_back(LogLine {
            at: fixture::now(),
            level: LogLevel::Error,
            target: String::from("step"),
            run_id: Some(RUN.to_owned()),
            step_key: Some(String::from("load_warehouse")),
            worker: None,
            message: message.to_owned(),
        });
    }
    snapshot
}

#[test]
fn a_traceback_is_folded_to_its_last_line_and_enter_shows_all_of_it_with_step_and_run() {
    let mut harness = Harness::night();
    harness.tell(Message::Snapshot(Arc::new(failed())));
    harness.keys("6");
    let screen = harness.screen();
    assert!(screen.contains("ConnectionRefusedError"), "{screen}");
    assert!(screen.contains("[traceback, 4 lines"), "{screen}");
    assert!(!screen.contains("warehouse.py"), "{screen}");
    harness.keys("k<enter>");
    let screen = harness.screen();
    for words in [
        "load_warehouse",
        RUN,
        "warehouse.py\", line 41",
        "connect()",
    ] {
        assert!(screen.contains(words), "{words}: {screen}");
    }
}

#[test]
fn a_filter_finds_a_traceback_by_any_of_its_lines() {
    let mut harness = Harness::night();
    harness.tell(Message::Snapshot(Arc::new(failed())));
    harness.keys("6/line 41<enter>");
    let screen = harness.screen();
    assert!(screen.contains("ConnectionRefusedError"), "{screen}");
    assert!(!screen.contains("cleaning up"), "{screen}");
}
