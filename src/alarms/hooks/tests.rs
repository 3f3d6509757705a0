#![expect(clippy::unwrap_used, reason = "tests")]

use serde_json::json;

use super::*;
use crate::domain::Severity;

fn hook(settings: Value) -> AlarmHook {
    serde_json::from_value(settings).unwrap()
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
