//! Bad input gets one sentence that says what was tried, on what, and what to do; the exit code is
//! not 0, and nobody sees a panic.

use crate::support;

use std::net::TcpListener;
use std::process::Command;

use support::{Broker, Process, Project, command, python};

/// Runs to the end; the sentence on standard error.
fn sentence(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "it should have failed: {errors}");
    assert!(
        !errors.contains("panicked") && !errors.contains("Traceback"),
        "{errors}"
    );
    let ours: Vec<&str> = errors
        .lines()
        .filter(|line| line.starts_with("dagster-taskiq-tui: "))
        .collect();
    assert_eq!(ours.len(), 1, "one sentence, not: {errors}");
    ours[0].to_owned()
}

fn worker(folder: &tempfile::TempDir) -> Command {
    let mut command = command();
    command
        .args(["worker", "start", "--log-dir"])
        .arg(folder.path().join("log"));
    command.arg("--python").arg(python());
    command
}

fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

#[test]
fn an_unreachable_endpoint_is_named_with_the_setting_to_check() {
    let folder = tempfile::tempdir().unwrap();
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let endpoint = format!("http://{free}");
    let queue = format!("{endpoint}/000000000000/tasks");
    let text = sentence(worker(&folder).args(["--queue-url", &queue]));
    contains(
        &text,
        &[
            &endpoint,
            "does not answer",
            "DAGSTER_TASKIQ_SQS_ENDPOINT_URL",
        ],
    );
}

#[test]
fn a_worker_without_a_queue_says_how_to_name_one() {
    let folder = tempfile::tempdir().unwrap();
    let text = sentence(&mut worker(&folder));
    contains(
        &text,
        &[
            "no queue is configured",
            "DAGSTER_TASKIQ_SQS_QUEUE_URL",
            "--local-broker",
        ],
    );
}

#[test]
fn a_run_that_nobody_can_explain_names_who_could() {
    let folder = tempfile::tempdir().unwrap();
    for verb in [
        ["explain", "4f0c81aa"].as_slice(),
        &["free-slot", "4f0c81aa", "load"],
    ] {
        let mut command = command();
        command.arg("run").args(verb);
        command.env_remove("DAGSTER_HOME").arg("--runtime-dir");
        let text = sentence(command.arg(folder.path()));
        contains(
            &text,
            &[
                "DAGSTER_HOME",
                "a host where a worker runs",
                "--webserver-url",
            ],
        );
    }
}

#[test]
fn an_unknown_key_is_named_with_its_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, "workers: 2\nqueue_ulr: http://127.0.0.1/1/q\n").unwrap();
    let text = sentence(worker(&folder).arg("-y").arg(&file));
    contains(&text, &["config.yaml", "queue_ulr", "line 2"]);
}

#[test]
fn a_python_without_dagster_is_named() {
    let broker = Broker::start();
    let project = Project::new(&broker, "tasks", "");
    let folder = tempfile::tempdir().unwrap();
    let bare = folder.path().join("bare");
    let made = Command::new(python())
        .args(["-m", "venv", "--without-pip"])
        .arg(&bare)
        .status();
    assert!(made.unwrap().success());
    let mut command = command();
    command
        .args([
            "worker",
            "start",
            "--queue-url",
            &broker.queue_url("tasks"),
            "--log-dir",
        ])
        .arg(folder.path().join("log"))
        .arg("--python")
        .arg(bare.join("bin/python"))
        .env("DAGSTER_HOME", project.home());
    contains(&sentence(&mut command), &["bare/bin/python", "dagster"]);
}

#[test]
fn an_address_for_metrics_that_cannot_be_had_ends_the_worker_at_its_start() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let queue = "http://127.0.0.1:1/000000000000/tasks";
    let text = sentence(worker(&folder).args(["--queue-url", queue, "--metrics-listen", &address]));
    contains(&text, &["metrics", &address, "in use", "--metrics-listen"]);
    let mut wrong = worker(&folder);
    wrong.args(["--queue-url", queue, "--metrics-listen", "example.org:80"]);
    let output = wrong.output().unwrap();
    assert!(!output.status.success());
    contains(
        &String::from_utf8_lossy(&output.stderr),
        &["example.org:80", "an IP address"],
    );
}

#[test]
fn a_dagster_yaml_that_does_not_load_is_named() {
    let broker = Broker::start();
    let project = Project::new(&broker, "tasks", "");
    std::fs::write(project.home().join("dagster.yaml"), "run_launchr: {}\n").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let queue = broker.queue_url("tasks");
    let text = sentence(
        worker(&folder)
            .args(["--queue-url", &queue])
            .env("DAGSTER_HOME", project.home()),
    );
    contains(&text, &["dagster.yaml", "run_launchr"]);
}

/// The lines of the only log file of a worker.
fn log_file(folder: &tempfile::TempDir) -> Vec<String> {
    let files = std::fs::read_dir(folder.path().join("log")).unwrap();
    let [file] = &files.map(|file| file.unwrap().path()).collect::<Vec<_>>()[..] else {
        panic!("not one log file")
    };
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn the_log_file_of_a_worker_that_fails_at_its_start_ends_with_the_reason() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let queue = "http://127.0.0.1:1/000000000000/tasks";
    let arguments = ["--queue-url", queue, "--metrics-listen", &address];
    let named = ["--name", "etl-1"];

    let folder = tempfile::tempdir().unwrap();
    let output = worker(&folder)
        .args([&arguments[..], &named].concat())
        .output()
        .unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(errors.matches(&address).count(), 1, "said once: {errors}");
    let told = errors.lines().last().unwrap();
    let sentence = told.strip_prefix("dagster-taskiq-tui: ").unwrap();
    let last = log_file(&folder).pop().unwrap();
    contains(&last, &["Z etl-1 ERROR ", sentence]);

    let folder = tempfile::tempdir().unwrap();
    let output = worker(&folder)
        .args([&arguments[..], &named, &["--log-format", "json"]].concat())
        .output()
        .unwrap();
    assert!(!output.status.success());
    let errors = String::from_utf8(output.stderr).unwrap();
    let file = log_file(&folder);
    assert_eq!(
        errors.lines().count(),
        file.len(),
        "the same lines: {errors}"
    );
    for line in [errors.lines().last().unwrap(), file.last().unwrap()] {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (&line["level"], &line["worker"]),
            (&"ERROR".into(), &"etl-1".into())
        );
        assert_eq!(line["message"], sentence);
    }

    let mut background = worker(&folder);
    background
        .args([&arguments[..], &["--log-format", "json", "--background"]].concat())
        .env("XDG_STATE_HOME", folder.path());
    contains(
        &self::sentence(&mut background),
        &["ended at its start: ", sentence],
    );
}

#[test]
fn a_busy_port_and_a_data_folder_in_use_are_named() {
    let broker = Broker::start();
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let serve = ["broker", "serve", "--listen", &address, "--data-dir"];
    let text = sentence(command().args(serve).arg(folder.path()));
    contains(&text, &[&address]);
    let serve = ["broker", "serve", "--listen", "127.0.0.1:0", "--data-dir"];
    let text = sentence(command().args(serve).arg(broker.data()));
    contains(&text, &[broker.data().to_str().unwrap()]);
}

#[test]
fn the_console_without_a_terminal_says_so() {
    let text = sentence(&mut command());
    contains(&text, &["needs a terminal", "--no-ui"]);
}

#[test]
fn a_missing_queue_is_named_with_how_to_create_it() {
    let broker = Broker::start();
    let queue = broker.queue_url("nowhere");
    let text = sentence(command().args(["queue", "list", "--queue-url", &queue]));
    contains(
        &text,
        &["nowhere", "no such queue", "queue create", "queue_url"],
    );
}

#[test]
fn credentials_that_sqs_does_not_accept_are_named_with_what_to_set() {
    let folder = tempfile::tempdir().unwrap();
    let mut serve = command();
    serve
        .args(["broker", "serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(folder.path().join("data"))
        .args(["--access-key", "right", "--secret-key", "secret"]);
    let mut broker = Process::start(&mut serve, "broker", folder.path());
    let line = broker.wait_for_line("endpoint: ");
    let endpoint = line.trim_start_matches("endpoint: ").to_owned();
    let queue = format!("{endpoint}/000000000000/tasks");
    let text = sentence(
        worker(&folder)
            .args(["--queue-url", &queue])
            .env("AWS_ACCESS_KEY_ID", "wrong"),
    );
    contains(&text, &[&endpoint, "credentials", "AWS_ACCESS_KEY_ID"]);
}

/// A snapshot with no worker in it, printed.
fn snapshot(folder: &tempfile::TempDir) -> Command {
    let mut command = command();
    command.args(["--once", "--json", "--runtime-dir"]);
    command.arg(folder.path());
    command
}

#[test]
fn a_reader_that_has_left_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = snapshot(&folder).stdout(writer).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && errors.is_empty(), "{errors}");
}

#[test]
fn output_that_cannot_be_written_fails_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let full = std::fs::File::create("/dev/full").unwrap();
    let text = sentence(snapshot(&folder).stdout(full));
    contains(&text, &["cannot write to standard output", "No space left"]);
}
