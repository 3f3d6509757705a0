//! Several deployments: the head line names the one that is shown, and another one is opened anew.

use crate::support;

use std::fs;

use dagster_taskiq_tui::console::app::Effect;
use dagster_taskiq_tui::console::options::Exit;
use dagster_taskiq_tui::console::theme::Depth;
use ratatui::style::{Color, Modifier};
use support::terminal::Terminal;

use super::fixture;
use super::harness::{Harness, Options};

fn shown(options: Options) -> Harness {
    let options = Options {
        context: Some("production"),
        ..options
    };
    Harness::new(options, fixture::snapshot())
}

#[test]
fn the_head_line_begins_with_the_contexts_name_in_its_colour_and_without_colours_too() {
    for size in [(40, 10), (80, 24), (200, 50)] {
        for depth in [Depth::True, Depth::Mono] {
            let harness = shown(Options {
                size,
                depth,
                ..Options::default()
            });
            let screen = harness.screen();
            let head = screen.lines().next().unwrap();
            // The product's name gives way to the sources.
            let next = if size.0 < 80 {
                " demo"
            } else {
                "dagster-taskiq"
            };
            assert!(head.contains(&format!("  production  {next}")), "{head}");
            let buffer = harness.buffer();
            let cell = buffer.cell((3, 0)).unwrap();
            assert!(cell.modifier.contains(Modifier::REVERSED), "{size:?}");
            let is_red = cell.fg == Color::Red;
            assert_eq!(is_red, depth == Depth::True, "{size:?} {depth:?}");
        }
    }
}

#[test]
fn another_context_ends_this_console_and_an_unknown_one_is_refused() {
    let mut harness = shown(Options::default());
    let effects = harness.keys(":context staging<enter>");
    assert!(
        effects.contains(&Effect::Exit(Exit::Context(1))),
        "{effects:?}"
    );
    for (line, words) in [
        (
            ":context<enter>",
            "Contexts: production, staging; here: production",
        ),
        (":context production<enter>", "This is production"),
        (
            ":ctx nowhere<enter>",
            "There is no context `nowhere`: production, staging",
        ),
    ] {
        let effects = harness.keys(line);
        assert!(
            !effects
                .iter()
                .any(|effect| matches!(effect, Effect::Exit(_)))
        );
        let screen = harness.screen();
        assert!(screen.contains(words), "{words}: {screen}");
    }
    let mut none = Harness::new(Options::default(), fixture::snapshot());
    none.keys(":context production<enter>");
    assert!(none.screen().contains("No contexts are known"));
}

#[test]
fn a_console_over_another_context_shows_nothing_of_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.yaml");
    let text = "contexts:\n  staging: {hosts: [old.invalid], colour: green}\n  production: {hosts: [new.invalid], colour: red}\n";
    fs::write(&file, text).unwrap();
    let mut console = support::command();
    console.arg("-y").arg(&file).args(["--context", "staging"]);
    console.env("XDG_STATE_HOME", folder.path().join("state"));
    let mut terminal = Terminal::run(&console);
    terminal.wait_for("old.invalid");
    let screen = terminal.screen();
    assert!(screen.contains("  staging  dagster-taskiq"), "{screen}");
    terminal.keys(":context production\r");
    terminal.wait_for("new.invalid");
    let screen = terminal.screen();
    assert!(screen.contains("  production  dagster-taskiq"), "{screen}");
    assert!(!screen.contains("old.invalid"), "{screen}");
}
