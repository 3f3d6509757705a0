//! `config`: what the settings are and where they come from, and what is wrong with a file.

mod documents;

use crate::support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Broker, command};
use tempfile::TempDir;

/// The binary with a folder of its own and no settings from outside.
fn program(words: &[&str]) -> Command {
    let mut command = command();
    for name in ["DAGSTER_HOME", "AWS_REGION", "AWS_DEFAULT_REGION"] {
        command.env_remove(name);
    }
    command.args(words);
    command
}

fn written(folder: &TempDir, text: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join("c.yaml");
    fs::write(&path, text).unwrap();
    path
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

fn shown(command: &mut Command) -> Value {
    let output = command.args(["--json"]).output().unwrap();
    let (text, errors) = texts(&output);
    assert!(output.status.success(), "{errors}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn config_show_says_where_each_value_comes_from_and_hides_secrets() {
    let folder = TempDir::new().unwrap();
    let file = written(
        &folder,
        "# mine\nslots: 3\nqueue_url: 'https://u:s3cr3t@sqs.eu-west-1.amazonaws.com/1/q'\n\
         prefetch: 1\nconfig_source: {aws_secret_access_key: s3cr3t}\nrun_slots:\n",
    );
    let show = || {
        let mut command = program(&["config", "show", "--origin", "--slots", "7", "-y"]);
        command.arg(&file);
        command.env("DAGSTER_TASKIQ_ISOLATION", "reuse");
        command.env("DAGSTER_TASKIQ_ALLOW_LOCATIONS", "etl.*, shop");
        command
    };
    let settings = shown(&mut show());
    let is = |key: &str, value: Value, origin: Value| {
        let expected = serde_json::json!({"value": value, "origin": origin});
        assert_eq!(settings[key], expected, "{key}");
    };
    let line = |line| serde_json::json!({"kind": "file", "file": file.to_str(), "line": line});
    let variable = |name| serde_json::json!({"kind": "environment", "variable": name});
    is(
        "slots",
        7.into(),
        serde_json::json!({"kind": "flag", "flag": "--slots"}),
    );
    is("prefetch", 1.into(), line(4));
    is(
        "isolation",
        "reuse".into(),
        variable("DAGSTER_TASKIQ_ISOLATION"),
    );
    is(
        "allow_locations",
        serde_json::json!(["etl.*", "shop"]),
        variable("DAGSTER_TASKIQ_ALLOW_LOCATIONS"),
    );
    is(
        "region_name",
        "eu-west-1".into(),
        serde_json::json!({"kind": "derived"}),
    );
    is(
        "run_slots",
        4.into(),
        serde_json::json!({"kind": "default"}),
    );
    assert_eq!(settings["queue_url"]["origin"], line(3));
    assert!(!settings.to_string().contains("s3cr3t"), "{settings}");

    let (text, _) = texts(&show().output().unwrap());
    assert!(!text.contains("s3cr3t"), "{text}");
    for (key, words) in [
        ("slots", "7 --slots on the command line"),
        ("prefetch", &*format!("1 {}, line 4", file.display())),
        ("cancel_grace", "10 the defaults"),
        ("theme", "default the defaults"),
    ] {
        let line = text.lines().find(|line| line.starts_with(key)).unwrap();
        let line: Vec<&str> = line.split_whitespace().skip(1).collect();
        assert_eq!(line.join(" "), words);
    }
}

#[test]
fn config_check_says_all_that_is_wrong_at_once() {
    let folder = TempDir::new().unwrap();
    let check = |text: &[u8]| {
        let file = written(&folder, text);
        let output = program(&["config", "check"]).arg(&file).output().unwrap();
        let (text, errors) = texts(&output);
        assert!(errors.is_empty(), "{errors}");
        let file = format!("{}, ", file.display());
        (output.status.code(), text.replace(&file, ""))
    };
    let (code, text) = check(
        b"slotz: 3\nqueue_url: tasks\nrun_slots: many\npriority_bands: [{name: a}, {name: b}]\n",
    );
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(code, Some(1));
    assert!(
        lines[0]
            .starts_with("line 1: `slotz` is not a known key; the nearest known key is `slots`")
    );
    assert!(lines[1].starts_with("line 2: `queue_url` cannot be used: it does not begin"));
    assert_eq!(
        lines[2],
        "line 3: `run_slots` must be a whole number, not a text"
    );
    assert!(
        lines[3].contains("line 4: `priority_bands[0]` cannot be used: every band but the last")
    );
    assert_eq!(lines.len(), 4);
    for (text, says) in [
        (
            &b"queue_url: tasks\n"[..],
            "line 1: `queue_url` cannot be used",
        ),
        (
            b"slots: 2\nname: caf\xe9\n",
            "line 2: byte 0xE9 is not UTF-8",
        ),
        (b"slots: 2\nslots: 2\n", "line 2: `slots` is given twice"),
        (b"queues:\n\ta: b\n", "line 2: a tab indents this line"),
    ] {
        let (code, text) = check(text);
        assert!(code == Some(1) && text.starts_with(says), "{text}");
    }
    for text in [
        &b""[..],
        b"# none\n",
        b"\xef\xbb\xbfslots: 2\r\nrun_slots: 2\r\n",
    ] {
        let (code, text) = check(text);
        assert!(code == Some(0) && text.contains("can be used"), "{text}");
    }
    for path in [folder.path(), &folder.path().join("missing.yaml")] {
        let output = program(&["config", "check"]).arg(path).output().unwrap();
        let (_, errors) = texts(&output);
        assert_eq!(output.status.code(), Some(1));
        let says = format!("cannot read the configuration file {}", path.display());
        assert!(errors.contains(&says), "{errors}");
    }
    let mut command = program(&["config", "check"]);
    let output = command
        .env("DAGSTER_TASKIQ_ISOLATION", "spoon")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        texts(&output).0,
        "isolation from DAGSTER_TASKIQ_ISOLATION in the environment cannot be used: it must be one \
         of auto, fork, reuse, fresh\n"
    );
}

/// Exit code of `config check` for a file, and all that it prints.
fn checked(folder: &TempDir, text: &str) -> (Option<i32>, String) {
    let file = written(folder, text);
    let output = program(&["config", "check"]).arg(&file).output().unwrap();
    let (text, errors) = texts(&output);
    (output.status.code(), format!("{text}{errors}"))
}

#[test]
fn config_check_refuses_a_queue_that_there_is_not_and_a_band_of_the_programs_own() {
    let folder = TempDir::new().unwrap();
    for (text, says) in [
        (
            "priority_bands:\n  - {name: dead, min: 1}\n  - {name: normal}",
            "line 2: `priority_bands[0].name` cannot be used: no band can be named dead",
        ),
        (
            "priority_bands:\n  - {name: normal, min: 1}\n  - {name: runs}",
            "line 3: `priority_bands[1].name` cannot be used: no band can be named runs",
        ),
        (
            "queue_url: http://h/1/tasks\nsubscribe: [slow]",
            "line 2 cannot be used: no queue is named slow; there are tasks, dagster",
        ),
    ] {
        let (code, found) = checked(&folder, text);
        assert!(code == Some(1) && found.contains(says), "{text}: {found}");
    }
    // The base queue may have that name: its URL may be a flag's.
    let (code, found) = checked(&folder, "subscribe: [slow]");
    assert_eq!(code, Some(0), "{found}");
}

#[test]
fn config_check_prints_foreign_text_in_one_line_and_a_sentence_for_a_key_without_a_name() {
    let folder = TempDir::new().unwrap();
    let level = |outer: u32| {
        let items = match outer {
            0 => vec![String::from("x"); 10],
            _ => vec![format!("*a{}", outer - 1); 10],
        };
        format!("a{outer}: &a{outer} [{}]\n", items.join(", "))
    };
    let bomb: Vec<String> = (0..6).map(level).collect();
    let bomb = bomb.concat();
    for (text, says) in [
        (
            "\"a\\e[31mred\\nb\": 1",
            "line 1: `a\\u{1b}[31mred\\nb` is not a known key\n",
        ),
        ("[a]: 2", "line 1: a key must be a text, not a list"),
        ("slots: 2\n'': 2", "line 2: a key is empty"),
        (
            "execution:\n  {a: b}: 2",
            "line 2: a key must be a text, not a mapping",
        ),
        (
            "execution: {config: {}}\n[a]: 2",
            "line 2: a key must be a text, not a list",
        ),
        (
            &bomb,
            "line 6: this is nested too deeply, or grows too large by its aliases\n",
        ),
    ] {
        let (code, found) = checked(&folder, text);
        assert!(code == Some(1) && found.contains(says), "{text}: {found}");
    }
}

#[test]
fn config_check_refuses_what_no_worker_could_use_and_names_its_line() {
    let folder = TempDir::new().unwrap();
    let check = |text: &str| checked(&folder, text);
    let hook = |rest: &str| format!("alarm_hooks:\n  - name: first\n    {rest}\n");
    let hooks = hook("command: ['true']") + "  - name: second\n";
    for (text, says) in [
        (
            "slots: 2\nmetrics_listen: nonsense",
            "line 2: `metrics_listen` cannot be used: give an IP",
        ),
        (
            "metrics_listen: ''\nslotz: 2",
            "line 2: `slotz` is not a known key",
        ),
        (
            "metrics_listen: 99999",
            "line 1: `metrics_listen` must be from 0 to 65535",
        ),
        (
            &hook("url: 'http://[::1/x'"),
            "line 3: `alarm_hooks[0].url` cannot be used: the hook first: it is not a URL",
        ),
        (&hook("url: 'http://'"), "line 3: `alarm_hooks[0].url`"),
        (
            &hook("url: 'http://h:99999/'"),
            "line 3: `alarm_hooks[0].url`",
        ),
        (&hook("url: 'ftp://h/'"), "does not begin with http://"),
        (
            &hook("url: http://h/\n    headers:\n      X A: b"),
            "line 5: `alarm_hooks[0].headers.X A`",
        ),
        (
            &hook("url: http://h/\n    headers: {X-A: \"a\\nb\"}"),
            "line 4: `alarm_hooks[0].headers.X-A`",
        ),
        (
            &hook("url: http://h/\n  - {name: \"a\\tb\", url: http://h/}"),
            "line 4: `alarm_hooks[1].name`",
        ),
        (
            &hooks,
            "line 4: `alarm_hooks[1]` cannot be used: the hook second needs a `command` or a `url`",
        ),
        (
            "priority_bands:\n  - {name: a, min: 1}\n  - {name: b, min: 3}\n  - {name: normal}",
            "line 3: `priority_bands[1].min` cannot be used: list the bands",
        ),
        (
            "priority_bands:\n  - {name: hi gh, min: 1}\n  - {name: normal}",
            "line 2: `priority_bands[0].name`",
        ),
        ("slots: 2\ncontext: nope", "there is no context nope (from "),
        (
            "contexts:\n  a.b:\n    queue_url: nope",
            "line 3: `contexts.a.b.queue_url` cannot be used",
        ),
        (
            "queues:\n  a: http://h/1/a\n  b: notaurl",
            "line 3: `queues.b` cannot be used",
        ),
        (
            "queue_url: http://h:9324",
            "line 1: `queue_url` cannot be used",
        ),
        ("theme: nope", "there is no such theme"),
        ("webserver_url: x", "line 1: `webserver_url` cannot be used"),
        ("name: ''", "line 1: `name` cannot be used"),
        ("name: \"a\\nb\"", "line 1: `name` cannot be used"),
        (
            "endpoint_url: localhost:9324",
            "line 1: `endpoint_url` cannot be used",
        ),
        (
            "s3_endpoint_url: http://h?x",
            "line 1: `s3_endpoint_url` cannot be used",
        ),
    ] {
        let (code, found) = check(text);
        assert!(code == Some(1) && found.contains(says), "{text}: {found}");
    }
    // What `alarm test` delivers is not refused.
    let (code, found) = check(&hook("url: HTTP://127.0.0.1/"));
    assert_eq!(code, Some(0), "{found}");

    // A worker has the same words, and the same line.
    let file = written(&folder, hook("url: 'http://[::1/x'"));
    let output = program(&["worker", "start", "--local-broker", "-y"])
        .arg(&file)
        .output();
    let (_, errors) = texts(&output.unwrap());
    let says = format!(
        "alarm_hooks[0].url from {}, line 3 cannot be used",
        file.display()
    );
    assert!(errors.contains(&says), "{errors}");
}

#[test]
fn a_key_without_effect_in_an_alarm_hook_is_refused() {
    let folder = TempDir::new().unwrap();
    let hook = |rest: &str| format!("alarm_hooks:\n  - name: first\n    {rest}\n");
    for (text, says) in [
        (
            &hook("command: ['true']\n    template: slack"),
            "line 4: `alarm_hooks[0].template` cannot be used: the hook first has a `command`, and",
        ),
        (
            &hook("command: ['true']\n    headers: {A: b}"),
            "line 4: `alarm_hooks[0].headers` cannot be used: the hook first has a `command`, and",
        ),
        (
            &hook("url: http://h/\n    routing_key: k"),
            "line 4: `alarm_hooks[0].routing_key` cannot be used: the hook first needs the \
             `template: pagerduty`",
        ),
    ] {
        let file = written(&folder, text);
        let output = program(&["config", "check"]).arg(&file).output().unwrap();
        let found = texts(&output).0;
        assert!(
            !output.status.success() && found.contains(says),
            "{text}: {found}"
        );
    }
}

#[test]
fn a_wrong_variable_or_flag_is_named_itself() {
    let sentence = |words: &[&str], variables: &[(&str, &[u8])]| {
        let mut command = program(words);
        for (name, value) in variables {
            command.env(name, OsStr::from_bytes(value));
        }
        let output = command.output().unwrap();
        let (text, errors) = texts(&output);
        assert_eq!(output.status.code(), Some(1), "{text}{errors}");
        format!("{text}{errors}")
    };
    let endpoint = "DAGSTER_TASKIQ_SQS_ENDPOINT_URL";
    let both: [(&str, &[u8]); 2] = [
        ("DAGSTER_TASKIQ_STORAGE_PATIENCE", b"foo"),
        ("DAGSTER_TASKIQ_RESEND_AFTER", b"inf"),
    ];
    let found = sentence(&["config", "check"], &both);
    for (name, _) in both {
        assert!(
            found.contains(&format!("{name} from the environment")),
            "{found}"
        );
    }
    for (words, variables, says) in [
        (
            &["config", "check"][..],
            &[(endpoint, &b"foo"[..])][..],
            "endpoint_url from DAGSTER_TASKIQ_SQS_ENDPOINT_URL",
        ),
        (
            &["config", "check"],
            &[("DAGSTER_TASKIQ_SLOTS", b"\xff")],
            "it is not UTF-8",
        ),
        (
            &["config", "show", "--endpoint-url", "x"],
            &[],
            "endpoint_url from --endpoint-url",
        ),
        (&["config", "show", "--name", ""], &[], "name from --name"),
        (
            &["config", "show", "--name", "a\nb"],
            &[],
            "name from --name",
        ),
        (
            &["doctor", "--queue-url", "http://127.0.0.1:9/1/a?x=1"],
            &[],
            "queue_url from --queue-url",
        ),
    ] {
        let found = sentence(words, variables);
        assert!(found.contains(says), "{words:?}: {found}");
    }
    let mut empty = program(&["config", "check"]);
    for name in ["DAGSTER_TASKIQ_STORAGE_PATIENCE", endpoint] {
        empty.env(name, "");
    }
    assert!(empty.output().unwrap().status.success());
}

#[test]
fn a_file_that_would_take_for_ever_is_refused_at_once() {
    let folder = TempDir::new().unwrap();
    let deep = written(&folder, "slots: ".to_owned() + &"[".repeat(100_000));
    for (path, says) in [
        (deep.as_path(), "line 1: this is nested too deeply"),
        (
            Path::new("/dev/zero"),
            "the configuration file /dev/zero is larger than 1 MiB",
        ),
    ] {
        let begun = Instant::now();
        let output = program(&["config", "check"]).arg(path).output().unwrap();
        let (text, errors) = texts(&output);
        assert!(format!("{text}{errors}").contains(says), "{text}{errors}");
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn spans_and_moments_are_typed_alike_and_refused_in_our_words() {
    let sentence = |words: &[&str]| texts(&program(words).output().unwrap()).1;
    for words in [
        &["worker", "drain", "--within", "1x"][..],
        &["worker", "restart", "--within", "-"],
        &["alarm", "ack", "x", "--for", "1x"],
    ] {
        let errors = sentence(words);
        assert!(
            errors.contains("is not a span of time: give seconds"),
            "{errors}"
        );
    }
    let errors = sentence(&["alarm", "ack", "x", "--until", "yesterday"]);
    assert!(errors.contains("`yesterday` is not a time"), "{errors}");
    let errors = sentence(&["worker", "drain", "nobody", "--within", "1h"]);
    assert!(
        errors.contains("no worker nobody runs on this host"),
        "{errors}"
    );
}

#[test]
fn a_fragment_of_run_configuration_is_taken_with_a_note_on_what_is_ignored() {
    let folder = TempDir::new().unwrap();
    let broker = Broker::start();
    let queue = broker.queue_url("tasks");
    let file = written(
        &folder,
        format!(
            "execution:\n  config:\n    queue_url: \"{queue}\"\n    region_name: \"us-east-1\"\n    \
             endpoint_url: \"{}\"\n    retries: {{enabled: {{}}}}\n",
            broker.endpoint
        ),
    );
    for verb in ["create", "list"] {
        let output = program(&["queue", verb, "-y"]).arg(&file).output().unwrap();
        let (text, errors) = texts(&output);
        assert!(
            output.status.success() && text.contains("tasks"),
            "{text}{errors}"
        );
        let note = format!(
            "note: {}, line 6: `execution.config.retries` is ignored",
            file.display()
        );
        assert!(errors.contains(&note), "{errors}");
    }
}

#[test]
fn slots_are_also_called_workers() {
    for flag in ["--slots", "--workers"] {
        assert_eq!(
            shown(&mut program(&["config", "show", flag, "3"]))["slots"],
            3
        );
    }
    let help = program(&["worker", "start", "--help"]).output().unwrap();
    let (text, _) = texts(&help);
    assert!(
        text.contains("--slots") && !text.contains("--workers"),
        "{text}"
    );
}

#[test]
fn slots_are_a_number_or_bounds_from_the_file_a_variable_or_the_flag() {
    let folder = TempDir::new().unwrap();
    let file = written(&folder, "slots: 2..16\nslots_cpu_limit: 70\n");
    let of_file = |more: &[&str]| {
        let mut command = program(&["config", "show", "-y"]);
        command.arg(&file).args(more);
        command
    };
    assert_eq!(shown(&mut of_file(&[]))["slots"], "2..16");
    for (value, expected) in [("3..9", Value::from("3..9")), ("6", Value::from(6))] {
        let mut command = of_file(&[]);
        command.env("DAGSTER_TASKIQ_SLOTS", value);
        assert_eq!(shown(&mut command)["slots"], expected);
    }
    assert_eq!(shown(&mut of_file(&["--slots", "1..4"]))["slots"], "1..4");

    let form = "must be a whole number, or the smallest and the largest one (2..16)";
    for (value, problem) in [
        ("[2, 16]", format!("line 1: `slots` {form}, not a list")),
        ("2-16", format!("line 1: `slots` {form}\n")),
        ("2..", format!("line 1: `slots` {form}\n")),
        ("1.5", format!("line 1: `slots` {form}, not a fraction")),
        (
            "16..2",
            "the smallest number of slots comes first: 2..16".into(),
        ),
        ("0..4", "a range of slots begins at 1 or more: 1..16".into()),
    ] {
        let file = written(&folder, format!("slots: {value}\n"));
        let output = program(&["config", "check"]).arg(file).output().unwrap();
        let (text, errors) = texts(&output);
        assert_eq!(output.status.code(), Some(1), "{value}");
        assert!(
            format!("{text}{errors}").contains(&problem),
            "{text}{errors}"
        );
    }
    let output = program(&["worker", "start", "--slots", "16..2"]).output();
    let (_, errors) = texts(&output.unwrap());
    assert!(errors.contains("comes first: 2..16"), "{errors}");
}

#[test]
fn contexts_are_listed_and_one_that_does_not_exist_is_refused() {
    let folder = TempDir::new().unwrap();
    let text = "contexts:\n  production: {queue_url: 'https://u:s3cr3t@sqs.eu-west-1.amazonaws.com/1/q', hosts: [ann@etl-1]}\n  staging: {}\n";
    let file = written(&folder, text);
    let list = |more: &[&str]| {
        let mut command = program(&["context", "list", "-y"]);
        command.arg(&file).args(more).output().unwrap()
    };
    let (lines, errors) = texts(&list(&["--context", "production"]));
    assert!(
        lines.contains("* production: workers on ann@etl-1; https"),
        "{lines}{errors}"
    );
    assert!(
        lines.contains("  staging: workers of this host; no queue"),
        "{lines}"
    );
    assert!(!lines.contains("s3cr3t"), "{lines}");
    let refused = list(&["--context", "prod"]);
    let (_, errors) = texts(&refused);
    assert!(!refused.status.success());
    let words = "there is no context prod (from --context on the command line): the settings name \
                 production, staging";
    assert!(errors.contains(words), "{errors}");
}
