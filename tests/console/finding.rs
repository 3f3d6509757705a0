//! Search inside an open page and among the log lines.

use ratatui::style::Modifier;

use super::harness::{Harness, text};

/// The texts on the screen that are marked as found.
fn marked(harness: &Harness) -> Vec<String> {
    let buffer = harness.buffer();
    let mut found = Vec::new();
    for y in 0..buffer.area.height {
        let mut run = String::new();
        for x in 0..buffer.area.width {
            let cell = &buffer[(x, y)];
            if cell.modifier.contains(Modifier::REVERSED) {
                run.push_str(cell.symbol());
            } else if !run.is_empty() {
                found.push(std::mem::take(&mut run));
            }
        }
    }
    found
}

#[test]
fn a_text_is_found_in_an_open_page_and_n_and_shift_n_go_to_the_others() {
    let mut harness = Harness::night();
    harness.keys("?/drain");
    let screen = harness.screen();
    assert!(screen.contains("line 1 of"), "{screen}");
    assert!(
        marked(&harness).iter().any(|text| text == "drain"),
        "{:?}",
        marked(&harness)
    );
    harness.keys("<enter>");
    let first = text(&harness.buffer());
    harness.keys("n");
    assert!(
        harness.screen().contains("line 2 of"),
        "{}",
        harness.screen()
    );
    harness.keys("N");
    assert_eq!(text(&harness.buffer()), first);
    harness.keys("N");
    assert!(
        !harness.screen().contains("line 1 of"),
        "around the end: {}",
        harness.screen()
    );
    harness.keys("<esc>");
    let screen = harness.screen();
    assert!(
        screen.contains("Keys in") && !screen.contains("n next"),
        "{screen}"
    );
    harness.keys("<esc>");
    assert!(!harness.screen().contains("Keys in"));
}

#[test]
fn what_is_not_in_the_page_is_said_and_escape_goes_back_to_where_it_was() {
    let mut harness = Harness::night();
    harness.keys("4<enter>j");
    let before = text(&harness.buffer());
    harness.keys("/nowhere to be found");
    assert!(
        harness.screen().contains("not found"),
        "{}",
        harness.screen()
    );
    harness.keys("<esc>");
    assert_eq!(text(&harness.buffer()), before);
}

#[test]
fn a_text_is_found_among_the_log_lines_without_hiding_the_others() {
    let mut harness = Harness::night();
    harness.keys("6gFpaused<enter>");
    let screen = harness.screen();
    assert!(screen.contains("held still"), "{screen}");
    assert!(screen.contains("▌"), "{screen}");
    let here = screen.lines().find(|line| line.contains('▌')).unwrap();
    assert!(here.contains("paused"), "{screen}");
    assert!(marked(&harness).iter().any(|text| text.contains("paused")));
    harness.keys("Fnowhere<enter>");
    assert!(
        harness.screen().contains("No line here has `nowhere`"),
        "{}",
        harness.screen()
    );
}
