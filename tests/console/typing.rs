//! Input lines, what is typed to confirm, and text that others wrote.

use std::path::PathBuf;
use std::sync::Arc;

use dagster_taskiq_tui::console::app::{Effect, Message};
use dagster_taskiq_tui::console::view::View;
use dagster_taskiq_tui::domain::{Command, LogLine};

use super::fixture;
use super::harness::{Harness, Options};

#[test]
fn an_input_line_is_edited_anywhere_and_its_caret_is_seen() {
    let mut harness = Harness::night();
    harness.keys("3/score upper<a-b><a-b>x<c-e>y");
    assert!(
        harness.screen().contains("/ xscore uppery█"),
        "{}",
        harness.screen()
    );
    harness.keys("<home><del><end><bs>");
    assert!(
        harness.screen().contains("/ score upper█"),
        "{}",
        harness.screen()
    );
    harness.keys("<left><left>");
    let caret = harness.caret().unwrap();
    assert_eq!((caret.x, caret.y, caret.is_shown), (3 + 9, 23, true));
    // Wide characters take two columns; of a long line the part around the caret is shown.
    harness.keys("<c-k><c-u>");
    for _ in 0..60 {
        harness.keys("日");
    }
    harness.keys("END");
    let screen = harness.screen();
    assert!(
        screen.lines().last().unwrap().trim_end().ends_with("END█"),
        "{screen}"
    );
    harness.keys("<home>");
    assert_eq!(harness.caret().unwrap().x, 3);
}

#[test]
fn filters_and_commands_have_a_history() {
    let mut harness = Harness::night();
    harness.keys("3/one<enter>/<c-u>two<enter>/<c-u><up>");
    assert!(harness.screen().contains("/ two█"), "{}", harness.screen());
    harness.keys("<up>");
    assert!(harness.screen().contains("/ one█"), "{}", harness.screen());
    harness.keys("<down><down>");
    assert!(harness.screen().contains(" / █"), "{}", harness.screen());
}

#[test]
fn the_cursor_stands_on_the_chosen_row_where_nothing_is_typed() {
    let mut harness = Harness::night();
    harness.keys("5");
    let first = harness.caret().unwrap();
    assert!(!first.is_shown);
    harness.keys("j");
    let second = harness.caret().unwrap();
    assert_eq!((second.x, second.y), (first.x, first.y + 1));
}

#[test]
fn alt_and_a_key_that_means_nothing_together_are_esc_and_the_key() {
    let mut harness = Harness::night();
    harness.keys("3/ab<a-5>");
    assert!(harness.app.overlay().is_none());
    assert_eq!(harness.app.view(), View::Workers);
    // A question is left, not answered.
    let sent = harness.commands("D<a-y>");
    assert_eq!(sent, []);
    assert!(harness.app.overlay().is_none());
}

#[test]
fn pasted_text_is_told_where_it_does_nothing_and_is_one_line_where_it_does() {
    let mut harness = Harness::night();
    harness.tell(Message::Paste(String::from("prod-pool\nX")));
    assert!(
        harness.screen().contains("nothing was done"),
        "{}",
        harness.screen()
    );
    harness.keys("3/");
    harness.tell(Message::Paste(String::from("id1\r\nid2\n")));
    assert!(
        harness.screen().contains("/ id1 id2█"),
        "{}",
        harness.screen()
    );
    harness.keys("<c-u><esc>5K");
    harness.tell(Message::Paste(String::from("etl-1.internal-4127")));
    assert!(
        harness.screen().contains("what confirms must be typed"),
        "{}",
        harness.screen()
    );
    assert_eq!(harness.commands("<enter>"), []);
}

/// The night, with another name for the first worker.
fn named(name: &str, options: Options) -> Harness {
    let mut snapshot = (*fixture::snapshot()).clone();
    name.clone_into(&mut Arc::make_mut(&mut snapshot.workers)[0].id);
    Harness::new(options, Arc::new(snapshot))
}

#[test]
fn what_is_typed_to_confirm_is_short_and_can_be_read() {
    let long = "a-worker-with-a-name-that-nobody-wants-to-type-".repeat(5);
    let mut harness = named(&long, Options::default());
    harness.keys("5K");
    assert!(
        harness.screen().contains("Type a-worker-wi"),
        "{}",
        harness.screen()
    );
    let sent = harness.commands("a-worker-wi<enter>");
    assert_eq!(sent, [], "that is not enough");
    let sent = harness.commands("t<enter>");
    assert_eq!(sent, [(Some(long), Command::Kill)]);

    let options = Options {
        ascii: true,
        ..Options::default()
    };
    let mut harness = named("ätl-münchen", options);
    harness.keys("5K");
    assert!(
        harness.screen().contains("Type ?tl-m?nchen"),
        "{}",
        harness.screen()
    );
    let sent = harness.commands("?tl-m?nchen<enter>");
    assert_eq!(sent, [(Some(String::from("ätl-münchen")), Command::Kill)]);
}

#[test]
fn a_path_that_begins_with_a_tilde_is_in_the_home_folder() {
    let mut harness = Harness::night();
    let home = std::env::home_dir().unwrap();
    for (typed, expected) in [
        ("~/x.json", home.join("x.json")),
        ("~x.json", PathBuf::from("~x.json")),
        ("/tmp/~/x.json", PathBuf::from("/tmp/~/x.json")),
    ] {
        let effects = harness.keys(&format!("3:dump json {typed}<enter>"));
        let written = effects.iter().find_map(|effect| match effect {
            Effect::Write { path, .. } => Some(path.clone()),
            _ => None,
        });
        assert_eq!(written, Some(expected));
    }
}

#[test]
fn lines_and_emoji_of_others_lose_nothing_in_the_log() {
    let warning = format!("first\nsecond {}END", "⚠\u{fe0f} disk ".repeat(40));
    let mut snapshot = (*fixture::snapshot()).clone();
    let logs = Arc::make_mut(&mut snapshot.logs);
    let last = logs.back().unwrap().clone();
    logs.push_back(LogLine {
        message: warning,
        ..last
    });
    let mut harness = Harness::new(Options::default(), Arc::new(snapshot));
    harness.keys("6w");
    for (keys, between) in [("", " "), ("<enter>", "\n")] {
        harness.keys(keys);
        let screen = harness.screen();
        let words: Vec<&str> = screen.split(['│', '\n']).map(str::trim).collect();
        let joined = words.join("\n");
        assert!(
            joined.contains("first second") || joined.contains("first\n\n\nsecond"),
            "{between:?} {screen}"
        );
        assert!(screen.contains("END"), "{screen}");
        assert_eq!(screen.matches("disk").count(), 40, "{screen}");
    }
}
