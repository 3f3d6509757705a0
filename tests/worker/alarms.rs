//! Alarms: judged by every worker, delivered once, acknowledged in the whole deployment.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use dagster_taskiq_tui::domain::{
    Alarm, AlarmChange, AlarmEntry, Answer, Command, Query, Reply, Timestamp,
};
use jiff::SignedDuration;
use serde_json::Value;

use crate::support::scene::Scene;
use crate::support::{PATIENCE, Worker, wait_until};

/// An endpoint of a hook; it answers 503 while it is down.
struct Endpoint {
    url: String,
    down: Arc<AtomicBool>,
    tries: Arc<Mutex<u32>>,
    taken: Arc<Mutex<Vec<Value>>>,
}

impl Endpoint {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = Self {
            url: format!("http://{}/s3cret-path", listener.local_addr().unwrap()),
            down: Arc::default(),
            tries: Arc::default(),
            taken: Arc::default(),
        };
        let (down, tries) = (Arc::clone(&endpoint.down), Arc::clone(&endpoint.tries));
        let taken = Arc::clone(&endpoint.taken);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let body = read_body(&stream);
                *tries.lock().unwrap() += 1;
                let status = if down.load(Ordering::SeqCst) {
                    "503 Service Unavailable"
                } else {
                    taken.lock().unwrap().push(body);
                    "204 No Content"
                };
                let answer =
                    format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                // The worker may have been ended by its test.
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        endpoint
    }

    /// The events of one kind of alarm that have arrived.
    fn events(&self, kind: &str) -> Vec<String> {
        let taken = self.taken.lock().unwrap();
        let of_kind = taken.iter().filter(|body| body["kind"] == kind);
        of_kind
            .map(|body| body["event"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn read_body(stream: &TcpStream) -> Value {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim().to_ascii_lowercase();
        if let Some(given) = line.strip_prefix("content-length:") {
            length = given.trim().parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    serde_json::from_slice(&body).unwrap()
}

fn dead_letters(worker: &Worker) -> Option<Alarm> {
    let alarms = worker.status().alarms.clone()?;
    alarms
        .into_iter()
        .find(|alarm| alarm.kind.name() == "dead-letters")
}

fn history(worker: &Worker) -> Vec<AlarmEntry> {
    let query = Query::AlarmHistory { limit: 1_000 };
    match worker.call(Command::Query(query)) {
        Reply::Answer(answer) => match *answer {
            Answer::AlarmHistory(entries) => entries,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// Changes of an alarm since a time: an earlier run of the tests has left its own in the file.
fn changes(worker: &Worker, id: &str, since: Timestamp) -> Vec<AlarmChange> {
    let entries = history(worker).into_iter().rev();
    entries
        .filter(|entry| entry.id == id && entry.at >= since)
        .map(|entry| entry.change)
        .collect()
}

#[test]
fn a_hook_is_tried_by_hand_and_a_failure_names_its_cause_and_not_its_url() {
    let endpoint = Endpoint::start();
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("settings.yaml");
    let settings = format!(
        "alarm_hooks:\n\
         - {{name: web, url: \"{}\", kinds: [disk], min_severity: critical}}\n\
         - {{name: mail, command: [sh, -c, 'echo no such mailbox >&2; exit 3']}}\n",
        endpoint.url
    );
    std::fs::write(&file, settings).unwrap();
    let tried = |more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dagster-taskiq-tui"));
        let output = command.args(["alarm", "test", "-y"]).arg(&file).args(more);
        let output = output.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };

    let (exit, text) = tried(&[]);
    assert_eq!(exit, Some(1), "{text}");
    assert!(text.contains("web: delivered"), "{text}");
    assert!(
        text.contains("mail: not delivered") && text.contains("no such mailbox"),
        "{text}"
    );
    assert_eq!(endpoint.events("hook"), ["started", "ended"]);

    let (exit, text) = tried(&["web", "--json"]);
    assert_eq!(exit, Some(0), "{text}");
    assert_eq!(
        serde_json::from_str::<Value>(&text).unwrap(),
        serde_json::json!({"hook": "web", "problem": null})
    );

    endpoint.down.store(true, Ordering::SeqCst);
    let (exit, text) = tried(&["web"]);
    assert_eq!(exit, Some(1), "{text}");
    assert!(text.contains("503") && !text.contains("s3cret"), "{text}");

    let (exit, text) = tried(&["wbe"]);
    assert_eq!(exit, Some(1), "{text}");
    assert!(text.contains("the nearest is web"), "{text}");
}

#[test]
fn two_workers_deliver_an_alarm_once_when_the_endpoint_is_back_and_its_end_once() {
    let endpoint = Endpoint::start();
    endpoint.down.store(true, Ordering::SeqCst);
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("mails");
    let mail = format!(
        "cat >> {0}; echo \"$DAGSTER_TASKIQ_ALARM_EVENT $DAGSTER_TASKIQ_ALARM_ID\" >> {0}.names",
        file.display()
    );
    let settings = format!(
        "alarms: {{hold: 1, disk_free: 4294967295}}\n\
         alarm_hooks:\n\
         - {{name: web, url: \"{}\", kinds: [dead-letters]}}\n\
         - {{name: mail, command: [sh, -c, '{mail}'], kinds: [dead-letters, disk]}}\n",
        endpoint.url
    );
    let begun = Timestamp::now();
    let mut scene = Scene::with("alarmed", &settings);
    let workers = [scene.worker(1, &[]), scene.worker(1, &[])];
    let dead = scene.broker.queue_url("alarmed-dead");
    scene.side.send_to(&dead, &[String::from("no task")]);
    let id = "dead-letters/alarmed-dead";
    for worker in &workers {
        let alarm = wait_until("both workers see it", PATIENCE, || dead_letters(worker));
        assert_eq!(alarm.id(), id);
        assert!(alarm.since.is_some());
    }
    wait_until("it is tried again", PATIENCE, || {
        let _ = workers.each_ref().map(Worker::status);
        (*endpoint.tries.lock().unwrap() > 1).then_some(())
    });
    let hook = wait_until("the hook that fails is an alarm itself", PATIENCE, || {
        let all = workers.iter().filter_map(|it| it.status().alarms.clone());
        all.flatten().find(|alarm| alarm.kind.name() == "hook")
    });
    assert_eq!(hook.about, "web");
    assert!(hook.text.contains("503"), "{hook:?}");
    endpoint.down.store(false, Ordering::SeqCst);
    wait_until("it arrives", PATIENCE, || {
        let _ = workers.each_ref().map(Worker::status);
        (!endpoint.events("dead-letters").is_empty()).then_some(())
    });

    // Any worker takes an acknowledgement, and all of them know of it.
    let until = Timestamp::now() + SignedDuration::from_hours(1);
    let reply = workers[0].call(Command::AcknowledgeAlarm {
        alarm: id.to_owned(),
        until: Some(until),
        by: String::from("ann@etl-1"),
    });
    assert!(matches!(reply, Reply::Done(_)), "{reply:?}");
    wait_until("the other one knows", PATIENCE, || {
        dead_letters(&workers[1])?.acknowledged
    });

    scene.project.python(&format!(
        "import boto3, os\n\
         sqs = boto3.client('sqs', endpoint_url=os.environ['DAGSTER_TASKIQ_SQS_ENDPOINT_URL'],\
         region_name='us-east-1')\n\
         sqs.purge_queue(QueueUrl='{dead}')\n"
    ));
    wait_until("its end arrives", PATIENCE, || {
        let _ = workers.each_ref().map(Worker::status);
        (endpoint.events("dead-letters").len() > 1).then_some(())
    });
    let recorded = wait_until("the history has it", PATIENCE, || {
        let found = changes(&workers[0], id, begun);
        (found.last() == Some(&AlarmChange::Ended)).then_some(found)
    });
    let expected = [
        AlarmChange::Started,
        AlarmChange::Acknowledged,
        AlarmChange::Ended,
    ];
    assert_eq!(recorded, expected);
    assert_eq!(
        changes(&workers[1], id, begun),
        expected,
        "they share the file"
    );
    assert_eq!(endpoint.events("dead-letters"), ["started", "ended"]);

    // The command had each alarm once, too, and what is a secret of the settings is in no log.
    let names = wait_until("the command had both", PATIENCE, || {
        let names = std::fs::read_to_string(file.with_extension("names")).ok()?;
        names.contains(&format!("ended {id}")).then_some(names)
    });
    for event in ["started", "ended"] {
        let line = format!("{event} {id}");
        assert_eq!(names.matches(&line).count(), 1, "{names}");
    }
    let disks = names
        .lines()
        .filter(|line| line.starts_with("started disk/"));
    let mut disks: Vec<&str> = disks.collect();
    let all = disks.len();
    disks.dedup();
    assert!(all > 0 && disks.len() == all, "{names}");
    let mails = std::fs::read_to_string(&file).unwrap();
    let first: Value = serde_json::from_str(mails.lines().next().unwrap()).unwrap();
    assert!(first["text"].is_string() && first["host"].is_string());
    for mut worker in workers {
        assert_eq!(worker.finish(), 0);
        let output = worker.process.output();
        assert!(!output.contains("s3cret-path"), "{output}");
    }
}

#[test]
fn a_hook_that_cannot_be_used_gives_the_reason_of_the_system_or_of_its_program() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("settings.yaml");
    let settings = format!(
        "alarm_hooks:\n\
         - {{name: closed, url: 'http://127.0.0.1:{port}/s3cret-path'}}\n\
         - {{name: nowhere, url: 'http://nowhere.invalid/s3cret-path'}}\n\
         - {{name: said, command: [sh, -c, 'seq 1000; echo no such mailbox; exit 3']}}\n\
         - {{name: silent, command: [sh, -c, 'exit 3']}}\n"
    );
    std::fs::write(&file, settings).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dagster-taskiq-tui"));
    let output = command.args(["alarm", "test", "-y"]).arg(&file).output();
    let output = output.unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    for (hook, reason) in [
        ("closed", "Connection refused (os error 111)"),
        ("nowhere", "failed to lookup address information"),
        ("said", "999 1000 no such mailbox"),
        ("silent", "no reason was given"),
    ] {
        let line = text.lines().find(|line| line.starts_with(hook));
        assert!(line.is_some_and(|line| line.contains(reason)), "{text}");
    }
    assert!(!text.contains("s3cret"), "{text}");
    assert!(!text.contains("500"), "only the end is kept: {text}");
}

fn alarms(worker: &Worker) -> Vec<String> {
    let alarms = worker.status().alarms.clone().unwrap_or_default();
    alarms.iter().map(Alarm::id).collect()
}

#[test]
fn an_outage_of_the_storage_is_one_alarm_and_a_few_lines_and_makes_no_worker_silent() {
    const ID: &str = "unreachable/storage";
    let endpoint = Endpoint::start();
    let settings = format!(
        "alarms: {{hold: 1}}\n\
         alarm_hooks:\n\
         - {{name: web, url: \"{}\", kinds: [unreachable, silent-worker]}}\n",
        endpoint.url
    );
    let scene = Scene::with("outage", &settings);
    let mut workers = [scene.worker(1, &[]), scene.worker(1, &[])];
    wait_until("each has heard of the other", PATIENCE, || {
        let knows = |worker: &Worker| worker.status().fleet.len() == 2;
        workers.iter().all(knows).then_some(())
    });

    let (history, away) = (
        scene.project.home().join("history"),
        scene.project.folder().join("away"),
    );
    std::fs::rename(&history, &away).unwrap();
    std::fs::write(&history, "").unwrap();
    // Longer than a worker may be silent.
    wait_until("the outage lasts for a minute", PATIENCE, || {
        for worker in &workers {
            let ids = alarms(worker);
            assert!(!ids.iter().any(|id| id.contains("silent")), "{ids:?}");
        }
        let all = workers[0].status().alarms.clone().unwrap_or_default();
        let outage = all.into_iter().find(|alarm| alarm.id() == ID)?;
        assert!(outage.text.contains("unable to open"), "{outage:?}");
        outage.text.contains("for 1m").then_some(())
    });
    std::fs::remove_file(&history).unwrap();
    std::fs::rename(&away, &history).unwrap();
    wait_until("its end is sent", PATIENCE, || {
        for worker in &workers {
            let ids = alarms(worker);
            assert!(!ids.iter().any(|id| id.contains("silent")), "{ids:?}");
        }
        let events = endpoint.events("unreachable");
        (events.last()? == "ended").then_some(())
    });
    assert_eq!(endpoint.events("silent-worker"), [""; 0]);

    for worker in &mut workers {
        worker.process.signal("TERM");
        assert_eq!(worker.process.wait(PATIENCE), 0);
        let output = worker.process.output();
        let count = |words: &str| output.lines().filter(|line| line.contains(words)).count();
        assert_eq!(count("WARN"), 1, "{output}");
        assert_eq!(count("Dagster's storage does not answer: "), 1, "{output}");
        assert_eq!(count("Dagster's storage answers again"), 1, "{output}");
        let traceback = "instance agent: sqlalchemy.exc.OperationalError";
        assert_eq!(count(traceback), 1, "{output}");
    }
}
