//! Database URLs, tokens and keys, planted wherever they can enter, come out nowhere: not in a log,
//! an error, the arguments of a process, the audit log, a snapshot, a heartbeat or `doctor`'s answer.

mod places;
use crate::support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use dagster_taskiq_tui::domain::{Command as Order, Query};
use dagster_taskiq_tui::fleet::client::{self, SubscribeOptions};
use dagster_taskiq_tui::protocol::frames::LogStart;
use places::{Places, Sampler, arguments_with};
use serde_json::json;
use support::side::{Side, body};
use support::{Broker, PATIENCE, Process, Project, command, library, python, wait_until};

const CODE: &str = include_str!("secrets/project.py");

/// Secrets that this test gives as arguments, to see them gone from there.
const GIVEN: &str = "s3cr3t-given-Zz9";

/// A process that was started in the background; ends with the test.
struct Background(u32);

impl Drop for Background {
    fn drop(&mut self) {
        if support::side::alive(self.0) {
            support::signal(self.0, "KILL");
        }
    }
}

/// A project whose environment, settings and dagster.yaml hold secrets.
struct Stage {
    broker: Broker,
    project: Project,
    side: Side,
    settings: String,
    /// The worker's control socket, once it is started.
    socket: PathBuf,
    places: Places,
}

impl Stage {
    fn new() -> Self {
        let broker = Broker::start();
        let project = Project::new(&broker, "marked", CODE);
        let yaml = project.home().join("dagster.yaml");
        let text = std::fs::read_to_string(&yaml).unwrap().replace(
            "endpoint_url:",
            "config_source: {aws_access_key_id: k, aws_secret_access_key: s3cr3t-yaml-Zz9}, \
             endpoint_url:",
        );
        assert!(text.contains("s3cr3t"));
        std::fs::write(yaml, text).unwrap();
        let mut side = Side::start(&project);
        side.create_queue("marked", Some("marked-dead"));
        side.create_queue("marked-runs", None);
        let settings = project.yaml(
            "webserver_url: 'http://admin:s3cr3t-web-Zz9@127.0.0.1:9/x?token=s3cr3t-web-Zz9'\n\
             s3_bucket_name: marked\n\
             s3_endpoint_url: 'http://u:s3cr3t-bucket-Zz9@127.0.0.1:9'\n\
             config_source: {aws_secret_access_key: s3cr3t-source-Zz9}\n\
             load_grace: 0\n",
        );
        Self {
            broker,
            project,
            side,
            settings,
            socket: PathBuf::new(),
            places: Places::default(),
        }
    }

    fn state(&self) -> PathBuf {
        self.project.folder().join("state")
    }

    /// A command of the binary on this stage.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = command();
        self.project.settings(&mut command);
        let environment = python().parent().unwrap().parent().unwrap();
        command
            .args(words)
            .env("VIRTUAL_ENV", environment)
            .env("PYTHONPATH", library())
            .env("XDG_STATE_HOME", self.state())
            .env("XDG_RUNTIME_DIR", self.project.folder())
            .env("AWS_SECRET_ACCESS_KEY", "s3cr3t-aws-Zz9")
            .env("AWS_SESSION_TOKEN", "s3cr3t-session-Zz9")
            .env("PGPASSWORD", "s3cr3t-environment-Zz9")
            .env("RUST_BACKTRACE", "0");
        command
    }

    /// Runs a verb with the stage's settings file.
    fn verb(&mut self, words: &str) -> (Option<i32>, String) {
        let settings = self.settings.clone();
        let mut all: Vec<&str> = words.split(' ').collect();
        all.extend(["-y", &settings]);
        let mut command = self.command(&all);
        self.places.run(words, &mut command)
    }

    /// Starts a worker in the background, with secrets among its arguments.
    fn start_worker(&mut self) -> Background {
        let endpoint = self
            .broker
            .endpoint
            .replace("://", &format!("://u:{GIVEN}@"));
        let settings = self.settings.clone();
        let logs = self.project.folder().join("logs");
        let words = [
            "worker",
            "start",
            "--background",
            "--json",
            "--name",
            "marked",
            "--workers",
            "2",
            "--endpoint-url",
            &endpoint,
            "--log-format",
            "json",
            "--log-dir",
            logs.to_str().unwrap(),
            "-y",
            &settings,
        ];
        let mut command = self.command(&words);
        let (code, text) = self.places.run("worker start --background", &mut command);
        assert_eq!(code, Some(0), "{text}");
        let line = text.lines().find(|line| line.starts_with('{')).unwrap();
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        self.socket = line["socket"].as_str().unwrap().into();
        Background(u32::try_from(line["pid"].as_u64().unwrap()).unwrap())
    }

    /// Sends what a worker can run, what it cannot, and what fails.
    fn send_messages(&mut self) -> [String; 3] {
        let file = self.project.definitions();
        let make = |side: &mut Side, job: &str| {
            let arguments = json!({"job": job, "status": "STARTED", "file": file});
            let run = side.ask("make_run", &arguments);
            run["run_id"].as_str().unwrap().to_owned()
        };
        let runs = ["works", "breaks", "works"].map(|job| make(&mut self.side, job));
        let storage = "\"config_yaml\":\"password: s3cr3t-storage-Zz9\\npostgres_url: \
                       postgresql://u:s3cr3t-storage-Zz9@h/db\\n";
        let good = self.side.step(&runs[0], "good", 5);
        let good = good.replace("\"config_yaml\":\"", storage);
        assert!(good.contains("s3cr3t"), "{good}");
        let bad = self.side.step(&runs[1], "fails", 5);
        let unknown = body(
            "postgresql://u:s3cr3t-task-Zz9@h/db",
            &json!({"password": "s3cr3t-kwargs-Zz9"}),
            &json!({"token": "s3cr3t-label-Zz9"}),
        );
        let none = String::from("{\"password\": \"s3cr3t-body-Zz9\", not a message");
        self.side.send(&[good, bad, unknown, none]);
        runs
    }

    fn dead(&mut self) -> usize {
        let url = self.project.queue_url().replace("marked", "marked-dead");
        let arguments = json!({"endpoint": self.broker.endpoint, "url": url});
        let counts = self.side.ask("counts", &arguments);
        usize::try_from(counts[0].as_u64().unwrap()).unwrap()
    }

    /// The attributes that a worker has given its dead letters, `dtq_reason` among them.
    fn note_reasons(&mut self) {
        let url = self.project.queue_url().replace("marked", "marked-dead");
        let arguments = json!({"endpoint": self.broker.endpoint, "url": url});
        let received = self.side.ask("receive", &arguments);
        for message in received.as_array().unwrap() {
            assert!(message["attributes"]["dtq_reason"].is_string(), "{message}");
            let attributes = message["attributes"].to_string();
            self.places.add("attributes of dead letters", attributes);
        }
    }

    /// Everything an operator may run while a worker runs.
    fn run_verbs(&mut self) {
        for words in [
            "doctor",
            "doctor --json",
            "queue show marked",
            "queue show marked --json",
            "queue peek --dead-letters --body",
            "queue peek --dead-letters --json",
            "queue list --json",
            "worker list --json",
            "run list",
            "run list --json",
            "run launch works",
            "run terminate 4f0c81aa --yes",
            "run reload here",
        ] {
            self.verb(words);
        }
        for words in [
            &["worker", "status", "marked", "--json"][..],
            &["worker", "status", "marked"],
            &["worker", "scale", "3", "marked"],
            &["--once", "--json"],
        ] {
            let mut command = self.command(words);
            self.places.run(&words.join(" "), &mut command);
        }
    }

    /// Archives hold bodies as they were, for their owner alone.
    fn assert_archives_are_private(&self) {
        let archives = self.state().join("dagster-taskiq-tui/archive");
        let archive = std::fs::read_dir(archives)
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        let kept = std::fs::read_to_string(archive.path()).unwrap();
        assert!(kept.contains("s3cr3t-body"), "{kept}");
        assert_eq!(
            archive.metadata().unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    /// What is in Dagster's storage of this program's: heartbeats, and the events of a run.
    fn note_storage(&mut self, run: &str) {
        let index = self.side.ask("worker_names", &json!({}));
        self.places.add("index of heartbeats", index.to_string());
        let name = index[0].as_str().unwrap();
        let key = json!({"key": format!("dagster-taskiq/worker/{name}")});
        let beat = self.side.ask("cursor", &key);
        assert!(beat.to_string().contains("version"), "{beat}");
        self.places.add("heartbeat", beat.to_string());
        let events = self.events(run);
        self.places.add("events of ours", events);
    }

    /// What a console reads of a step's output: the log it is sent, and the captured files.
    fn note_live_views(&mut self, run: &str) {
        let socket = self.socket.clone();
        let events = self.events(run);
        let key = events.split("\"log_key\": \"").nth(1).unwrap();
        let key = key.split('"').next().unwrap().to_owned();
        let run_id = run.to_owned();
        let (lines, page) = support::block_on(async {
            let wants = SubscribeOptions {
                read_only: true,
                snapshots: false,
                logs: LogStart::After(0),
            };
            let connection = client::Connection::open(&socket).await.unwrap();
            let (mut input, _output) = connection.start(wants).await.unwrap();
            let mut lines = String::new();
            let all = async {
                while !lines.contains("does not load") || !lines.contains("amqp") {
                    let frame = input.next().await.unwrap();
                    lines += &serde_json::to_string(&frame).unwrap();
                    lines += "\n";
                }
            };
            tokio::time::timeout(PATIENCE, all).await.unwrap();
            let query = Query::OutputFiles {
                run_id,
                file_key: key,
                after: None,
            };
            let page = client::call(&socket, Order::Query(query)).await.unwrap();
            (lines, serde_json::to_string(&page).unwrap())
        });
        self.places.add("live log", lines);
        self.places.add("live output", page);
    }

    /// Lets the host of the code go, which would serve on where the new code does not load.
    fn reload(&self) {
        let order = client::call(&self.socket, Order::Reload);
        support::block_on(order).unwrap();
    }

    /// A run's events, whole, as Dagster's storage has them.
    fn events(&self, run: &str) -> String {
        self.project.python(&format!(
            "from dagster import DagsterInstance\nfrom dagster._serdes import serialize_value\n\
             for entry in DagsterInstance.get().all_logs('{run}'): print(serialize_value(entry))"
        ))
    }
}

#[test]
fn no_output_of_a_worker_and_its_tools_holds_a_secret() {
    let mut stage = Stage::new();
    let sampler = Sampler::start(GIVEN);
    let worker = stage.start_worker();
    let arguments = arguments_with(GIVEN);
    stage.places.add("arguments", arguments.join("\n"));

    let runs = stage.send_messages();
    wait_until("two dead letters", PATIENCE, || {
        (stage.dead() == 2).then_some(())
    });
    for (run, step, end) in [
        (&runs[0], "good", "STEP_SUCCESS"),
        (&runs[1], "fails", "STEP_FAILURE"),
    ] {
        wait_until(end, PATIENCE, || {
            let events = stage.side.events(run, Some(step));
            events
                .iter()
                .any(|event| event["type"] == end)
                .then_some(())
        });
    }
    // The user's own exception is in Dagster's log: what follows looked at something.
    let own = stage.events(&runs[1]);
    for mark in ["s3cr3t-cause", "s3cr3t-environment"] {
        assert!(own.contains(mark), "{own}");
    }

    // From now on the code does not load.
    std::fs::write(stage.project.home().join("broken"), "").unwrap();
    let code = stage.project.definitions();
    std::fs::write(code, format!("{CODE}\n# changed\n")).unwrap();
    stage.reload();
    let message = stage.side.step(&runs[2], "good", 5);
    stage.side.send(&[message]);
    wait_until("a third dead letter", PATIENCE, || {
        (stage.dead() == 3).then_some(())
    });
    wait_until("the step's end", PATIENCE, || {
        let events = stage.side.events(&runs[2], Some("good"));
        events
            .iter()
            .any(|event| event["type"] == "STEP_FAILURE")
            .then_some(())
    });

    stage.note_live_views(&runs[0]);
    stage.note_reasons();
    stage.note_storage(&runs[2]);
    stage.run_verbs();
    let drained = stage.verb("queue drain marked-dead --yes --json");
    assert_eq!(drained.0, Some(0), "{}", drained.1);
    let mut stop = stage.command(&["worker", "stop", "marked"]);
    let stopped = stage.places.run("worker stop", &mut stop);
    assert_eq!(stopped.0, Some(0), "{}", stopped.1);
    wait_until("the worker's end", PATIENCE, || {
        (!support::side::alive(worker.0)).then_some(())
    });

    stage.assert_archives_are_private();
    let folders = (stage.state(), stage.project.folder().join("logs"));
    stage.places.files("state folder", &folders.0, &["archive"]);
    stage.places.files("log files", &folders.1, &[]);
    stage.places.add("broker", stage.broker.process.output());
    stage.places.add("arguments", sampler.end());
    for (place, words) in [
        ("log files", "ConnectionError"),
        ("live log", "amqp://u:(redacted)@h"),
        ("live output", "amqp://u:(redacted)@h"),
        ("attributes of dead letters", "does not load"),
        ("events of ours", "postgresql://u:(redacted)@h"),
        ("doctor", "http://127.0.0.1:9"),
        ("--once", "(redacted)"),
        ("worker status marked --json", "(redacted)"),
        ("state folder", "queue drain"),
    ] {
        assert!(stage.places.holds(place, words), "{place} lacks {words}");
    }
    stage.places.assert_clean();
}

/// A folder with a `dagster.yaml`.
fn home(folder: &Path, name: &str, yaml: &str) -> PathBuf {
    let home = folder.join(name);
    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join("dagster.yaml"), yaml).unwrap();
    home
}

#[test]
fn no_error_about_a_setting_or_a_storage_quotes_a_secret() {
    let stage = Stage::new();
    let folder = stage.project.folder();
    let mut places = Places::default();
    let homes = [
        "storage: {postgres: {postgres_url: 'postgresql://u:s3cr3t-dsn-Zz9@127.0.0.1:9/db'}}\n",
        "storage: {postgres: {postgres_db: {username: u, password: {env: PGPASSWORD}, hostname: \
         127.0.0.1, db_name: d, port: 9}}}\n",
        "storage: {postgres: {postgres_db: {username: u, password: [s3cr3t-list-Zz9]}}}\n",
        "storage: {postgres: {postgres_url: 's3cr3t-scheme-Zz9://u:s3cr3t-scheme-Zz9@h'}}\n",
        "storage: {postgres: {password: s3cr3t-flow-Zz9\nx: [\n",
    ];
    for (number, yaml) in homes.iter().enumerate() {
        let home = home(folder, &format!("home-{number}"), yaml);
        let mut verbs = vec![&["doctor", "--json"][..]];
        if number < 2 {
            verbs.extend([&["worker", "start"][..], &["worker", "list"]]);
        }
        for words in verbs {
            let mut command = stage.command(words);
            command
                .arg("--dagster-home")
                .arg(&home)
                .env("DAGSTER_HOME", &home);
            let place = format!("{} on {yaml:?}", words.join(" "));
            let (code, text) = places.run(&place.replace(places::MARK, "…"), &mut command);
            assert_ne!(code, Some(0), "{text}");
        }
    }
    for yaml in [
        "workers: s3cr3t-workers-Zz9\n",
        "queues: [s3cr3t-queues-Zz9]\n",
        "on_worker_lost: s3cr3t-lost-Zz9\n",
        "queue_url: s3cr3t-queue-Zz9\n",
        "queue_url: 'http://u:s3cr3t-queue-Zz9@127.0.0.1:9/1/q'\nworkers: many\n",
        "webserver_url: 'ftp://u:s3cr3t-ftp-Zz9@h'\nqueue_url: 'http://127.0.0.1:9/1/q'\n",
        "webserver_url: 'http://u:s3cr3t-port-Zz9@h:port'\nqueue_url: 'http://127.0.0.1:9/1/q'\n",
        "a: 'password: s3cr3t-open-Zz9\n",
    ] {
        let file = stage.project.yaml(yaml);
        let mut command = stage.command(&["run", "list", "-y", &file]);
        command.env_remove("DAGSTER_TASKIQ_SQS_QUEUE_URL");
        let (code, text) = places.run(&yaml.replace(places::MARK, "…"), &mut command);
        assert_eq!(code, Some(1), "{yaml}: {text}");
    }
    for words in [
        [
            "worker",
            "start",
            "--workers",
            "postgresql://u:s3cr3t-given-Zz9@h",
        ],
        ["broker", "serve", "--listen", "http://u:s3cr3t-given-Zz9@h"],
        ["broker", "serve", "--password", "s3cr3t-given-Zz9"],
        [
            "queue",
            "list",
            "--queue-url",
            "http://u:s3cr3t-given-Zz9@127.0.0.1:9/1/q",
        ],
        [
            "queue",
            "list",
            "--endpoint-url",
            "http://u:s3cr3t-given-Zz9@127.0.0.1:9",
        ],
        [
            "run",
            "list",
            "--webserver-url",
            "http://u:s3cr3t-given-Zz9@127.0.0.1:9",
        ],
    ] {
        let mut command = stage.command(&words);
        let (code, text) = places.run(&words[..3].join(" "), &mut command);
        assert_ne!(code, Some(0), "{text}");
    }
    places.assert_clean();
}

#[test]
fn the_brokers_secret_key_is_neither_printed_nor_an_argument() {
    let folder = tempfile::tempdir().unwrap();
    let mut places = Places::default();
    let file = folder.path().join("key");
    std::fs::write(&file, "s3cr3t-file-Zz9\n").unwrap();
    let file = file.to_str().unwrap();
    for (name, words, secret) in [
        ("flag", vec!["--secret-key", GIVEN], GIVEN),
        ("file", vec!["--secret-key-file", file], "s3cr3t-file-Zz9"),
        ("variable", vec![], "s3cr3t-variable-Zz9"),
    ] {
        let mut serve = command();
        serve.args([
            "broker",
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--access-key",
            "team",
        ]);
        serve
            .arg("--data-dir")
            .arg(folder.path().join(name))
            .args(words);
        if name == "variable" {
            serve.env("DAGSTER_TASKIQ_BROKER_SECRET_KEY", secret);
        }
        let mut process = Process::start(&mut serve, name, folder.path());
        let line = process.wait_for_line("endpoint: ");
        let endpoint = line.split_once("endpoint: ").unwrap().1;
        places.add("arguments", arguments_with(secret).join("\n"));
        let mut status = command();
        status.args(["broker", "status", "--endpoint", endpoint]);
        places.run("broker status", &mut status);
        for (key, expected) in [(secret, 0), ("s3cr3t-other-Zz9", 1)] {
            let url = format!("{endpoint}/000000000000/q");
            let mut create = command();
            create.args(["queue", "create", "--queue-url", &url]);
            create
                .env("AWS_ACCESS_KEY_ID", "team")
                .env("AWS_SECRET_ACCESS_KEY", key);
            let (code, text) = places.run("queue create", &mut create);
            assert_eq!(code, Some(expected), "{name}: {text}");
        }
        process.signal("TERM");
        assert_eq!(process.wait(PATIENCE), 0);
        places.add(&format!("broker with a {name}"), process.output());
    }
    places.assert_clean();
}
