//! A sender of the older Python system (taskiq with taskiq-aio-sqs, results in S3) with our workers:
//! it gets what its own workers would have answered.

use crate::support;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use dagster_taskiq_tui::environment::managed;
use serde_json::{Value, json};
use support::scene::Scene;
use support::{PATIENCE, Worker, wait_until};

const LOCK: &str = include_str!("upstream/requirements.lock");

/// `tests/worker/upstream/sender.py`, with its S3.
struct Sender {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    s3: String,
}

impl Sender {
    fn start(scene: &Scene, queue: &str) -> Self {
        let base = std::env::var_os(managed::PYTHON_VARIABLE).filter(|value| !value.is_empty());
        let base = base.map(std::path::PathBuf::from);
        let cache = managed::cache_folder().unwrap();
        let tell = &mut |text: &str| eprintln!("{text}");
        let python = managed::ensure_in(&cache, base.as_deref(), LOCK, tell)
            .unwrap()
            .python;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/worker/upstream/sender.py");
        let mut child = Command::new(python)
            .arg(script)
            .args([&scene.broker.endpoint, queue])
            .env_remove("AWS_PROFILE")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut sender = Self {
            child,
            input,
            output,
            s3: String::new(),
        };
        let s3 = sender.line();
        s3.as_str().unwrap().clone_into(&mut sender.s3);
        sender
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("the sender said {line:?}"))
    }

    fn ask(&mut self, verb: &str, arguments: &Value) -> Value {
        writeln!(self.input, "{}", json!([verb, arguments])).unwrap();
        self.line()
    }

    /// Sends a step; its task id.
    fn kiq(&mut self, kwargs: &Value) -> String {
        let task = self.ask("kiq", &json!({"task": "execute_plan", "kwargs": kwargs}));
        task.as_str().unwrap().to_owned()
    }

    fn result(&mut self, task: &str) -> Value {
        self.ask("result", &json!({"task_id": task}))
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A scene, a sender on its queue, and a worker that knows the sender's S3.
fn stage(queue: &str) -> (Scene, Sender, Worker) {
    let scene = Scene::new(queue);
    let sender = Sender::start(&scene, queue);
    let variables = [
        ("DAGSTER_TASKIQ_S3_ENDPOINT_URL", sender.s3.as_str()),
        ("DAGSTER_TASKIQ_S3_BUCKET_NAME", "results"),
    ];
    let worker = Worker::start_with(&scene.project, 2, &["-y", &scene.settings], &variables);
    (scene, sender, worker)
}

fn message(scene: &mut Scene, run: &str, step: &str) -> Value {
    scene
        .side
        .ask("step_message", &json!({"run_id": run, "step": step}))
}

/// The types of a result's events of a step, in order.
fn types(scene: &mut Scene, result: &Value, step: &str) -> Vec<String> {
    let read = scene
        .side
        .ask("read_events", &json!({"texts": result["events"]}));
    let pairs = read.as_array().unwrap().iter();
    pairs
        .map(|pair| {
            assert_eq!(pair[0], step, "an event of another step");
            pair[1].as_str().unwrap().to_owned()
        })
        .collect()
}

#[test]
fn a_sender_gets_the_events_of_a_step_that_succeeded_of_one_that_died_and_of_one_that_had_ended() {
    let (mut scene, mut sender, _worker) = stage("results");
    let run = scene.side.make_run("three");
    let kwargs = message(&mut scene, &run, "good_0");
    let task = sender.kiq(&kwargs);
    let result = sender.result(&task);
    assert_eq!(
        (&result["is_err"], &result["error"]),
        (&json!(false), &Value::Null),
        "{result}"
    );
    let seen = types(&mut scene, &result, "good_0");
    for kind in ["STEP_START", "STEP_OUTPUT", "STEP_SUCCESS"] {
        assert!(
            seen.iter().any(|seen| seen == kind),
            "no {kind} in {seen:?}"
        );
    }

    // As after a death between the result and the delete: the same message once more.
    sender.ask("forget", &json!({"task_id": task}));
    sender.ask(
        "kiq",
        &json!({"task": "execute_plan", "kwargs": kwargs, "task_id": task}),
    );
    let again = sender.result(&task);
    assert_eq!(again["events"], result["events"]);
    assert_eq!(scene.side.traced(&run, "good_0").len(), 1, "it ran once");

    let run = scene.side.make_run("dying");
    let kwargs = message(&mut scene, &run, "dies");
    let task = sender.kiq(&kwargs);
    let result = sender.result(&task);
    assert_eq!(result["is_err"], false, "{result}");
    assert_eq!(
        types(&mut scene, &result, "dies").last().unwrap(),
        "STEP_FAILURE"
    );

    let run = scene.side.make_run("three");
    scene
        .side
        .ask("set_status", &json!({"run_id": run, "status": "CANCELED"}));
    let kwargs = message(&mut scene, &run, "good_0");
    let task = sender.kiq(&kwargs);
    let result = sender.result(&task);
    assert_eq!(result["is_err"], true, "nothing ran: {result}");
    assert!(
        result["error"]
            .as_str()
            .unwrap()
            .contains("its run is CANCELED"),
        "{result}"
    );
    scene.side.wait_empty();
}

#[test]
fn a_noop_task_is_answered_and_acknowledged_and_is_no_task_of_a_run() {
    let (mut scene, mut sender, worker) = stage("noops");
    let noop = json!({"task": "dagster_taskiq.noop", "kwargs": {}});
    let tasks: Vec<Value> = (0..25).map(|_| sender.ask("kiq", &noop)).collect();
    for task in &tasks {
        let result = sender.result(task.as_str().unwrap());
        let found = (&result["is_err"], &result["events"]);
        assert_eq!(found, (&json!(false), &Value::Null), "{result}");
    }
    scene.side.wait_empty();
    assert!(worker.status().tasks.is_empty());

    // A result is put under the task's id, which must not be a path.
    let body = json!({"task_id": "../other", "task_name": "dagster_taskiq.noop"}).to_string();
    let arguments = json!({"endpoint": scene.broker.endpoint, "url": scene.project.queue_url(),
        "bodies": [body]});
    scene.side.ask("send", &arguments);
    let dead = scene.project.queue_url().replace("noops", "noops-dead");
    let arguments = json!({"endpoint": scene.broker.endpoint, "url": dead});
    let letter = wait_until("the dead letter", PATIENCE, || {
        let letters = scene.side.ask("receive", &arguments);
        letters.get(0).cloned()
    });
    assert_eq!(letter["body"], body);
}

#[test]
fn a_body_in_s3_is_fetched_and_one_that_is_gone_is_dead_lettered() {
    let (mut scene, mut sender, mut worker) = stage("large");
    let run = scene.side.make_run("three");
    let mut kwargs = message(&mut scene, &run, "good_0");
    kwargs["executable_dict"] = json!({"padding": "x".repeat(1_200_000)});
    let task = sender.kiq(&kwargs);
    let result = sender.result(&task);
    assert_eq!(result["is_err"], false);
    assert_eq!(
        scene.side.life(&run, "good_0"),
        ["STEP_START", "STEP_SUCCESS"]
    );

    let gone = json!({"s3_bucket": "results", "s3_key": "nowhere.json"}).to_string();
    let arguments = json!({"endpoint": scene.broker.endpoint, "url": scene.project.queue_url(),
        "bodies": [gone], "attributes": {"s3_extended_message": "True"}});
    scene.side.ask("send", &arguments);
    worker
        .process
        .wait_for_line("s3://results/nowhere.json does not exist");
    scene.side.wait_empty();
    let dead = scene.project.queue_url().replace("large", "large-dead");
    let arguments = json!({"endpoint": scene.broker.endpoint, "url": dead});
    let letters = scene.side.ask("receive", &arguments);
    assert_eq!(letters[0]["body"], gone);
    assert_eq!(letters[0]["attributes"]["s3_extended_message"], "True");
}

#[test]
fn while_s3_does_not_answer_messages_are_kept_and_it_is_said() {
    let (mut scene, mut sender, mut worker) = stage("unreachable");
    let run = scene.side.make_run("three");
    let small = message(&mut scene, &run, "good_0");
    let mut large = message(&mut scene, &run, "good_1");
    large["executable_dict"] = json!({"padding": "x".repeat(1_200_000)});
    // Sent while it is up, received while it is down.
    let pause = dagster_taskiq_tui::domain::Command::Pause;
    worker.call(pause);
    let tasks = [sender.kiq(&small), sender.kiq(&large)];
    sender.ask("stop_s3", &json!({}));
    worker.call(dagster_taskiq_tui::domain::Command::Resume);
    worker
        .process
        .wait_for_line(&format!("cannot put a result to s3://results/{}", tasks[0]));
    worker
        .process
        .wait_for_line(&format!("cannot fetch s3://results/{}.json", tasks[1]));
    wait_until("both are in the queue", PATIENCE, || {
        let (waiting, in_flight) = scene.side.counts();
        (waiting + in_flight == 2).then_some(())
    });

    sender.ask("start_s3", &json!({}));
    for task in &tasks {
        assert_eq!(sender.result(task)["is_err"], false);
    }
    scene.side.wait_empty();
    for step in ["good_0", "good_1"] {
        assert_eq!(scene.side.life(&run, step), ["STEP_START", "STEP_SUCCESS"]);
    }
}
