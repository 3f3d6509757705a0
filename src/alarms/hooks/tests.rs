#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::*;
use crate::domain::Severity;

/// Answers every request with the status that its body names after `status `, or else 204.
async fn endpoint() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    url
}

async fn answer(mut stream: TcpStream) {
    let mut request = String::new();
    let mut part = [0; 4096];
    while !request.ends_with('}') {
        let read = stream.read(&mut part).await.unwrap();
        request.push_str(std::str::from_utf8(&part[..read]).unwrap());
    }
    let status = request
        .split_once("status ")
        .map_or("204", |(_, rest)| &rest[..3]);
    let answer = format!("HTTP/1.1 {status} So\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    // The hook may have ended with its test.
    let _ = stream.write_all(answer.as_bytes()).await;
}

fn hook(settings: Value) -> AlarmHook {
    serde_json::from_value(settings).unwrap()
}

async fn runner() -> Runner {
    let hook = hook(json!({"name": "web", "url": endpoint().await}));
    Runner::start(hook, sender("http://127.0.0.1:9324/000000000000/tasks"))
}

/// A hook that takes everything, and needs no TLS as a client of HTTP does in each try.
fn willing() -> Runner {
    let hook = hook(json!({"name": "mail", "command": ["true"]}));
    Runner::start(hook, sender("http://127.0.0.1:9324/000000000000/tasks"))
}

fn sender(queue: &str) -> Sender {
    Sender::new("w1".to_owned(), "etl-1".to_owned(), queue)
}

fn job(runner_key: &str, about: &str, ended: Option<Timestamp>) -> Job {
    let text = about.to_owned();
    let alarm = Alarm::new(Severity::Critical, AlarmKind::Disk, about, text);
    let phase = if ended.is_some() { "ended" } else { "started" };
    Job {
        id: alarm.id(),
        since: Timestamp::UNIX_EPOCH.to_string(),
        key: format!("{runner_key}/{phase}"),
        alarm,
        ended,
    }
}

/// Waits until nothing is open; the ids of the deliveries that arrived, and of those that were lost.
async fn outcomes(runner: &Runner) -> (Vec<String>, Vec<String>) {
    let over = async {
        while !lock(&runner.status).open.is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_mins(1), over).await.unwrap();
    let (outcomes, _) = runner.progress();
    let names = |names: Vec<Value>| {
        let name = |name: &Value| format!("{} {}", name[0], name[2]).replace('"', "");
        names.iter().map(name).collect()
    };
    (names(outcomes.arrived), names(outcomes.lost))
}

#[tokio::test]
async fn a_refused_alarm_holds_up_no_other_and_the_hooks_own_alarm_says_why() {
    let runner = runner().await;
    let key = runner.key.clone();
    for about in ["status 400", "status 404", "fine"] {
        runner.deliver(job(&key, about, None));
    }
    let begun = Instant::now();
    let (arrived, lost) = outcomes(&runner).await;
    assert!(begun.elapsed() < BACK_OFF.first, "nothing was tried again");
    assert_eq!(arrived, [format!("disk/fine {key}/started")]);
    let refused = ["400", "404"].map(|status| format!("disk/status {status} {key}/started"));
    assert_eq!(lost, refused);
    let mut found = Found::default();
    runner.judge(&mut found);
    assert_eq!(
        found.0[0].text,
        "Alarm hook web does not take disk/status 404, which was not sent: its URL answered 404: \
         no reason was given"
    );

    runner.deliver(job(&key, "status 403", None));
    outcomes(&runner).await;
    let mut found = Found::default();
    runner.judge(&mut found);
    let text = &found.0[0].text;
    assert!(
        text.starts_with("Alarm hook web fails: its URL answered 403"),
        "{text}"
    );
}

#[test]
fn answers_that_blame_time_or_rate_and_those_of_a_broken_server_are_not_final() {
    let all = 300..600;
    let r#final: BTreeSet<u16> = all
        .filter(|status| {
            let (status, text) = (*status, String::new());
            HookError::Status { status, text }.is_final()
        })
        .collect();
    let expected = (400..500).filter(|status| ![408, 425, 429].contains(status));
    assert_eq!(r#final, expected.collect());
    assert!(!HookError::Late(10).is_final());
}

#[tokio::test]
async fn a_storm_drops_begins_and_sends_the_ends_of_those_that_arrived() {
    let runner = willing();
    let key = runner.key.clone();
    for number in 0..=RATE {
        runner.deliver(job(&key, &number.to_string(), None));
    }
    let (arrived, lost) = outcomes(&runner).await;
    assert_eq!(arrived.len(), RATE);
    assert_eq!(lost, [format!("disk/{RATE} {key}/started")]);
    let now = Some(Timestamp::now());
    for number in 0..=RATE {
        runner.deliver(job(&key, &number.to_string(), now));
    }
    let (arrived, lost) = outcomes(&runner).await;
    assert_eq!(arrived.len(), RATE);
    assert_eq!(
        lost,
        [format!("disk/{RATE} {key}/ended")],
        "nobody knows of it"
    );
}

#[tokio::test]
async fn an_end_that_does_not_fit_is_neither_sent_nor_lost() {
    let runner = willing();
    let key = runner.key.clone();
    let now = Some(Timestamp::now());
    // The hook's task has not run yet: all of them wait.
    for number in 0..=WAITING {
        runner.deliver(job(&key, &number.to_string(), now));
    }
    let (arrived, lost) = outcomes(&runner).await;
    assert_eq!((arrived.len(), lost.len()), (WAITING, 0));
    runner.deliver(job(&key, &WAITING.to_string(), now));
    let (arrived, _) = outcomes(&runner).await;
    assert_eq!(arrived, [format!("disk/{WAITING} {key}/ended")]);
}

#[test]
fn an_incident_of_pagerduty_has_a_short_name_of_its_own_in_each_deployment() {
    let hook = hook(json!({"name": "pager", "template": "pagerduty", "routing_key": "k"}));
    let key = |queue: &str, about: &str, ended| {
        let body = body::body(&hook, &sender(queue), &job("pager", about, ended));
        body["dedup_key"].as_str().unwrap().to_owned()
    };
    let aws = "https://sqs.eu-west-1.amazonaws.com/123456789012/tasks";
    assert_eq!(key(aws, "a", None), "eu-west-1/123456789012/tasks/disk/a");
    let hosts = [
        "http://127.0.0.1:9324/000000000000/tasks",
        "http://etl-1:9324/000000000000/tasks",
    ];
    let keys = hosts.map(|queue| key(queue, "a", None));
    assert_eq!(
        keys, ["000000000000/tasks/disk/a"; 2],
        "the host may differ"
    );

    let (one, other) = ("é".repeat(300), format!("{}x", "é".repeat(299)));
    let long = key(aws, &one, None);
    assert!(
        long.len() <= 255 && long.starts_with("eu-west-1/123456789012/tasks/disk/é"),
        "{long}"
    );
    assert_eq!(long, key(aws, &one, Some(Timestamp::now())));
    assert_ne!(long, key(aws, &other, None));
    let fits = "x".repeat(255 - key(aws, "", None).len());
    assert!(key(aws, &fits, None).ends_with(&fits));
}
