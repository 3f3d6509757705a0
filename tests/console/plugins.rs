//! The operator's own commands on a row of a view.

use std::fs;
use std::path::Path;

use dagster_taskiq_tui::console::app::Effect;
use dagster_taskiq_tui::console::plugins::Call;

use super::alone::console;
use super::fixture;
use super::harness::{Harness, Options};
use super::support::scene::Scene;
use super::support::{PATIENCE, wait_until};

const PLUGINS: &str = "\
ticket:
  run: [jira, create, --summary, '{job} failed', --label, '{run_id}']
  views: [runs, steps]
  key: <c-t>
  help: open a ticket about the run
look:
  run: [less, '{run_id}']
  views: [runs]
  danger: safe
  key: v
forget:
  run: [rm-run, '{run_id}']
  views: [runs]
  danger: destructive
  key: Q
";

const RUN: &str = "4f0c81aa-51b2-4c58-9a3b-8a7be0f1d201";

/// The night, with commands of the operator's own.
fn night(options: Options) -> Harness {
    night_with(options, PLUGINS)
}

fn night_with(options: Options, plugins: &str) -> Harness {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plugins.yaml");
    fs::write(&file, plugins).unwrap();
    let mut harness = Harness::new(options, fixture::snapshot());
    harness.app = harness.app.clone().with_plugins(&file).unwrap();
    harness.keys("4/run:4f0c<enter>");
    harness
}

fn calls(harness: &mut Harness, keys: &str) -> Vec<Call> {
    let effects = harness.keys(keys).into_iter();
    effects
        .filter_map(|effect| match effect {
            Effect::Run(call) => Some(*call),
            _ => None,
        })
        .collect()
}

fn says(harness: &Harness, text: &str) {
    let screen = harness.screen();
    assert!(screen.contains(text), "{text}: {screen}");
}

#[test]
fn they_are_in_hint_bar_help_and_palette_of_their_views() {
    let mut harness = night(Options::default());
    let screen = harness.screen();
    let bar = screen.trim_end().lines().last().unwrap();
    assert!(bar.contains(" Ctrl-t ticket  v look  Q forget  "), "{bar}");
    harness.keys("?");
    says(&harness, "open a ticket about the run");
    harness.keys("<esc>:tick");
    says(&harness, "▌ ticket");
    says(&harness, "open a ticket about the run");
    harness.keys("<esc>2");
    assert!(!harness.screen().contains("ticket"), "{}", harness.screen());
    assert_eq!(calls(&mut harness, "<c-t>"), []);
    harness.keys(":ticket<enter>");
    says(&harness, "`ticket` works in: Runs, Steps");
}

#[test]
fn what_changes_something_is_confirmed_with_its_command_line_and_takes_a_reason() {
    let mut harness = night(Options::default());
    assert_eq!(calls(&mut harness, "<c-t>"), []);
    says(&harness, "Run ticket?");
    says(&harness, "$ jira create --summary 'nightly_etl failed'");
    let sent = calls(&mut harness, "<tab>third time<enter>y");
    let [call] = sent.as_slice() else {
        panic!("{sent:?}: {}", harness.screen());
    };
    let summary = "nightly_etl failed";
    assert_eq!(
        call.words,
        ["jira", "create", "--summary", summary, "--label", RUN]
    );
    assert_eq!(call.reason.as_deref(), Some("third time"));
    let target = call.target.as_deref().unwrap();
    assert!(
        target.starts_with(&format!("run {RUN}: jira create")),
        "{target}"
    );
    says(&harness, "ticket runs");
    // What changes nothing runs at once, and is not recorded.
    let sent = calls(&mut harness, "v");
    assert_eq!((sent.len(), sent[0].target.as_ref()), (1, None));
    says(&harness, "ticket +1 run");
    harness.keys("q");
    says(&harness, "2 commands of yours still under way");
    assert_eq!(harness.keys("q").len(), 1, "the second one leaves");
}

#[test]
fn what_asks_nothing_takes_its_reason_from_its_line() {
    let plugins = "note: {run: [note, '{run_id}'], views: [runs], confirm: false}\n";
    let mut harness = night_with(Options::default(), plugins);
    let sent = calls(&mut harness, ":note --reason third time<enter>");
    assert_eq!(sent.len(), 1, "{}", harness.screen());
    assert_eq!(sent[0].reason.as_deref(), Some("third time"));
    assert!(sent[0].target.is_some(), "it is in the audit log");
}

#[test]
fn what_is_destructive_must_be_typed() {
    let mut harness = night(Options::default());
    assert_eq!(calls(&mut harness, "Qy<enter>"), []);
    says(&harness, "that is not 4f0c81aa");
    assert_eq!(calls(&mut harness, "<c-u>4f0c81aa<enter>").len(), 1);
}

#[test]
fn read_only_refuses_all_that_change_something() {
    let options = Options {
        read_only: true,
        ..Options::default()
    };
    let mut harness = night(options);
    for (keys, name) in [("<c-t>", "ticket"), (":forget<enter>", "forget")] {
        assert_eq!(calls(&mut harness, keys), []);
        says(&harness, &format!("Read-only: `{name}` is refused"));
    }
    assert_eq!(calls(&mut harness, "v").len(), 1);
}

#[test]
fn a_row_without_the_field_or_several_rows_are_refused() {
    let mut harness = night(Options::default());
    harness.keys("/nothing matches this<enter>");
    assert_eq!(calls(&mut harness, "v"), []);
    says(&harness, "look: nothing is under the cursor");
    harness.keys("<esc><esc>*");
    assert_eq!(calls(&mut harness, "v"), []);
    says(&harness, "`look` works on one row");
}

#[test]
fn a_key_that_is_taken_is_refused_with_both_places() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plugins.yaml");
    let app = Harness::night().app;
    let refused = |text: &str| {
        fs::write(&file, text).unwrap();
        app.clone().with_plugins(&file).unwrap_err().to_string()
    };
    let text = refused("ticket:\n  run: [x]\n  views: [runs]\n  key: e\n");
    assert!(
        text.contains("plugins.yaml cannot be used")
            && text.contains("`e` of ticket (line 1 of your commands)")
            && text.contains("`e` of run reexecute (built in)"),
        "{text}"
    );
    let one = "{run: [x], views: [runs], key: zz}";
    let text = refused(&format!("a: {one}\nb: {one}\n"));
    assert!(
        text.contains("a (line 1 of") && text.contains("b (line 2 of"),
        "{text}"
    );
}

/// Commands for the queues of the real console.
fn real_plugins(folder: &Path) -> String {
    let pids = folder.join("pids");
    format!(
        r#"
note:
  run: [sh, -c, 'printf "one\n\033[31mnoted %s\033[0m\n" "$1"', note, "{{name}}"]
  views: [queues]
  key: <c-t>
look:
  run: [sh, -c, '(: </dev/tty) && exec echo a terminal; echo "$DAGSTER_TASKIQ_VIEW $DAGSTER_TASKIQ_ROW_NAME"']
  views: [queues]
  danger: safe
  key: v
broken: {{run: [sh, -c, 'echo why >&2; exit 3'], views: [all], danger: safe}}
late: {{run: [sh, -c, 'sleep 1000 & wait'], views: [all], danger: safe, timeout: 1}}
slow: {{run: [sh, -c, 'sleep 1000 & echo $$ $! >{}; wait'], views: [all], danger: safe}}
"#,
        pids.display()
    )
}

#[test]
fn a_command_of_ones_own_runs_on_a_row_of_the_real_console_and_ends_with_it() {
    let scene = Scene::new("plugged");
    let folder = scene.project.folder().to_owned();
    let wrong = folder.join("wrong.yaml");
    fs::write(&wrong, "note:\n  run: [x]\n  views: [nowhere]\n").unwrap();
    let mut refused = console(&scene, &["--plugins", wrong.to_str().unwrap()]);
    refused.wait_for("line 3: `note`: there is no view `nowhere`");
    refused.wait_for_end();

    // Beside the settings file.
    fs::write(folder.join("plugins.yaml"), real_plugins(&folder)).unwrap();
    let mut careful = console(&scene, &["--read-only"]);
    careful.keys("2");
    careful.wait_for("plugged-dead");
    careful.keys("\x14");
    careful.wait_for("Read-only: `note` is refused");
    careful.keys("v");
    careful.wait_for("look: queues plugged");
    drop(careful);

    let mut console = console(&scene, &[]);
    console.wait_for("No worker was started");
    console.keys("2");
    console.wait_for("plugged-dead");
    console.keys("\x14");
    console.wait_for("Run note?");
    console.keys("y");
    console.wait_for("note: noted plugged");
    let state = folder.join("state/dagster-taskiq-tui");
    let line = wait_until("the line of the audit log", PATIENCE, || {
        let audit = fs::read_to_string(state.join("audit.jsonl")).unwrap_or_default();
        let line = audit.lines().find(|line| line.contains(r#""verb":"note""#));
        line.map(str::to_owned)
    });
    assert!(
        line.contains("queue plugged: sh -c")
            && line.contains(r#""done":true,"text":"noted plugged""#),
        "{line}"
    );
    console.keys(":broken\r");
    console.wait_for("`sh` ended with exit status: 3: why");
    console.keys(":late\r");
    console.wait_for("did not end within 1 s");

    console.keys(":slow\r");
    let pids = wait_until("the processes", PATIENCE, || {
        let pids = fs::read_to_string(folder.join("pids")).unwrap_or_default();
        pids.ends_with('\n').then_some(pids)
    });
    // Meanwhile the console goes on.
    console.keys("5");
    console.wait_for("S starts one");
    console.keys("q");
    console.wait_for("1 command of yours still under way");
    console.keys("q");
    console.wait_for_end();
    for pid in pids.split_whitespace() {
        wait_until("the end of its processes", PATIENCE, || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // A zombie has ended; its new parent has not waited for it yet.
            let rest = stat.rsplit_once(") ").map(|(_, rest)| rest);
            rest.is_none_or(|rest| rest.starts_with('Z')).then_some(())
        });
    }
}
