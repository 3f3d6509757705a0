//! Ways around: palette, back, details, sequences, and what is copied, remembered and written down.

use std::sync::Arc;

use dagster_taskiq_tui::console::app::{Effect, Message, Mouse};
use dagster_taskiq_tui::console::command::COMMANDS;
use dagster_taskiq_tui::console::keymap::Keymap;
use dagster_taskiq_tui::console::saved_state::SavedState;
use dagster_taskiq_tui::console::theme::{BUILT_IN, Depth};
use dagster_taskiq_tui::console::view::View;

use super::fixture;
use super::harness::{Harness, Options};
use super::tables::wide;

#[test]
fn a_mouse_that_is_turned_on_shows_views_and_moves_the_cursor() {
    let mut harness = Harness::night();
    let click = |harness: &mut Harness, text: &str| {
        let screen = harness.screen();
        let found = screen.lines().enumerate().find_map(|(y, line)| {
            let x = line.split_once(text)?.0.chars().count();
            Some((u16::try_from(x).unwrap(), u16::try_from(y).unwrap()))
        });
        let (x, y) = found.unwrap();
        harness.tell(Message::Mouse(Mouse::Click(x, y)));
    };
    click(&mut harness, "5 Work");
    assert_eq!(harness.app.view(), View::Overview, "it is off at first");
    assert_eq!(harness.keys(":mouse<enter>"), [Effect::Mouse(true)]);
    click(&mut harness, "5 Work");
    assert_eq!(harness.app.view(), View::Workers);
    click(&mut harness, "etl-2");
    let (whom, _) = harness.commands("p").remove(0);
    assert_eq!(whom.as_deref(), Some("etl-2.internal-9051"));
    harness.tell(Message::Mouse(Mouse::WheelUp));
    let (whom, _) = harness.commands("p").remove(0);
    assert_eq!(whom.as_deref(), Some("etl-1.internal-4127"));
    // As by its digit: the way in ends, and the filter that led there goes with it.
    harness.keys("4t");
    assert!(harness.screen().contains("/run:"), "{}", harness.screen());
    click(&mut harness, "2 Queues");
    assert!(harness.app.trail().is_empty());
    harness.keys("3");
    assert!(!harness.screen().contains("/run:"));
    assert_eq!(harness.keys(":mouse<enter>"), [Effect::Mouse(false)]);
}

#[test]
fn the_palette_completes_runs_and_remembers() {
    let mut harness = Harness::night();
    harness.keys(":wor<enter>");
    assert_eq!(harness.app.view(), View::Workers);
    harness.keys(":logs<enter>1:<up><enter>");
    assert_eq!(harness.app.view(), View::Logs);
    harness.keys(":nonsense words<enter>");
    assert!(harness.screen().contains("no command `nonsense words`"));
    harness.keys("1:terminate<enter>");
    assert!(harness.screen().contains("works in: Runs"));
}

#[test]
fn every_command_can_be_named_in_the_palette() {
    for row in COMMANDS {
        let mut harness = Harness::night();
        harness.keys(&format!(":{} <enter>", row.name));
        assert!(
            !harness.screen().contains("There is no command"),
            "{}",
            row.name
        );
    }
}

#[test]
fn a_copied_step_is_its_run_and_help_runs_what_it_lists() {
    let mut harness = Harness::night();
    let copied = harness.keys("3jy");
    let [Effect::Copy(text)] = copied.as_slice() else {
        panic!("{copied:?}")
    };
    assert_eq!(text.len(), 36);
    harness.keys("?2");
    assert_eq!(harness.app.view(), View::Queues);
    assert!(harness.app.overlay().is_none());
}

#[test]
fn open_details_stay_those_of_their_row_also_where_the_filter_lets_it_pass_no_longer() {
    let mut harness = Harness::night();
    harness.keys("3/status:running<enter>j<enter>");
    let screen = harness.screen();
    let mut snapshot = (*fixture::snapshot()).clone();
    let tasks = Arc::make_mut(&mut snapshot.tasks);
    let opened = tasks.iter().position(|task| screen.contains(&task.task_id));
    let ended = tasks.remove(opened.unwrap());
    let id = ended.task_id.clone();
    let mut recent = (*snapshot.recent).clone();
    recent.push(ended);
    snapshot.recent = Arc::new(recent);
    harness.tell(Message::Snapshot(Arc::new(snapshot.clone())));
    assert!(harness.screen().contains(&id), "{}", harness.screen());

    snapshot.recent = Arc::default();
    harness.tell(Message::Snapshot(Arc::new(snapshot)));
    assert!(
        harness.screen().contains("It is gone"),
        "{}",
        harness.screen()
    );
    harness.keys("<esc>");
    assert!(!harness.screen().contains("It is gone"));
}

#[test]
fn the_next_console_remembers_order_columns_and_filter() {
    let mut harness = Harness::night();
    harness.keys("3:sort prio<enter>O:columns job<enter>/status:running<enter>4n6vv");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/console.json");
    harness.app.memory().save(&path).unwrap();
    let remembered = SavedState::load(&path).unwrap();
    let mut next = Harness::night();
    next.app = next.app.clone().with_memory(remembered);
    next.keys("6");
    assert!(next.screen().contains("error and up"), "{}", next.screen());
    harness.keys("3");
    next.keys("3");
    assert!(next.screen().contains("1 column hidden") && next.screen().contains("PRIv"));
    assert_eq!(next.app.memory(), harness.app.memory());
}

#[test]
fn the_next_console_remembers_a_day_of_counts_and_reads_what_an_earlier_version_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("console.json");
    let earlier = r#"{"views":{"steps":{"filter":"held"}},"mouse":true,
        "counts":[{"minute":29557574,"waiting":7,"dead":1,"tasks":2}]}"#;
    std::fs::write(&path, earlier).unwrap();
    let mut first = Harness::night();
    first.app = first
        .app
        .clone()
        .with_memory(SavedState::load(&path).unwrap());
    first.keys("3");
    assert!(first.screen().contains("/held"), "{}", first.screen());

    first.tell(Message::Snapshot(fixture::snapshot()));
    first.app.memory().save(&path).unwrap();
    let mut next = Harness::new(Options::default(), fixture::calm());
    next.app = next
        .app
        .clone()
        .with_memory(SavedState::load(&path).unwrap());
    next.now += jiff::SignedDuration::from_hours(5);
    next.tell(Message::Snapshot(fixture::calm()));
    next.keys("2j<enter>");
    let shown = next.screen();
    assert!(
        shown.contains("last 24 h") && shown.contains("~128 at most"),
        "{shown}"
    );
    let line = shown
        .lines()
        .find(|line| line.contains("last 24 h"))
        .unwrap();
    assert_eq!(line.matches('█').count(), 1, "five hours ago: {shown}");
}

#[test]
fn another_theme_applies_at_once_and_moves_nothing() {
    let mut harness = Harness::night();
    let (screen, dark) = (harness.screen(), harness.buffer());
    for (name, _) in BUILT_IN.iter().filter(|(name, _)| *name != "dark") {
        harness.keys(&format!(":theme {name}<enter>"));
        assert_ne!(harness.buffer(), dark, "{name}");
        assert_eq!(harness.screen(), screen, "{name}");
    }
    harness.keys(":theme pink<enter>");
    assert!(harness.screen().contains("colour-blind"), "they are named");

    let options = Options {
        depth: Depth::Mono,
        ..Options::default()
    };
    let mut plain = Harness::new(options, fixture::snapshot());
    plain.keys(":theme light<enter>");
    assert!(plain.screen().contains("no colours"), "{}", plain.screen());
}

#[test]
fn a_view_is_written_down_as_screen_csv_or_json_with_its_filter() {
    let mut harness = Harness::night();
    let mut written = |keys: &str| match harness.keys(keys).as_slice() {
        [Effect::Write { path, text }] => (path.to_str().unwrap().to_owned(), text.clone()),
        other => panic!("{other:?}"),
    };
    let (path, csv) = written("4/nightly<enter>:dump csv<enter>");
    assert_eq!(path, "dagster-taskiq-runs-20260314T021730.csv");
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("STATUS,RUN,JOB,STEPS") && lines[1].contains("nightly_etl"));
    let (path, json) = written(":dump json mine.json<enter>");
    assert_eq!(path, "mine.json");
    let rows: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 2);
    assert_eq!(rows[0]["job"], "nightly_etl");
    let (_, screen) = written(":dump<enter>");
    assert_eq!(screen, harness.screen());
    harness.keys("1:dump csv<enter>");
    assert!(harness.screen().contains("Overview is no table"));
}

#[test]
fn a_sequence_of_keys_is_one_command_and_waits_visibly() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.yaml");
    std::fs::write(&path, "queues: zq\n").unwrap();
    let mut harness = Harness::night();
    harness.app = harness.app.clone().with_keys(Keymap::load(&path).unwrap());
    harness.keys("z");
    assert!(
        harness.screen().contains("z \u{2026}  Esc gives up"),
        "{}",
        harness.screen()
    );
    harness.keys("q");
    assert_eq!(harness.app.view(), View::Queues);
    harness.keys("1z<esc>2");
    assert_eq!(
        harness.app.view(),
        View::Overview,
        "2 was given to nobody else"
    );
    std::fs::write(&path, "queues: g\n").unwrap();
    let error = Keymap::load(&path).unwrap_err().to_string();
    assert!(
        error.contains("keys.yaml") && error.contains("top (built in)"),
        "{error}"
    );
}

#[test]
fn logs_follow_until_the_cursor_moves_up_and_again_at_the_end() {
    let mut harness = Harness::night();
    harness.keys("6");
    assert!(harness.screen().contains("paused by admin@bastion"));
    harness.keys("<up><pgup>");
    assert!(harness.screen().contains("held still"));
    assert!(!harness.screen().contains("paused by admin@bastion"));
    harness.keys("G");
    assert!(
        harness.screen().contains("follow") && harness.screen().contains("paused by admin@bastion")
    );
    harness.keys(":level error<enter>");
    assert!(harness.screen().contains("SIGKILL") && !harness.screen().contains("epoch"));
}

#[test]
fn a_run_leads_to_its_steps_a_step_to_its_log_lines_and_escape_back_with_the_filters() {
    let mut harness = wide();
    harness.keys("3/status:running<enter>4/nightly<enter>t");
    assert_eq!(harness.app.view(), View::Steps);
    let screen = harness.screen();
    assert!(
        screen.contains("Runs \u{2192} c31f5b88 \u{2192} Steps"),
        "{screen}"
    );
    assert!(screen.contains("/run:c31f5b88"), "{screen}");
    assert!(!screen.contains("train_gradient_boosting"), "{screen}");
    harness.keys("/<c-u>exchange status:running<enter>L");
    assert_eq!(harness.app.view(), View::Logs);
    assert!(
        harness
            .screen()
            .contains("Steps \u{2192} fetch_exchange_rates \u{2192} Logs")
    );
    // What is remembered is not the way through one run.
    let memory = serde_json::to_string(&harness.app.memory()).unwrap();
    assert!(!memory.contains("c31f5b88") && memory.contains("status:running"));
    harness.keys("<esc>");
    assert_eq!(harness.app.view(), View::Steps);
    assert!(harness.screen().contains("/exchange status:running"));
    harness.keys("<esc>");
    assert_eq!(harness.app.view(), View::Runs);
    assert!(harness.screen().contains("/nightly"));
    harness.keys("<esc><esc>");
    assert_eq!(harness.app.view(), View::Overview);
    harness.keys("3");
    assert!(harness.screen().contains("/status:running"));
}

#[test]
fn another_view_by_its_name_ends_the_way_and_brings_the_filter_back() {
    let mut harness = wide();
    harness.keys("4t5<esc>");
    assert_eq!(harness.app.view(), View::Overview);
    harness.keys("3");
    assert!(!harness.screen().contains("/run:"));
}

#[test]
fn the_palette_finds_a_command_by_some_letters_of_another_name_of_it() {
    let mut harness = Harness::night();
    harness.keys("1:dlq<enter>");
    assert_eq!(harness.app.view(), View::DeadLetters);
    harness.keys(":expo");
    assert!(
        harness.screen().contains("dump [screen|csv|json]"),
        "{}",
        harness.screen()
    );
}

#[test]
fn log_lines_tell_date_and_milliseconds_or_no_time_and_are_copied() {
    let mut harness = Harness::night();
    harness.keys("6");
    let before = harness.screen();
    harness.keys("t");
    assert!(
        harness.screen().contains("2026-03-14 02:1"),
        "{}",
        harness.screen()
    );
    harness.keys("t");
    assert!(!harness.screen().contains("02:1"), "{}", harness.screen());
    harness.keys("t");
    assert_eq!(harness.screen(), before);
    let copied = harness.keys("y");
    assert!(matches!(copied.as_slice(), [Effect::Copy(text)] if text.contains("paused by admin")));
}

#[test]
fn the_question_before_a_step_is_cancelled_shows_how_a_script_does_it() {
    let mut harness = wide();
    harness.keys("3jX");
    let screen = harness.screen();
    let line = screen.lines().find(|line| line.contains("worker cancel"));
    assert!(line.is_some_and(|line| line.contains("etl-")), "{screen}");
}

#[test]
fn the_palette_completes_what_follows_a_name() {
    let mut harness = Harness::night();
    harness.keys(":theme ");
    let screen = harness.screen();
    for theme in ["dark", "light", "colour-blind"] {
        assert!(screen.contains(&format!("theme {theme}")), "{screen}");
    }
    harness.keys("hc<tab>");
    assert!(
        harness.screen().contains(" : theme high-contrast"),
        "{}",
        harness.screen()
    );
    harness.keys("<esc>4:sort dur<enter>:<up>");
    assert!(
        harness.screen().contains(" : sort duration"),
        "{}",
        harness.screen()
    );
    // The name alone stays what Enter means where nothing must follow.
    harness.keys("<esc>4:status <enter>");
    assert!(
        harness.screen().contains("status:unfinished"),
        "{}",
        harness.screen()
    );
    harness.keys("<esc>4:status <down><down><enter>");
    assert!(
        harness.screen().contains("status:failure"),
        "{}",
        harness.screen()
    );
    harness.keys("<esc>:launch fan<enter>");
    assert!(
        harness.screen().contains("fan_out_demo"),
        "{}",
        harness.screen()
    );

    let mut snapshot = (*fixture::snapshot()).clone();
    let drain = &mut Arc::make_mut(&mut snapshot.audit)[0];
    drain.archive = Some("/a/tasks-1.jsonl".into());
    harness.tell(Message::Snapshot(Arc::new(snapshot)));
    harness.keys("<esc><esc>:restore <down><enter>");
    let screen = harness.screen();
    assert!(screen.contains("/a/tasks-1.jsonl are sent"), "{screen}");
}
