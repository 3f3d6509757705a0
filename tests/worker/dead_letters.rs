//! Dead letters on the command line and through a worker: shown, redriven, and sent again as edited.

use std::fs;

use dagster_taskiq_tui::domain::Command;
use serde_json::{Value, json};

use super::queue_operations::{Shell, counts, done, ids};
use super::support::proxy::Proxy;
use super::support::scene::Scene;
use super::support::{PATIENCE, wait_until};

#[test]
fn dead_letters_are_shown_with_their_reason_redriven_and_sent_again_as_edited() {
    let mut scene = Scene::new("ops");
    let shell = Shell::new(&scene);
    let run = scene.side.make_run("three");
    let dead = scene.broker.queue_url("ops-dead");
    let mut body: Value = serde_json::from_str(&scene.side.step(&run, "good_0", 5)).unwrap();
    body["kwargs"]["storage"] = json!({"config_yaml": "postgres_db:\n  password: hunter2\n"});
    let bodies = [body.to_string(), String::from("hello"), body.to_string()];
    let endpoint = scene.broker.endpoint.clone();
    let attributes = json!({"dtq_reason": "the warehouse is closed", "dtq_source_queue": "ops",
        "team": "blue"});
    scene.side.ask(
        "send",
        &json!({"endpoint": endpoint, "url": dead, "bodies": bodies,
        "attributes": attributes}),
    );

    let shown = shell.json(&scene, &["peek", "--dead-letters", "--body"]);
    assert_eq!(shown.len(), 3);
    for line in &shown {
        assert_eq!(line["reason"], "the warehouse is closed");
        assert_eq!(line["source"], "ops");
        assert!(!line.to_string().contains("hunter2"), "{line}");
    }
    assert!(
        shown[1]["problem"]
            .as_str()
            .unwrap()
            .contains("not a Taskiq message")
    );
    let ids = ids(&shown);

    // One by its id: as it was before it was a dead letter.
    let done = shell.json(&scene, &["redrive", "ops-dead", "--message-id", &ids[0]]);
    assert_eq!(
        (&done[0]["messages"], &done[0]["left"]),
        (&json!(1), &json!(0))
    );
    let back = shell.json(&scene, &["peek", "ops", "--body"]);
    assert_eq!(back[0]["attributes"], json!([["team", "blue"]]));
    assert_eq!(back[0]["reason"], Value::Null);
    let text = shell.refused(&scene, &["redrive", "ops-dead", "--message-id", &ids[0]]);
    assert!(text.contains("could not be received"), "{text}");

    // Edited, its secrets as they were.
    let mut edited: Value = serde_json::from_str(shown[2]["body"].as_str().unwrap()).unwrap();
    edited["labels"]["priority"] = json!("9");
    let file = scene.project.folder().join("body.json");
    fs::write(&file, edited.to_string()).unwrap();
    let file = file.to_str().unwrap();
    let done = shell.json(
        &scene,
        &["resend", "ops-dead", &ids[2], "--body-file", file],
    );
    assert_eq!(done[0]["messages"], 1);
    let url = scene.project.queue_url().to_owned();
    let sent = scene
        .side
        .ask("receive", &json!({"endpoint": endpoint, "url": url}));
    let sent: Vec<&str> = sent
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["body"].as_str().unwrap())
        .collect();
    assert!(sent.iter().all(|body| body.contains("hunter2")), "{sent:?}");
    assert_eq!(
        sent.iter()
            .filter(|body| body.contains(r#""priority":"9""#))
            .count(),
        1,
        "{sent:?}"
    );
    fs::write(file, "broken (redacted)").unwrap();
    let text = shell.refused(
        &scene,
        &["resend", "ops-dead", &ids[1], "--body-file", file],
    );
    assert!(text.contains("(redacted)"), "{text}");

    // All the others: SQS moves them.
    assert_eq!(
        shell.json(&scene, &["redrive", "ops-dead", "--dry-run"])[0]["messages"],
        1
    );
    let done = shell.json(&scene, &["redrive", "--dead-letters"]);
    assert_eq!(done[0]["messages"], 1);
    assert_eq!(counts(&mut scene, &dead), (0, 0));
    assert_eq!(scene.side.counts(), (3, 0));

    let settings = scene.project.yaml("read_only: true\n");
    let reader = Shell {
        settings,
        ..Shell::new(&scene)
    };
    let text = reader.refused(&scene, &["purge", "ops", "--yes"]);
    assert!(text.contains("read_only"), "{text}");
    let audit = reader.audit();
    assert!(
        audit.last().unwrap().text.contains("read_only"),
        "{audit:#?}"
    );
    assert_eq!(scene.side.counts(), (3, 0));
}

// On AWS each of these actions needs a permission of its own, which a worker's policy lacks.
#[test]
fn a_redrive_needs_no_list_of_sources_beside_a_target_and_says_that_sqs_goes_on_unseen() {
    let mut scene = Scene::new("ops");
    let mut shell = Shell::new(&scene);
    let denied = ["ListDeadLetterSourceQueues", "ListMessageMoveTasks"];
    let proxy = Proxy::start(&scene.broker.endpoint, &denied);
    let url = scene.project.queue_url().to_owned();
    shell.more = vec![
        (
            "DAGSTER_TASKIQ_SQS_QUEUE_URL".to_owned(),
            url.replace(&scene.broker.endpoint, &proxy.endpoint),
        ),
        (
            "DAGSTER_TASKIQ_SQS_ENDPOINT_URL".to_owned(),
            proxy.endpoint.clone(),
        ),
    ];
    let dead = scene.broker.queue_url("ops-dead");
    let bodies = ["hello", "world", "again"].map(str::to_owned);
    scene.side.send_to(&dead, &bodies);

    let text = shell.refused(&scene, &["redrive", "ops-dead"]);
    assert!(
        text.contains("list the queues whose dead letters"),
        "{text}"
    );
    let peek = ["peek", "ops-dead", "--receive"];
    let letter = &ids(&shell.json(&scene, &peek))[0];
    let body = scene.project.folder().join("body.txt");
    fs::write(&body, "edited").unwrap();
    let body = body.to_str().unwrap();
    let resend = [
        "resend",
        "ops-dead",
        letter,
        "--to",
        "ops",
        "--body-file",
        body,
    ];
    assert_eq!(shell.json(&scene, &resend)[0]["messages"], 1);
    assert_eq!(scene.side.counts(), (1, 0));

    let received = proxy.asked("ReceiveMessage");
    let done = shell.json(&scene, &["redrive", "ops-dead", "--to", "ops"]);
    assert_eq!(proxy.asked("ReceiveMessage"), received, "SQS alone moves");
    let text = done[0]["text"].as_str().unwrap();
    assert!(
        text.contains("has begun to move all messages of ops-dead to ops")
            && text.contains("cannot be told")
            && text.contains("sqs:ListMessageMoveTasks"),
        "{text}"
    );
    wait_until("SQS has moved them", PATIENCE, || {
        (scene.side.counts() == (3, 0)).then_some(())
    });
    assert_eq!(counts(&mut scene, &dead), (0, 0));
}

// A reason is what the console groups by: without what follows a colon.
#[test]
fn dead_letters_with_one_reason_are_redriven_and_the_others_stay() {
    let mut scene = Scene::new("ops");
    let shell = Shell::new(&scene);
    let dead = scene.broker.queue_url("ops-dead");
    let endpoint = scene.broker.endpoint.clone();
    for reason in ["the lake is closed: shore 7", "no such asset"] {
        let attributes = json!({"dtq_reason": reason, "dtq_source_queue": "ops"});
        scene.side.ask(
            "send",
            &json!({"endpoint": endpoint, "url": dead, "bodies": ["hello"],
            "attributes": attributes}),
        );
    }
    let group = |reason| ["redrive", "--dead-letters", "--group", reason];
    let text = shell.refused(&scene, &group("the lake"));
    assert!(
        text.contains("the reasons are `no such asset` (1), `the lake is closed` (1)"),
        "{text}"
    );
    let text = shell.refused(
        &scene,
        &[&group("no such asset")[..], &["--job", "numbers"]].concat(),
    );
    assert!(text.contains("of job numbers"), "{text}");
    let done = shell.json(&scene, &group("the lake is closed"));
    assert_eq!(done[0]["messages"], 1);
    let left = shell.json(&scene, &["peek", "ops-dead"]);
    assert_eq!(
        (left.len(), &left[0]["reason"]),
        (1, &json!("no such asset"))
    );
}

#[test]
fn dead_letters_of_several_queues_go_to_where_they_were_sent_or_to_the_queue_that_is_named() {
    let mut scene = Scene::new("shared");
    let shell = Shell::new(&scene);
    scene
        .side
        .create_queue("shared-second", Some("shared-dead"));
    let dead = scene.broker.queue_url("shared-dead");
    let second = scene.broker.queue_url("shared-second");
    let run = scene.side.make_run("three");
    let mut body: Value = serde_json::from_str(&scene.side.step(&run, "good_0", 5)).unwrap();
    let mut bodies = vec![String::from("hello")];
    for queue in ["shared", "elsewhere"] {
        body["labels"]["queue"] = json!(queue);
        bodies.push(body.to_string());
    }
    scene.side.send_to(&dead, &bodies);

    // The embedded broker does not know either: nothing was received from a source.
    let text = shell.refused(&scene, &["redrive", "shared-dead"]);
    for words in ["1 message sent back", "2 messages stay", "does not say"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(scene.side.counts(), (1, 0));
    let back = shell.json(&scene, &["peek", "shared"]);
    assert_eq!(back[0]["envelope"]["run_id"], run.as_str());

    let done = shell.json(&scene, &["redrive", "shared-dead", "--to", "shared-second"]);
    assert_eq!(done[0]["messages"], 2, "{done:?}");
    assert_eq!(counts(&mut scene, &dead), (0, 0));
    assert_eq!(counts(&mut scene, &second), (2, 0));
}

#[test]
fn a_fifo_queues_dead_letters_are_redriven_again_and_again_in_their_group() {
    let mut scene = Scene::new("ordered.fifo");
    let shell = Shell::new(&scene);
    let dead = scene.broker.queue_url("ordered-dead.fifo");
    scene
        .side
        .send_to(&dead, &[String::from("one"), String::from("two")]);
    let groups = |lines: &[Value]| -> Vec<String> {
        let mut groups: Vec<String> = lines
            .iter()
            .map(|line| line["group"].as_str().unwrap().to_owned())
            .collect();
        groups.sort();
        groups
    };
    let before = groups(&shell.json(&scene, &["peek", "ordered-dead.fifo"]));
    for _ in 0..2 {
        let done = shell.json(&scene, &["redrive", "ordered-dead.fifo"]);
        assert_eq!(done[0]["messages"], 2, "{done:?}");
        let back = shell.json(&scene, &["peek", "ordered.fifo"]);
        assert_eq!(groups(&back), before, "nothing was taken for a duplicate");
        // They become dead letters again, as a worker makes them.
        let done = shell.json(
            &scene,
            &["drain", "ordered.fifo", "--yes", "--keep-waiting"],
        );
        let archive = done[0]["archive"].as_str().unwrap();
        let done = shell.json(&scene, &["restore", archive, "--to", "ordered-dead.fifo"]);
        assert_eq!(done[0]["messages"], 2);
    }
}

#[test]
fn dead_letters_that_die_again_at_once_are_redriven_once() {
    let mut scene = Scene::new("ops");
    let dead = scene.broker.queue_url("ops-dead");
    // Of several queues SQS's own move task is not asked: it has one destination.
    scene.side.create_queue("other", Some("ops-dead"));
    let worker = scene.worker(1, &[]);
    scene.side.send(&["hello".to_owned(), "world".to_owned()]);
    wait_until("both are dead", PATIENCE, || {
        (counts(&mut scene, &dead) == (2, 0)).then_some(())
    });
    let redriven = done(worker.call(Command::Redrive {
        queue: "ops-dead".to_owned(),
        messages: Vec::new(),
        to: None,
    }));
    assert_eq!(redriven.messages, 2, "{redriven:?}");
    wait_until("both are dead again", PATIENCE, || {
        (counts(&mut scene, &dead) == (2, 0)).then_some(())
    });
}
