#![expect(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::PermissionsExt;

use tokio::sync::mpsc::Receiver;
use tracing::subscriber::with_default;

use super::*;
use crate::domain::{Event, LogLevel, LogLine};

fn to_sink(filter: Option<&str>) -> (Options, Receiver<Event>) {
    let (sink, events) = EventSink::channel();
    let options = Options {
        filter: filter.map(str::to_owned),
        sink: Some(sink),
        ..Options::default()
    };
    (options, events)
}

fn lines(mut events: Receiver<Event>) -> Vec<LogLine> {
    std::iter::from_fn(|| events.try_recv().ok())
        .filter_map(|event| match event {
            Event::Log { line } => Some(line),
            _ => None,
        })
        .collect()
}

#[test]
fn a_line_knows_its_run_and_step_from_the_event_or_the_spans_around_it() {
    let (options, events) = to_sink(None);
    let (subscriber, _guard) = super::subscriber(options).unwrap();
    with_default(subscriber, || {
        let run = tracing::info_span!("run", run_id = "r1").entered();
        let step = tracing::info_span!("step", step_key = tracing::field::Empty).entered();
        step.record("step_key", "a");
        tracing::info!(count = 3, "inside");
        tracing::warn!(step_key = "b", "its own");
        drop((step, run));
        tracing::error!("outside");
    });
    let seen: Vec<_> = lines(events)
        .into_iter()
        .map(|line| (line.level, line.message, line.run_id, line.step_key))
        .collect();
    let some = |text: &str| Some(text.to_owned());
    let expected = [
        (
            LogLevel::Info,
            "inside count=3".to_owned(),
            some("r1"),
            some("a"),
        ),
        (LogLevel::Warn, "its own".to_owned(), some("r1"), some("b")),
        (LogLevel::Error, "outside".to_owned(), None, None),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn by_default_libraries_log_only_when_something_is_wrong() {
    let (options, events) = to_sink(None);
    let (subscriber, _guard) = super::subscriber(options).unwrap();
    with_default(subscriber, || {
        tracing::info!(target: "hyper", "chatter");
        tracing::warn!(target: "hyper", "trouble");
        tracing::debug!("detail");
        tracing::info!("ours");
    });
    let messages: Vec<String> = lines(events).into_iter().map(|line| line.message).collect();
    assert_eq!(messages, ["trouble", "ours"]);
}

#[test]
fn the_file_holds_what_was_logged_once_the_guard_is_gone() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("state/log");
    let options = Options {
        folder: Some(folder.clone()),
        ..Options::default()
    };
    let (subscriber, guard) = super::subscriber(options).unwrap();
    with_default(subscriber, || tracing::info!(run_id = "r1", "to the file"));
    assert_eq!(guard.dropped_lines(), 0);
    drop(guard);
    let file = std::fs::read_dir(&folder)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    let named = regex::Regex::new(r"^dagster-taskiq-tui\.\d{4}-\d\d-\d\d\.log$").unwrap();
    assert!(named.is_match(&name), "{name}");
    let text = std::fs::read_to_string(file).unwrap();
    assert!(
        text.contains("to the file") && text.contains("r1"),
        "{text}"
    );
    let mode = std::fs::metadata(folder).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn neither_the_file_nor_the_lines_hold_a_secret_that_was_logged() {
    let folder = tempfile::tempdir().unwrap();
    let (mut options, events) = to_sink(None);
    options.folder = Some(folder.path().to_owned());
    let (subscriber, guard) = super::subscriber(options).unwrap();
    with_default(subscriber, || {
        tracing::error!(password = "hunter2", "postgresql://u:hunter2@db/x refused");
        let error = io::Error::other("token=hunter2");
        tracing::warn!(error = &error as &dyn std::error::Error, "plain");
    });
    drop(guard);
    let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap();
    let text = std::fs::read_to_string(file.path()).unwrap();
    assert!(!text.contains("hunter2"), "{text}");
    assert_eq!(text.lines().count(), 2);
    assert!(text.contains("postgresql://u:(redacted)@db/x refused"));
    let shown: Vec<String> = lines(events).into_iter().map(|line| line.message).collect();
    assert_eq!(shown.len(), 2);
    assert!(!shown.join("").contains("hunter2"), "{shown:?}");
}

#[test]
fn a_json_line_has_the_fields_of_its_task_beside_its_own_and_stays_json_without_its_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        folder: Some(folder.path().to_owned()),
        format: LogFormat::Json,
        ..Options::default()
    };
    let (subscriber, guard) = super::subscriber(options).unwrap();
    with_default(subscriber, || {
        let step: Option<&str> = Some("a");
        let task = tracing::info_span!("task", run_id = "r1", step_key = step, attempt = 2);
        let _entered = task.entered();
        tracing::info!(
            run_id = "r1",
            count = 3,
            "said \"password\": \"hunter2\", and so on"
        );
        let error = io::Error::other("{\"token\": \"hunter2\"}");
        tracing::warn!(
            password = "hunter2",
            "postgresql://u:hunter2@db/x: {error:?}"
        );
    });
    drop(guard);
    let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap();
    let text = std::fs::read_to_string(file.path()).unwrap();
    assert!(!text.contains("hunter2"), "{text}");
    assert_eq!(text.matches("\"run_id\"").count(), 2, "{text}");
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    for line in &lines {
        assert_eq!(line["run_id"], "r1");
        assert_eq!(line["step_key"], "a");
        assert_eq!(line["attempt"], 2);
    }
    assert_eq!(lines[0]["count"], 3);
    assert_eq!(lines[0]["level"], "INFO");
    let message = lines[1]["message"].as_str().unwrap();
    assert!(
        message.starts_with("postgresql://u:(redacted)@db/x"),
        "{message}"
    );
}

/// The text of the file to which a worker logs `events`.
fn logged(format: LogFormat, events: impl FnOnce()) -> String {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        folder: Some(folder.path().to_owned()),
        format,
        worker: Some("etl-1".to_owned()),
        ..Options::default()
    };
    let (subscriber, guard) = super::subscriber(options).unwrap();
    with_default(subscriber, events);
    drop(guard);
    let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap();
    std::fs::read_to_string(file.path()).unwrap()
}

#[test]
fn no_key_of_a_json_line_occurs_twice_whatever_the_fields_of_its_event_and_spans() {
    let text = logged(LogFormat::Json, || {
        let outer = tracing::info_span!("outer", run_id = "r1", attempt = 1, level = "l");
        let _outer = outer.entered();
        let inner = tracing::info_span!("task", run_id = "r2", timestamp = "t");
        let _inner = inner.entered();
        tracing::warn!(
            run_id = "r3",
            target = "t",
            worker = "w",
            r#type = 2,
            "said"
        );
        tracing::warn!("said");
    });
    let keys = regex::Regex::new(r#""([^"]+)":"#).unwrap();
    for line in text.lines() {
        let mut found: Vec<&str> = keys
            .captures_iter(line)
            .map(|found| found.extract::<1>().1[0])
            .collect();
        found.sort_unstable();
        let all = found.len();
        found.dedup();
        assert_eq!(found.len(), all, "{line}");
        assert!(!found.contains(&"name"), "{line}");
    }
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (&lines[0]["run_id"], &lines[1]["run_id"]),
        (&"r3".into(), &"r2".into()),
        "the innermost is meant"
    );
    let first = &lines[0];
    assert_eq!(
        (&first["level"], &first["field_level"]),
        (&"WARN".into(), &"l".into())
    );
    assert_eq!((&first["attempt"], &first["type"]), (&1.into(), &2.into()));
}

#[test]
fn a_line_of_text_is_one_line_whatever_is_in_its_message_and_fields() {
    let text = logged(LogFormat::Text, || {
        let task = tracing::info_span!("task", step = %"a\nb");
        let _entered = task.entered();
        tracing::error!(field = %"c\r\nd", "first\nsecond\u{b}\u{2028}\tthird\n");
    });
    assert_eq!(text.lines().count(), 1, "{text:?}");
    assert!(text.ends_with('\n'), "{text:?}");
    for part in ["a\\nb", "c\\r\\nd", "first\\nsecond\\u{b}\\u{2028}\tthird"] {
        assert!(text.contains(part), "{part}: {text:?}");
    }
}

#[test]
fn every_line_names_the_worker_beside_its_time() {
    let text = logged(LogFormat::Text, || tracing::info!("said"));
    let line = regex::Regex::new(r"^\S+Z etl-1  INFO dagster_taskiq_tui::\S+: said\n$").unwrap();
    assert!(line.is_match(&text), "{text:?}");
    let text = logged(LogFormat::Json, || tracing::info!("said"));
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&line["worker"], &line["message"]),
        (&"etl-1".into(), &"said".into())
    );
}

#[test]
fn no_more_files_are_kept_than_requested() {
    let folder = tempfile::tempdir().unwrap();
    for day in 1..=5 {
        let name = format!("{PROGRAM}.2026-01-0{day}.log");
        std::fs::write(folder.path().join(name), "old").unwrap();
    }
    let options = Options {
        folder: Some(folder.path().to_owned()),
        files: 3,
        ..Options::default()
    };
    let (subscriber, guard) = super::subscriber(options).unwrap();
    with_default(subscriber, || tracing::info!("today"));
    drop(guard);
    let files = std::fs::read_dir(&folder).unwrap().count();
    assert!(files <= 3, "{files}");
    let texts = std::fs::read_dir(&folder).unwrap();
    let mut texts = texts.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    assert!(texts.any(|text| text.contains("today")));
}

#[test]
fn a_bad_filter_or_folder_is_a_sentence() {
    let (options, _events) = to_sink(Some("no=such=filter"));
    let refusal = super::subscriber(options)
        .map(|_| ())
        .unwrap_err()
        .to_string();
    assert!(
        refusal.starts_with("\"no=such=filter\" is no log filter"),
        "{refusal}"
    );
    let parent = tempfile::NamedTempFile::new().unwrap();
    let options = Options {
        folder: Some(parent.path().join("log")),
        ..Options::default()
    };
    let refusal = super::subscriber(options)
        .map(|_| ())
        .unwrap_err()
        .to_string();
    assert!(refusal.contains("--log-dir"), "{refusal}");
}
