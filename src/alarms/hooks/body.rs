//! The message: an alarm as JSON, in the form of the hook's template.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Job, Sender};
use crate::config::{AlarmHook, HookTemplate};
use crate::domain::{AlarmChange, Severity};

/// Maximum number of characters of `PagerDuty`'s summary.
const SUMMARY: usize = 1024;

/// Maximum length of `PagerDuty`'s `dedup_key`; it says characters, and these are bytes.
const DEDUP_KEY: usize = 255;

pub(super) fn change(job: &Job) -> AlarmChange {
    match job.ended {
        Some(_) => AlarmChange::Ended,
        None => AlarmChange::Started,
    }
}

/// The message of a hook.
pub(super) fn body(hook: &AlarmHook, sender: &Sender, job: &Job) -> Value {
    match hook.template {
        HookTemplate::Generic => generic(sender, job),
        HookTemplate::Slack => slack(job),
        HookTemplate::Pagerduty => pagerduty(hook, sender, job),
    }
}

/// The alarm itself.
pub(super) fn generic(sender: &Sender, job: &Job) -> Value {
    let alarm = &job.alarm;
    json!({
        "event": change(job).word(),
        "id": job.id,
        "kind": alarm.kind,
        "subject": alarm.about,
        "severity": alarm.severity,
        "text": alarm.text,
        "since": alarm.since,
        "ended": job.ended,
        "worker": sender.worker,
        "host": sender.host,
    })
}

/// `mrkdwn` takes `&`, `<` and `>` only escaped.
fn slack(job: &Job) -> Value {
    let alarm = &job.alarm;
    let escaped = |text: &str| {
        let text = text.replace('&', "&amp;");
        text.replace('<', "&lt;").replace('>', "&gt;")
    };
    let sign = match (job.ended, alarm.severity) {
        (Some(_), _) => ":white_check_mark: ended:",
        (None, Severity::Critical) => ":red_circle:",
        (None, Severity::Warning) => ":warning:",
    };
    let (text, id) = (escaped(&alarm.text), escaped(&job.id));
    json!({"text": format!("{sign} {text}\n`{id}`")})
}

/// Names an incident: the same at an alarm's begin and end, whichever worker sends it, and another
/// one for each deployment, since several may share a routing key.
fn dedup_key(sender: &Sender, job: &Job) -> String {
    let mut key = format!("{}/{}", sender.deployment, job.id);
    if key.len() > DEDUP_KEY {
        let digest = format!("-{}", hex::encode(Sha256::digest(key.as_bytes())));
        key.truncate(key.floor_char_boundary(DEDUP_KEY - digest.len()));
        key.push_str(&digest);
    }
    key
}

fn pagerduty(hook: &AlarmHook, sender: &Sender, job: &Job) -> Value {
    let alarm = &job.alarm;
    let action = match job.ended {
        Some(_) => "resolve",
        None => "trigger",
    };
    let summary: String = alarm.text.chars().take(SUMMARY).collect();
    json!({
        "routing_key": hook.routing_key,
        "event_action": action,
        "dedup_key": dedup_key(sender, job),
        "client": "dagster-taskiq-tui",
        "payload": {
            "summary": summary,
            "source": sender.host,
            "severity": alarm.severity,
            "timestamp": alarm.since,
            "component": alarm.about,
            "class": alarm.kind,
        },
    })
}
