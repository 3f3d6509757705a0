//! What is written from the tables of settings and of the command line: a file to begin with, the
//! JSON schema, completions and manual pages.

use super::{program, shown, texts, written};
use crate::support::{self, python};

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

#[test]
fn config_init_writes_the_defaults_and_never_over_a_file_unless_forced() {
    let folder = TempDir::new().unwrap();
    let init = |words: &[&str]| {
        let mut command = program(&["config", "init"]);
        command.current_dir(folder.path()).args(words);
        command.output().unwrap()
    };
    assert!(init(&[]).status.success());
    let path = folder.path().join("dagster-taskiq.yaml");
    let text = fs::read_to_string(&path).unwrap();

    fs::write(&path, "slots: 1\n").unwrap();
    let refused = init(&[]);
    let (_, errors) = texts(&refused);
    assert!(
        !refused.status.success() && errors.contains("--force"),
        "{errors}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), "slots: 1\n");
    assert!(init(&["--force"]).status.success());
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    let (_, errors) = texts(&init(&["nowhere/c.yaml"]));
    assert!(errors.contains("cannot write nowhere/c.yaml"), "{errors}");

    // As it is, and with each default in force, it changes nothing; every example can be used.
    let defaults = shown(&mut program(&["config", "show"]));
    let with = |text: &str| {
        fs::write(&path, text).unwrap();
        let check = program(&["config", "check"]).arg(&path).output().unwrap();
        assert!(check.status.success(), "{}", texts(&check).0);
        shown(program(&["config", "show", "-y"]).arg(&path))
    };
    assert_eq!(with(&text), defaults);
    let is_setting = |line: &str| {
        let key = line.strip_prefix('#').and_then(|line| line.split_once(':'));
        key.is_some_and(|(key, _)| defaults.get(key).is_some())
    };
    let (mut of_defaults, mut all) = (vec![], vec![]);
    let mut before = "";
    for line in text.lines() {
        if is_setting(line) {
            all.push(&line[1..]);
            if !before.starts_with("# Default: ") {
                of_defaults.push(&line[1..]);
            }
        }
        before = line;
    }
    assert_eq!(all.len(), defaults.as_object().unwrap().len());
    assert_eq!(with(&of_defaults.join("\n")), defaults);
    assert_ne!(with(&all.join("\n")), defaults);
    // Each can be the only one that is taken into use.
    for line in &all {
        with(line);
    }
}

/// Verdicts of Python's jsonschema, as an editor's.
const VALIDATE: &str = "
import json, sys, jsonschema, yaml
schema, texts = json.load(sys.stdin)
jsonschema.Draft7Validator.check_schema(schema)
validator = jsonschema.Draft7Validator(schema)
print(json.dumps([validator.is_valid(yaml.safe_load(text)) for text in texts]))
";

#[test]
fn the_schema_takes_what_the_program_takes_and_describes_every_setting() {
    let (schema, _) = texts(&program(&["config", "schema"]).output().unwrap());
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let defaults = shown(&mut program(&["config", "show"]));
    for key in defaults.as_object().unwrap().keys() {
        assert!(schema["else"]["properties"].get(key).is_some(), "{key}");
        let described = &schema["definitions"][key]["description"];
        assert!(
            described.as_str().is_some_and(|text| text.len() > 10),
            "{key}"
        );
    }
    let empty = defaults.as_object().unwrap().keys();
    let empty: Vec<String> = empty.map(|key| format!("{key}:\n")).collect();
    let files = [
        "",
        "slots: 3\nworkers_: 2\n",
        "workers: 3\nqueues: {a: 'http://h/1/a'}\nsubscribe: [{env: HOME}]\n",
        "visibility_timeout: 9\n",
        "ring_for: [backlog, dead-letters]\nring: [bell]\n",
        "ring: [gong]\n",
        "priority_bands: [{name: high, min: 8}, {name: normal}]\n",
        "priority_bands: [{min: 8}, {name: normal}]\n",
        "run_slots: '3'\n",
        "execution: {config: {slots: 2, retries: {}}}\nops: {}\n",
        "execution: {config: {slots: two}}\n",
        "slots: 2..16\n",
        "execution: {config: {}}\nslots: 2\n",
        "config_source: {a: [1, {b: c}]}\nread_only: true\n",
        "name: {env: HOME, or: x}\n",
        "- slots\n",
        "queue_url: {env: }\n",
        "allow_locations: [{env: }]\n",
        "allow_locations: [~]\n",
        "queues: {gpu: }\n",
        "priority_bands: [{name: }]\n",
        "alarms: {clock: , disabled: , old_message_by_queue: }\n",
        "alarms: {old_message_by_queue: {tasks: }}\n",
        "alarm_hooks: [{name: a, url: , command: [x], template: }]\n",
        "contexts: {staging: {hosts: , colour: }}\n",
        "contexts: {staging: }\n",
    ];
    let files = files
        .iter()
        .copied()
        .chain(empty.iter().map(String::as_str));
    let files: Vec<&str> = files.collect();
    let folder = TempDir::new().unwrap();
    let verdicts = files.iter().map(|text| {
        let file = written(&folder, text);
        let check = program(&["config", "check"]).arg(file).output().unwrap();
        check.status.success()
    });
    let verdicts: Vec<bool> = verdicts.collect();
    assert!(verdicts.contains(&true) && verdicts.contains(&false));
    let mut python = Command::new(python());
    let python = python
        .args(["-c", VALIDATE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut python = python.spawn().unwrap();
    serde_json::to_writer(python.stdin.take().unwrap(), &(schema, &files)).unwrap();
    let output = python.wait_with_output().unwrap();
    let theirs: Vec<bool> = serde_json::from_slice(&output.stdout).unwrap();
    for ((file, ours), theirs) in files.iter().zip(verdicts).zip(theirs) {
        assert_eq!(ours, theirs, "{file}");
    }
}

#[test]
fn bash_loads_the_completions_and_the_manual_page_is_one() {
    for (name, function) in [
        ("dagster-taskiq-tui", "_dagster__taskiq__tui"),
        ("dagster-taskiq", "_dagster__taskiq"),
    ] {
        let program = support::binary().with_file_name(name);
        let script = format!("source <(\"$0\" completions bash) && complete -p {name}");
        let mut bash = Command::new("bash");
        let output = bash.args(["-c", &script]).arg(&program).output().unwrap();
        let (text, errors) = texts(&output);
        assert!(
            text.contains(&format!("-F {function} ")) && text.contains(name),
            "{text}{errors}"
        );
        for (typed, offered) in [
            ("worker sta", "start"),
            ("queue redr", "redrive"),
            ("worker start --isolation re", "reuse"),
            ("worker start --log-format j", "json"),
        ] {
            let script = format!(
                "source <(\"$0\" completions bash)
                COMP_WORDS=({name} $1); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
                {function} \"${{COMP_WORDS[0]}}\" \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"
                echo \"${{COMPREPLY[@]}}\""
            );
            let mut bash = Command::new("bash");
            let bash = bash.args(["-c", &script]).arg(&program).arg(typed);
            let (text, errors) = texts(&bash.output().unwrap());
            assert!(
                text.split_whitespace().any(|word| word == offered),
                "{name} {typed}: {text}{errors}"
            );
        }
        let calls = [
            ("zsh", format!("#compdef {name}\n")),
            ("fish", format!("complete -c {name} ")),
        ];
        for (shell, registered) in calls {
            let output = Command::new(&program).args(["completions", shell]).output();
            let (text, errors) = texts(&output.unwrap());
            assert!(text.contains(&registered), "{name}: {text}{errors}");
            let other = if name == "dagster-taskiq" {
                "-c dagster-taskiq-tui"
            } else {
                "-c dagster-taskiq "
            };
            assert!(!text.contains(other), "{name}: {text}");
        }
    }
    let (page, _) = texts(&program(&["man"]).output().unwrap());
    assert!(page.contains(".TH dagster-taskiq-tui 1"), "{page}");
    let folder = TempDir::new().unwrap();
    let pages = folder.path().join("share/man1");
    let written = |pages: &Path| {
        let output = program(&["man", "--dir"]).arg(pages).output().unwrap();
        (output.status.success(), texts(&output).1)
    };
    assert_eq!(written(&pages), (true, String::new()), "the folder is made");
    let page = pages.join("dagster-taskiq-tui-worker-start.1");
    assert!(page.is_file());
    let (is_written, errors) = written(&page);
    let says = format!("cannot write manual pages into {}: ", page.display());
    assert!(!is_written && errors.contains(&says), "{errors}");
}
