//! `doctor` on real queues and a real Dagster instance: what it finds, how it ends, and that it
//! leaves everything as it was.

use crate::support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;

use serde_json::{Value, json};
use support::proxy::Proxy;
use support::scene::Scene;
use support::{command, library, python};

const BANDS: &str = "priority_bands: [{name: high, min: 8}, {name: normal, min: 3}, {name: low}]\n";

/// What `doctor --json` prints, and its exit code.
fn doctor(home: &Path, args: &[&str]) -> (Vec<Value>, i32) {
    let mut command = command();
    command.args(["doctor", "--json", "--dagster-home"]);
    command.arg(home).arg("--python").arg(python()).args(args);
    let output = command.env("PYTHONPATH", library()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    println!("{text}{}", String::from_utf8_lossy(&output.stderr));
    let lines = text.lines();
    let checks = lines.map(|line| serde_json::from_str(line).unwrap());
    (checks.collect(), output.status.code().unwrap())
}

/// Verdict and message of the checks of this name, joined.
fn said(checks: &[Value], name: &str) -> String {
    let of_name = checks.iter().filter(|check| check["check"] == name);
    let lines: Vec<String> = of_name
        .map(|check| format!("{} {}", check["verdict"], check["message"]))
        .collect();
    lines.join("\n")
}

#[test]
fn a_doctor_says_what_works_and_what_is_to_be_done_and_changes_nothing() {
    let mut scene = Scene::with("examined", BANDS);
    let home = scene.project.home();
    scene.side.send(&["a message".to_owned()]);
    let url = scene.project.queue_url().to_owned();
    let settings = scene.settings.clone();
    let few = format!(
        "import boto3, json; sqs = boto3.client('sqs', endpoint_url='{}'); policy = json.loads(
sqs.get_queue_attributes(QueueUrl='{url}', AttributeNames=['All'])['Attributes']['RedrivePolicy'])
sqs.set_queue_attributes(QueueUrl='{url}', Attributes={{
    'RedrivePolicy': json.dumps({{**policy, 'maxReceiveCount': 3}})}})",
        scene.broker.endpoint
    );
    scene.project.python(&few);

    // As AWS: the proxy does not say that the broker is the embedded one.
    let proxy = Proxy::start(&scene.broker.endpoint, &[]);
    let there = url.replace(&scene.broker.endpoint, &proxy.endpoint);
    let connection = |queue: &str, endpoint: &str| -> Vec<String> {
        [
            "-y",
            &settings,
            "--queue-url",
            queue,
            "--endpoint-url",
            endpoint,
        ]
        .map(str::to_owned)
        .to_vec()
    };
    let args = connection(&there, &proxy.endpoint);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (checks, code) = doctor(&home, &args);
    assert_eq!(code, 0);
    for check in [
        "broker",
        "permissions examined",
        "clock",
        "python",
        "dagster",
        "claims",
    ] {
        assert!(
            said(&checks, check).starts_with("\"ok\""),
            "{check}: {checks:#?}"
        );
    }
    assert!(said(&checks, "commands").contains(env!("CARGO_BIN_EXE_dagster-taskiq-tui")));
    assert!(said(&checks, "storage").contains("this host alone"));
    assert!(said(&checks, "workers").contains("worker start"));
    // It has a dead-letter queue after too few receives, and bands that are not there.
    assert!(said(&checks, "queue examined").contains("maxReceiveCount to more than 20"));
    assert!(said(&checks, "queue examined-dead").contains("takes dead letters"));
    assert!(said(&checks, "queue examined-high").contains("queue create"));

    let received = scene.side.ask(
        "receive",
        &json!({"endpoint": scene.broker.endpoint, "url": url}),
    );
    assert_eq!(received.as_array().unwrap().len(), 1, "{received}");
    let dead = url.replace("examined", "examined-dead");
    let arguments = json!({"endpoint": scene.broker.endpoint, "url": dead});
    assert_eq!(scene.side.ask("counts", &arguments), json!([0, 0]));

    // A worker that would start, and yet could not do its work.
    let denied = ["ChangeMessageVisibility", "DeleteMessage", "SendMessage"];
    let proxy = Proxy::start(&scene.broker.endpoint, &denied);
    let there = url.replace(&scene.broker.endpoint, &proxy.endpoint);
    let args = connection(&there, &proxy.endpoint);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (checks, code) = doctor(&home.join("nowhere"), &args);
    assert_eq!(code, 1);
    let permissions = said(&checks, "permissions examined");
    for action in [
        "sqs:DeleteMessage",
        "sqs:ChangeMessageVisibility",
        "sqs:SendMessage",
    ] {
        assert!(permissions.contains(action), "{permissions}");
    }
    assert!(!permissions.contains("sqs:ReceiveMessage"), "{permissions}");
    assert!(said(&checks, "queue examined-dead").starts_with("\"failed\""));
    assert!(said(&checks, "dagster").contains("which is not a folder"));

    let (checks, code) = doctor(
        &home,
        &[
            "--queue-url",
            "http://127.0.0.1:9/000000000000/none",
            "--webserver-url",
            "http://127.0.0.1:9",
        ],
    );
    assert_eq!(code, 1);
    assert!(said(&checks, "broker").contains("does not answer"));
    assert!(said(&checks, "webserver").starts_with("\"failed\""));
    assert!(said(&checks, "claims").starts_with("\"ok\""));
}

/// Serves S3 that answers every request with this status; its endpoint.
fn s3_that_answers(status: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let head =
                format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _ = stream.write_all(head.as_bytes());
        }
    });
    endpoint
}

// As S3 on AWS: without s3:ListBucket an object that does not exist is denied, not missing.
#[test]
fn a_doctor_cannot_tell_whether_a_bucket_that_may_not_be_listed_can_be_read() {
    let scene = Scene::new("denied");
    let (url, endpoint) = (scene.project.queue_url(), &scene.broker.endpoint);
    let bucket = |status| {
        let s3 = s3_that_answers(status);
        let settings = format!("s3_bucket_name: large\ns3_endpoint_url: '{s3}'\n");
        let settings = scene.project.yaml(&settings);
        let home = scene.project.home();
        let args = [
            "-y",
            &settings,
            "--queue-url",
            url,
            "--endpoint-url",
            endpoint,
        ];
        let (checks, code) = doctor(&home, &args);
        (said(&checks, "bucket"), code)
    };
    let (text, code) = bucket("403 Forbidden");
    assert!(
        text.starts_with("\"warning\"") && text.contains("s3:ListBucket"),
        "{text}"
    );
    assert_eq!(code, 0);
    let (text, code) = bucket("404 Not Found");
    assert_eq!((&*text, code), ("\"ok\" \"s3://large can be read\"", 0));
    let (text, code) = bucket("400 Bad Request");
    assert!(text.starts_with("\"failed\""), "{text}");
    assert_eq!(code, 1);
}

#[test]
fn a_doctor_makes_executor_and_launcher_and_says_where_they_send() {
    let scene = Scene::new("sent-to");
    let home = scene.project.home();
    let (url, endpoint) = (scene.project.queue_url(), &scene.broker.endpoint);
    let args = ["--queue-url", url, "--endpoint-url", endpoint];
    let (checks, code) = doctor(&home, &args);
    assert_eq!(code, 0);
    // dagster.yaml names the queue, and the environment, which the executor looks at, does not.
    let launcher = said(&checks, "run launcher");
    let goes = launcher.starts_with("\"ok\"") && launcher.ends_with("through the queue sent-to\"");
    assert!(goes, "{launcher}");
    let executor = said(&checks, "executor");
    let warns =
        executor.starts_with("\"warning\"") && executor.contains("queue dagster-tasks, which");
    assert!(warns, "{executor}");

    // A queue that is not there yet is one all the same.
    let nope = url.replace("sent-to", "nope");
    let (checks, _) = doctor(&home, &["--queue-url", &nope, "--endpoint-url", endpoint]);
    for check in ["executor", "run launcher"] {
        let warning = said(&checks, check);
        assert!(
            warning.contains("which this worker does not serve"),
            "{warning}"
        );
    }

    let file = home.join("dagster.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let broken = text.replace("queue_url:", "queue_ulr:");
    assert_ne!(broken, text);
    fs::write(&file, broken).unwrap();
    let (checks, code) = doctor(&home, &args);
    assert_eq!(code, 1);
    let launcher = said(&checks, "run launcher");
    let says = "TaskiqRunLauncher cannot be made: dagster.yaml, run_launcher: Error 1: Received \
                unexpected config entry";
    assert!(
        launcher.contains(says) && launcher.contains("queue_ulr"),
        "{launcher}"
    );
    assert!(!said(&checks, "storage").contains("failed"));
    let broken = text.replace("endpoint_url: 'http://", "endpoint_url: '");
    fs::write(&file, broken).unwrap();
    let (checks, code) = doctor(&home, &args);
    assert_eq!(code, 1);
    let launcher = said(&checks, "run launcher");
    assert!(
        launcher.contains("TaskiqRunLauncher cannot be made: endpoint_url"),
        "{launcher}"
    );

    let other = text.replace("/sent-to'", "/elsewhere'");
    fs::write(&file, other).unwrap();
    let (checks, code) = doctor(&home, &args);
    assert_eq!(code, 0);
    assert!(said(&checks, "run launcher").contains("elsewhere, which this worker does not serve"));
}
