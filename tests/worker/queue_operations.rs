//! What an operator does with queues and their messages: on the command line without a worker, and
//! through a worker's control socket.

use crate::support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use dagster_taskiq_tui::domain::{
    Answer, AuditEntry, Command, OperationResult, Peek, PeekedMessage, Query, QueueDetail,
    RedrivePolicy, Reply,
};
use serde_json::{Value, json};
use support::proxy::Proxy;
use support::scene::{SETTINGS, Scene};
use support::{PATIENCE, Worker, wait_until};

/// The environment of an operator's shell on a scene.
pub struct Shell {
    pub settings: String,
    pub state: PathBuf,
    pub more: Vec<(String, String)>,
}

impl Shell {
    pub fn new(scene: &Scene) -> Self {
        Self {
            settings: scene.settings.clone(),
            state: scene.project.folder().join("state"),
            more: Vec::new(),
        }
    }

    pub fn run(&self, scene: &Scene, args: &[&str]) -> Output {
        let mut command = support::command();
        let environment = support::python().parent().unwrap().parent().unwrap();
        scene.project.settings(&mut command);
        command
            .arg("queue")
            .args(args)
            .args(["-y", &self.settings])
            .env("XDG_STATE_HOME", &self.state)
            .env("VIRTUAL_ENV", environment)
            .envs(self.more.iter().cloned())
            .output()
            .unwrap()
    }

    /// The JSON lines it prints.
    pub fn json(&self, scene: &Scene, args: &[&str]) -> Vec<Value> {
        let output = self.run(scene, &[args, &["--json"]].concat());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {errors}");
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// What it says on standard error when it fails.
    pub fn refused(&self, scene: &Scene, args: &[&str]) -> String {
        let output = self.run(scene, args);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        text
    }

    pub fn audit(&self) -> Vec<AuditEntry> {
        let file = self.state.join("dagster-taskiq-tui/audit.jsonl");
        let text = fs::read_to_string(file).unwrap();
        let entries = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let entries: Vec<AuditEntry> = entries.collect();
        for entry in &entries {
            assert!(entry.from.contains('@'), "{entry:?}");
        }
        entries
    }
}

pub fn counts(scene: &mut Scene, url: &str) -> (u64, u64) {
    let arguments = json!({"endpoint": scene.broker.endpoint, "url": url});
    let counts = scene.side.ask("counts", &arguments);
    (counts[0].as_u64().unwrap(), counts[1].as_u64().unwrap())
}

fn failure(scene: &mut Scene, run: &str, step: &str) -> String {
    let events = scene.side.events(run, Some(step));
    let event = events.iter().find(|event| event["type"] == "STEP_FAILURE");
    let event = event.unwrap_or_else(|| panic!("{step} has no end: {events:#?}"));
    event["message"].as_str().unwrap().to_owned()
}

pub fn ids(lines: &[Value]) -> Vec<String> {
    let id = |line: &Value| line["message_id"].as_str().unwrap().to_owned();
    lines.iter().map(id).collect()
}

#[test]
fn without_a_worker_messages_are_peeked_drained_restored_and_purged_and_nobody_waits() {
    let mut scene = Scene::new("ops");
    let shell = Shell::new(&scene);
    let run = scene.side.make_run("three");
    let bodies = ["good_0", "good_1", "good_2"].map(|step| scene.side.step(&run, step, 7));
    scene.side.send(&bodies[..2]);

    for _ in 0..2 {
        let shown = shell.json(&scene, &["peek", "ops"]);
        let steps: Vec<&str> = shown
            .iter()
            .map(|line| line["envelope"]["step_key"].as_str().unwrap())
            .collect();
        assert_eq!(steps, ["good_0", "good_1"]);
        for line in &shown {
            assert_eq!(line["receive_count"], 0, "a look is no receive: {line}");
            assert_eq!(line["envelope"]["run_id"], run.as_str());
            assert_eq!(line["envelope"]["priority"], 7);
        }
    }
    let dry = shell.json(&scene, &["drain", "ops", "--dry-run"]);
    assert_eq!(dry[0]["messages"], 2);
    let text = shell.refused(&scene, &["purge", "ops"]);
    assert!(text.contains("give --yes"), "{text}");
    assert_eq!(scene.side.counts(), (2, 0));

    // Drained, and the steps end.
    let done = shell.json(&scene, &["drain", "ops", "--yes"]);
    assert_eq!(
        (&done[0]["messages"], &done[0]["failed"]),
        (&json!(2), &json!(false))
    );
    let archive = Path::new(done[0]["archive"].as_str().unwrap());
    let mode = fs::metadata(archive).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(failure(&mut scene, &run, "good_0").contains("drained to"));
    assert_eq!(scene.side.counts(), (0, 0));

    // Drained, and the step goes on waiting: the message comes back as it was.
    let url = scene.project.queue_url().to_owned();
    let endpoint = scene.broker.endpoint.clone();
    let attributes = json!({"endpoint": endpoint, "url": url, "bodies": [bodies[2]],
        "attributes": {"team": "blue"}});
    scene.side.ask("send", &attributes);
    scene.side.ask("send", &attributes);
    let done = shell.json(&scene, &["drain", "ops", "--yes", "--keep-waiting"]);
    let archive = done[0]["archive"].as_str().unwrap().to_owned();
    assert_eq!(scene.side.life(&run, "good_2"), Vec::<String>::new());
    let restored = shell.json(&scene, &["restore", &archive]);
    assert_eq!(restored[0]["messages"], 2);
    let shown = shell.json(&scene, &["peek", "ops"]);
    assert_eq!(shown[0]["attributes"], json!([["team", "blue"]]));
    assert_eq!(shown[0]["body_bytes"], bodies[2].len());

    // A restore that is run again sends nothing twice; one that died goes on where it was.
    let again = shell.json(&scene, &["restore", &archive]);
    assert_eq!(again[0]["messages"], 0);
    let progress = format!("{archive}.restored");
    let noted = fs::read_to_string(&progress).unwrap();
    let half = &noted[..noted.len() / 2 + 5];
    fs::write(&progress, half).unwrap();
    let rest = shell.json(&scene, &["restore", &archive]);
    assert_eq!(rest[0]["messages"], 1);
    assert_eq!(shell.json(&scene, &["restore", &archive])[0]["messages"], 0);
    assert_eq!(scene.side.counts(), (3, 0));

    // Purged, and the step ends.
    let done = shell.json(&scene, &["purge", "ops", "--yes"]);
    assert_eq!(done[0]["messages"], 3);
    assert!(failure(&mut scene, &run, "good_2").contains("purged"));
    scene.side.send(&bodies[..1]);
    let done = shell.json(&scene, &["purge", "ops", "--yes", "--keep-waiting"]);
    assert_eq!(done[0]["messages"], 1);
    assert_eq!(scene.side.counts(), (0, 0));

    let text = shell.refused(&scene, &["restore", "/nowhere.jsonl"]);
    assert!(
        text.contains("cannot read the archive /nowhere.jsonl"),
        "{text}"
    );
    let audit = shell.audit();
    let verbs: Vec<&str> = audit.iter().map(|entry| entry.verb.as_str()).collect();
    let four = ["queue restore"; 4];
    let wanted = [
        &["queue purge", "queue drain", "queue drain"][..],
        &four,
        &["queue purge"; 2],
        &["queue restore"],
    ];
    assert_eq!(verbs, wanted.concat());
    assert!(!audit[0].done, "{audit:#?}");
    assert_eq!(audit[1].target, "queue ops");
    assert!(audit[1].done, "{audit:#?}");
    let archives = audit.iter().filter_map(|entry| entry.archive.as_deref());
    let archives: Vec<&Path> = archives.collect();
    assert_eq!(archives.len(), 2, "two were drained: {audit:#?}");
    assert_eq!(archives[1], Path::new(&archive));
}

fn answer(reply: Reply) -> Answer {
    match reply {
        Reply::Answer(answer) => *answer,
        other => panic!("{other:?}"),
    }
}

pub fn done(reply: Reply) -> OperationResult {
    match reply {
        Reply::Operation(result) if !result.failed => result,
        other => panic!("{other:?}"),
    }
}

fn failed(reply: &Reply) -> String {
    let problem = reply.problem().map(str::to_owned);
    problem.unwrap_or_else(|| panic!("{reply:?}"))
}

fn peek(queue: &str) -> Command {
    Command::Query(Query::Peek {
        queue: queue.to_owned(),
        limit: 100,
        message_id: None,
    })
}

fn peeked(worker: &Worker, queue: &str) -> Vec<PeekedMessage> {
    let Answer::Peek(Peek {
        messages, received, ..
    }) = answer(worker.call(peek(queue)))
    else {
        panic!("not a peek");
    };
    assert!(!received);
    messages
}

#[test]
fn a_worker_does_all_of_it_on_behalf_of_its_consoles() {
    let mut scene = Scene::new("ops");
    let worker = scene.worker(1, &[]);
    worker.call(Command::Pause);
    let run = scene.side.make_run("three");
    let bodies = ["good_0", "good_1", "good_2"].map(|step| scene.side.step(&run, step, 5));
    let dead = scene.broker.queue_url("ops-dead");
    scene.side.send(&bodies[..1]);
    scene.side.send_to(
        &dead,
        &[bodies[1].clone(), bodies[2].clone(), "hello".to_owned()],
    );

    let look = |queue: &str| {
        Command::Query(Query::Queue {
            queue: queue.to_owned(),
        })
    };
    let Answer::Queue(QueueDetail {
        redrive,
        attributes,
        ..
    }) = answer(worker.call(look("ops")))
    else {
        panic!("not a queue");
    };
    let wanted = RedrivePolicy {
        queue: "ops-dead".to_owned(),
        max_receives: 100,
    };
    assert_eq!(redrive, Some(wanted));
    assert!(
        attributes
            .iter()
            .any(|(name, _)| name == "VisibilityTimeout"),
        "{attributes:?}"
    );
    let Answer::Queue(QueueDetail { sources, .. }) = answer(worker.call(look("ops-dead"))) else {
        panic!("not a queue");
    };
    assert_eq!(sources, ["ops"]);

    let letters = peeked(&worker, "ops-dead");
    assert_eq!(letters.len(), 3);
    let redrive = |ids: &[&PeekedMessage]| Command::Redrive {
        queue: "ops-dead".to_owned(),
        messages: ids.iter().map(|one| one.message_id.clone()).collect(),
        to: None,
    };
    done(worker.call(redrive(&[&letters[0], &letters[1]])));
    assert_eq!(peeked(&worker, "ops").len(), 3);
    let again = failed(&worker.call(redrive(&[&letters[0]])));
    assert!(again.contains("1 message could not be received"), "{again}");
    done(worker.call(Command::Resend {
        queue: "ops-dead".to_owned(),
        message_id: letters[2].message_id.clone(),
        body: bodies[0].clone(),
        to: None,
    }));
    assert_eq!(counts(&mut scene, &dead), (0, 0));

    let drained = done(worker.call(Command::DrainQueue {
        queue: "ops".to_owned(),
        keep_waiting: true,
    }));
    assert_eq!((drained.messages, drained.left), (4, 0), "{drained:?}");
    assert_eq!(peeked(&worker, "ops").len(), 0);
    done(worker.call(Command::RestoreArchive {
        file: drained.archive.unwrap().display().to_string(),
        to: None,
        again: false,
    }));
    assert_eq!(peeked(&worker, "ops").len(), 4);
    done(worker.call(Command::PurgeQueue {
        queue: "ops".to_owned(),
        keep_waiting: false,
    }));
    for step in ["good_0", "good_1", "good_2"] {
        assert!(failure(&mut scene, &run, step).contains("purged"));
    }
    let unknown = failed(&worker.call(peek("nowhere")));
    assert!(unknown.contains("no such queue"), "{unknown}");
}

#[test]
fn an_embedded_broker_that_wants_signed_requests_is_counted_exactly_and_peeked_by_receiving() {
    let mut scene = Scene::on(support::Broker::signed(), "signed", SETTINGS);
    let worker = scene.worker(1, &[]);
    worker.call(Command::Pause);
    let run = scene.side.make_run("three");
    let body = scene.side.step(&run, "good_0", 5);
    let dead = scene.broker.queue_url("signed-dead");
    scene.side.send_to(&dead, &[body]);

    let status = wait_until("the message is counted", PATIENCE, || {
        let status = worker.status();
        let mut queues = status.queues.iter();
        let dead = queues.find(|queue| queue.name == "signed-dead")?;
        // Counts hold nothing of a message, and are told to whoever asks.
        let exact = status.priorities.iter().find(|row| row.priority == 5)?;
        let counts = (dead.counts?.visible, exact.waiting);
        (counts == (1, Some(1))).then_some(status)
    });
    assert!(status.queues.iter().all(|queue| queue.error.is_none()));
    let only = answer(worker.call(peek("signed-dead")));
    assert_eq!(only, Answer::OnlyByReceiving("signed-dead".to_owned()));
    let by_receiving = Command::PeekByReceiving {
        queue: "signed-dead".to_owned(),
        limit: 10,
        message_id: None,
    };
    let Answer::Peek(looked) = answer(worker.call(by_receiving)) else {
        panic!("not a peek");
    };
    let envelope = looked.messages[0].envelope.as_ref().unwrap();
    assert_eq!(envelope.step_key.as_deref(), Some("good_0"));
    let shell = Shell::new(&scene);
    let text = shell.refused(&scene, &["peek", "signed-dead"]);
    assert!(text.contains("--receive"), "{text}");
}

#[test]
fn where_only_receiving_shows_messages_it_is_said_before_and_counted() {
    let mut scene = Scene::new("ops");
    // This hides that the broker is the embedded one, SQS's own moves are not allowed, and attributes
    // are known by their old parameter only.
    let proxy = Proxy::start(&scene.broker.endpoint, &["StartMessageMoveTask"]);
    let url = scene
        .project
        .queue_url()
        .replace(&scene.broker.endpoint, &proxy.endpoint);
    let args = [
        "-y",
        &scene.settings,
        "--queue-url",
        &url,
        "--endpoint-url",
        &proxy.endpoint,
    ];
    let worker = Worker::start(&scene.project, 1, &args);
    worker.call(Command::Pause);
    let dead = scene.broker.queue_url("ops-dead");
    scene
        .side
        .send_to(&dead, &["hello".to_owned(), "world".to_owned()]);

    let only = answer(worker.call(peek("ops-dead")));
    assert_eq!(only, Answer::OnlyByReceiving("ops-dead".to_owned()));
    let by_receiving = |id: Option<&str>| Command::PeekByReceiving {
        queue: "ops-dead".to_owned(),
        limit: 10,
        message_id: id.map(str::to_owned),
    };
    let look = |id: Option<&str>| {
        let Answer::Peek(peek) = answer(worker.call(by_receiving(id))) else {
            panic!("not a peek");
        };
        assert!(peek.received);
        peek.messages
    };
    assert_eq!(look(None).len(), 2);
    let second = look(None);
    assert!(
        second.iter().all(|one| one.receive_count == 2),
        "{second:#?}"
    );
    assert_eq!(look(Some(&second[1].message_id)).len(), 1);
    wait_until("they were given back", PATIENCE, || {
        (counts(&mut scene, &dead) == (2, 0)).then_some(())
    });

    // One by one, then; to a queue that no poll of the paused worker may still be open on.
    let elsewhere = scene.side.create_queue("elsewhere", None);
    let redriven = done(worker.call(Command::Redrive {
        queue: "ops-dead".to_owned(),
        messages: Vec::new(),
        to: Some("elsewhere".to_owned()),
    }));
    assert_eq!(redriven.messages, 2, "{redriven:?}");
    assert_eq!(counts(&mut scene, &elsewhere), (2, 0));

    let mut shell = Shell::new(&scene);
    shell.more = vec![
        ("DAGSTER_TASKIQ_SQS_QUEUE_URL".to_owned(), url.clone()),
        (
            "DAGSTER_TASKIQ_SQS_ENDPOINT_URL".to_owned(),
            proxy.endpoint.clone(),
        ),
    ];
    let text = shell.refused(&scene, &["peek", "elsewhere"]);
    assert!(text.contains("--receive"), "{text}");
    let shown = shell.json(&scene, &["peek", "elsewhere", "--receive"]);
    assert_eq!(shown.len(), 2);
    assert_eq!(shell.audit()[0].verb, "queue peek");
}
