//! A command has one name: in the hint bar, the palette, help, the documents and on the command line.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use dagster_taskiq_tui::cli;
use dagster_taskiq_tui::console::command::{self, COMMANDS, CommandRow};
use dagster_taskiq_tui::console::view::View;
use dagster_taskiq_tui::domain::{Command, Instigator, JobRef, Launch, Reply, SlotRange};
use dagster_taskiq_tui::protocol::audit::own_entry;

use super::fixture;
use super::harness::{Harness, Options};

/// Commands of the command line that only print what a view shows, or that need no console.
const OTHERS: [&str; 23] = [
    "alarm",
    "alarm test",
    "broker",
    "config",
    "context list",
    "dagster status",
    "queue create",
    "queue list",
    "queue show",
    "run failures",
    // A key of the page that explains.
    "run free-slot",
    "run jobs",
    "run list",
    "run show",
    "step usage",
    "worker list",
    "worker status",
    "broker reset",
    "broker serve",
    "broker status",
    "broker stop",
    "config check",
    "config init",
];

fn text(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The sections of the reference, by the command's words.
fn command_line() -> BTreeMap<String, String> {
    let reference = text("docs/reference/commands.md");
    let sections = reference.split("\n## `dagster-taskiq-tui").skip(1);
    let named = sections.filter_map(|section| {
        let (name, text) = section.split_once('`')?;
        Some((name.trim().to_owned(), text.to_owned()))
    });
    named.collect()
}

/// The words of a name without its flags.
fn path_of(row: &CommandRow) -> String {
    let words = row.name.split(' ').filter(|word| !word.starts_with("--"));
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_command_that_the_command_line_has_too_has_its_words_as_its_name() {
    let known = command_line();
    let several = COMMANDS.iter().filter(|row| row.name.contains(' '));
    let mut paths = BTreeSet::new();
    for row in several {
        let path = path_of(row);
        let section = known
            .get(&path)
            .unwrap_or_else(|| panic!("there is no `{path}`"));
        for flag in row.name.split(' ').filter(|word| word.starts_with("--")) {
            assert!(
                section.contains(&format!("* `{flag}")),
                "{path} has no {flag}"
            );
        }
        paths.insert(path);
    }
    let verbs = known.keys().filter(|name| name.contains(' '));
    for name in verbs.filter(|name| !OTHERS.contains(&name.as_str()) && !name.starts_with("config"))
    {
        assert!(
            paths.contains(name),
            "`{name}` has no command of that name in the console"
        );
    }
}

/// A command of each kind.
fn every_command() -> Vec<Command> {
    let (queue, run_id, step_key) = (String::from("q"), String::from("r"), String::from("s"));
    let name = || String::from("n");
    let job = JobRef {
        location: name(),
        repository: name(),
        job: name(),
    };
    let switch = |is_sensor, on: bool| Command::Switch {
        instigator: Instigator {
            location: name(),
            repository: name(),
            name: name(),
            state_id: name(),
            is_sensor,
            is_on: !on,
        },
        on,
    };
    vec![
        Command::Pause,
        Command::Resume,
        Command::Scale { steps: 1 },
        Command::ScaleWithin {
            range: SlotRange { min: 1, max: 2 },
        },
        Command::Drain { within: None },
        Command::Restart { within: None },
        Command::Kill,
        Command::Stop,
        Command::Reload,
        Command::StartWorker,
        Command::CancelTask { task_id: name() },
        Command::PauseQueue {
            queue: queue.clone(),
            by: name(),
            reason: None,
        },
        Command::ResumeQueue {
            queue: queue.clone(),
        },
        Command::DrainQueue {
            queue: queue.clone(),
            keep_waiting: false,
        },
        Command::PurgeQueue {
            queue: queue.clone(),
            keep_waiting: false,
        },
        Command::PeekByReceiving {
            queue: queue.clone(),
            limit: 1,
            message_id: None,
        },
        Command::Redrive {
            queue: queue.clone(),
            messages: Vec::new(),
            to: None,
        },
        Command::Redrive {
            queue: queue.clone(),
            messages: vec![name(); 2],
            to: Some(name()),
        },
        Command::Resend {
            queue,
            message_id: name(),
            body: name(),
            to: None,
        },
        Command::RestoreArchive {
            file: name(),
            to: None,
            again: false,
        },
        Command::LaunchRun(Launch::job(job)),
        Command::ReexecuteRun {
            run_id: run_id.clone(),
            from_failure: false,
            if_open: false,
        },
        Command::TerminateRuns {
            run_ids: vec![run_id.clone(); 5],
            force: false,
        },
        Command::ReloadLocation { location: name() },
        switch(false, true),
        switch(true, false),
        Command::FreeSlot { run_id, step_key },
        Command::AcknowledgeAlarm {
            alarm: name(),
            until: None,
            by: name(),
        },
    ]
}

#[test]
fn the_audit_log_calls_a_command_by_its_name() {
    // Fails to compile when a command is added: it belongs into the list above.
    let is_listed = |command: &Command| match command {
        Command::Pause
        | Command::Resume
        | Command::Scale { .. }
        | Command::ScaleWithin { .. }
        | Command::Drain { .. }
        | Command::Restart { .. }
        | Command::Kill
        | Command::Stop
        | Command::Reload
        | Command::StartWorker
        | Command::CancelTask { .. }
        | Command::PauseQueue { .. }
        | Command::ResumeQueue { .. }
        | Command::DrainQueue { .. }
        | Command::PurgeQueue { .. }
        | Command::PeekByReceiving { .. }
        | Command::Redrive { .. }
        | Command::Resend { .. }
        | Command::RestoreArchive { .. }
        | Command::LaunchRun(_)
        | Command::ReexecuteRun { .. }
        | Command::TerminateRuns { .. }
        | Command::ReloadLocation { .. }
        | Command::Switch { .. }
        | Command::FreeSlot { .. }
        | Command::AcknowledgeAlarm { .. } => true,
        Command::Query(_) => false,
    };
    let known = command_line();
    for command in every_command() {
        assert!(is_listed(&command), "a query is not audited");
        let reply = Reply::Done(String::new());
        let entry = own_entry("w-1", &command, &reply).expect("it changes something");
        let name = entry.verb.as_str();
        let is_console = COMMANDS.iter().any(|row| row.name == name);
        // A key of the page that explains has no row.
        let is_known = is_console || name == "run free-slot";
        assert!(is_known && known.contains_key(name), "{name}");
    }
}

#[test]
fn a_command_has_one_danger_and_the_command_line_takes_the_line_of_it() {
    for command in every_command() {
        let name = command.verb();
        // A look asks only before it receives.
        let is_look = matches!(command, Command::PeekByReceiving { .. });
        let row = COMMANDS.iter().find(|row| row.name == name && !is_look);
        let danger = row.map_or(command.danger(), |row| row.danger);
        assert_eq!(danger, command.danger(), "{name}");
        let Some(line) = command.command_line(Some("one")) else {
            // Its form has more than fits in a line.
            assert!(matches!(command, Command::LaunchRun(_)), "{name}");
            continue;
        };
        assert!(
            line.starts_with(&format!("dagster-taskiq-tui {name}")),
            "{line}"
        );
        let words = line.split(' ').map(|word| word.trim_matches('\''));
        if let Err(problem) = cli::command().try_get_matches_from(words) {
            panic!("{line}: {problem}");
        }
    }
}

#[test]
fn the_hint_bar_the_palette_and_help_call_a_command_by_its_name() {
    let options = Options {
        size: (400, 240),
        ..Options::default()
    };
    for view in View::ALL {
        let mut harness = Harness::new(options, fixture::snapshot());
        harness.keys(&view.digit().to_string());
        let screen = harness.screen();
        let bar = screen.trim_end().lines().last().unwrap().to_owned() + "  ";
        for row in command::hints(view) {
            let hint = row.hint(view);
            let key = row.keys().next().unwrap();
            assert!(
                bar.contains(&format!(" {key} {hint}  ")),
                "{key} {hint}: {bar}"
            );
            let is_its_end = row.name.ends_with(&format!(" {hint}"));
            assert!(hint == row.name || is_its_end, "{hint} is not {}", row.name);
        }
        harness.keys("?");
        let help = harness.screen();
        let here = || COMMANDS.iter().filter(|row| row.scope.covers(view));
        for row in here() {
            assert!(
                help.contains(&format!("  {}", row.name)),
                "{}: {help}",
                row.name
            );
        }
        // What is typed is found on a screen of any size, and there are hundreds.
        let mut small = Harness::new(Options::default(), fixture::snapshot());
        small.keys(&view.digit().to_string());
        for row in here() {
            small.keys(&format!("<esc>:{}", row.name));
            let screen = small.screen();
            let first = format!("▌ {} ", row.name);
            assert!(screen.contains(&first), "{first}: {screen}");
        }
    }
}

#[test]
fn the_documents_name_commands_as_the_console_does() {
    let pages = ["alarms", "attach", "console", "dead-letters", "workers"];
    let pages = pages.map(|page| format!("docs/guide/{page}.md"));
    let readme = String::from("README.md");
    for page in pages.iter().chain([&readme]) {
        let text = text(page);
        let quoted = text.split('`').skip(1).step_by(2);
        for line in quoted.filter_map(|words| words.strip_prefix(':')) {
            let is_named = |row: &&CommandRow| {
                let rest = line.strip_prefix(row.name);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
            };
            let is_command = line.is_empty() || COMMANDS.iter().any(|row| is_named(&row));
            assert!(
                is_command,
                "{page} names `:{line}`, which is no command's name"
            );
        }
    }
}

#[test]
fn former_names_are_understood() {
    let mut harness = Harness::night();
    harness.keys("2:drain-queue<enter>");
    assert!(
        harness.screen().contains("Drain the queue"),
        "{}",
        harness.screen()
    );
    harness.keys("<esc>:queue drain keep-waiting<enter>");
    assert!(
        harness.screen().contains("go on waiting"),
        "{}",
        harness.screen()
    );
}
