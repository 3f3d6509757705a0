//! One try of a delivery: a request, or a command.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use rustix::process::{Pid, Signal, kill_process_group};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::{Job, Sender, body};
use crate::config::AlarmHook;
use crate::domain::{innermost, reason};

/// Endpoint of `PagerDuty`'s Events API v2.
const PAGERDUTY: &str = "https://events.pagerduty.com/v2/enqueue";

/// Maximum number of bytes of an answer or of output that an error quotes.
const QUOTED: u64 = 500;

/// Time for the rest of a command's output after its end.
const LEFT_BEHIND: Duration = Duration::from_millis(200);

/// Why a delivery did not arrive. No text contains the URL, whose path may be a secret.
#[derive(Debug, Error)]
pub enum HookError {
    /// No answer.
    #[error("its URL does not answer: {0}")]
    Unreachable(String),
    /// Another status than success.
    #[error("its URL answered {status}: {text}")]
    Status {
        /// The status.
        status: u16,
        /// The beginning of the answer.
        text: String,
    },
    /// A header of the settings.
    #[error("its header {0} cannot be sent")]
    Header(String),
    /// The command could not be started.
    #[error("its command {program} cannot be started: {source}")]
    Start {
        /// The program.
        program: String,
        /// The system's error.
        source: io::Error,
    },
    /// The command failed.
    #[error("its command ended with {status}: {text}")]
    Failed {
        /// Exit code or signal.
        status: String,
        /// The beginning of its error output, or else the end of its other output.
        text: String,
    },
    /// The time limit.
    #[error("it did not end within {0} s")]
    Late(u64),
}

impl HookError {
    /// Whether the same message would get the same answer: the receiver blames the request, and
    /// neither its time (408, 425) nor its rate (429).
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Status {
                status: 408 | 425 | 429,
                ..
            } => false,
            Self::Status { status, .. } => (400..500).contains(status),
            _ => false,
        }
    }
}

pub(super) async fn send(hook: &AlarmHook, sender: &Sender, job: &Job) -> Result<(), HookError> {
    let limit = Duration::from_secs(hook.timeout);
    if hook.command.is_empty() {
        let posted = timeout(limit, post(hook, sender, job)).await;
        posted.unwrap_or(Err(HookError::Late(hook.timeout)))
    } else {
        execute(hook, sender, job, limit).await
    }
}

async fn post(hook: &AlarmHook, sender: &Sender, job: &Job) -> Result<(), HookError> {
    // The URL is left out: an error of reqwest quotes it otherwise.
    let failed = |error: reqwest::Error| HookError::Unreachable(innermost(&error.without_url()));
    let policy = reqwest::redirect::Policy::none();
    let client = reqwest::Client::builder().redirect(policy).build();
    let url = hook.url.as_deref().unwrap_or(PAGERDUTY);
    let request = client.map_err(failed)?.post(url);
    let headers = hook.header_map().map_err(HookError::Header)?;
    let request = request
        .headers(headers)
        .header(CONTENT_TYPE, "application/json")
        .body(body::body(hook, sender, job).to_string());
    let mut answer = request.send().await.map_err(failed)?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let chunk = answer.chunk().await.ok().flatten().unwrap_or_default();
    let quoted = &chunk[..chunk.len().min(usize::try_from(QUOTED).unwrap_or(0))];
    Err(HookError::Status {
        status: status.as_u16(),
        text: reason(&String::from_utf8_lossy(quoted)),
    })
}

/// Runs the command in a process group of its own, which is killed when it takes too long.
async fn execute(
    hook: &AlarmHook,
    sender: &Sender,
    job: &Job,
    limit: Duration,
) -> Result<(), HookError> {
    let Some((program, arguments)) = hook.command.split_first() else {
        return Ok(());
    };
    let alarm = &job.alarm;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("DAGSTER_TASKIQ_ALARM_EVENT", body::change(job).word())
        .env("DAGSTER_TASKIQ_ALARM_ID", reason(&job.id))
        .env("DAGSTER_TASKIQ_ALARM_KIND", alarm.kind.name())
        .env("DAGSTER_TASKIQ_ALARM_SUBJECT", reason(&alarm.about))
        .env("DAGSTER_TASKIQ_ALARM_SEVERITY", alarm.severity.name())
        .env("DAGSTER_TASKIQ_ALARM_TEXT", reason(&alarm.text))
        .env("DAGSTER_TASKIQ_ALARM_WORKER", &sender.worker)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|source| HookError::Start {
        program: program.clone(),
        source,
    })?;
    let group = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
    let mut text = body::generic(sender, job).to_string();
    text.push('\n');
    let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let work = async {
        let write = async {
            if let Some(mut input) = input {
                // A command need not read its input.
                let _ = input.write_all(text.as_bytes()).await;
            }
        };
        let errors = errors.map(|errors| AbortOnDropHandle::new(tokio::spawn(beginning(errors))));
        let output = output.map(|output| AbortOnDropHandle::new(tokio::spawn(end(output))));
        let ((), status) = tokio::join!(write, child.wait());
        let (errors, output) = tokio::join!(quoted(errors), quoted(output));
        let quoted = if errors.trim_ascii().is_empty() {
            output
        } else {
            errors
        };
        (reason(&String::from_utf8_lossy(&quoted)), status)
    };
    match timeout(limit, work).await {
        Ok((_, Ok(status))) if status.success() => Ok(()),
        Ok((text, status)) => Err(HookError::Failed {
            status: status.map_or_else(|error| error.to_string(), |status| status.to_string()),
            text,
        }),
        Err(_) => {
            if let Some(group) = group {
                // It may have ended in the meantime.
                let _ = kill_process_group(group, Signal::KILL);
            }
            Err(HookError::Late(hook.timeout))
        }
    }
}

/// The kept part of a stream. A process that the command left behind may hold it open.
async fn quoted(kept: Option<AbortOnDropHandle<Vec<u8>>>) -> Vec<u8> {
    let read = match kept {
        Some(kept) => timeout(LEFT_BEHIND, kept).await.ok(),
        None => None,
    };
    read.and_then(Result::ok).unwrap_or_default()
}

/// The beginning of a stream, which is read to its end.
async fn beginning(mut stream: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = (&mut stream).take(QUOTED).read_to_end(&mut bytes).await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    bytes
}

/// The end of a stream: of what a program prints, the last lines say why it failed.
async fn end(mut stream: impl AsyncRead + Unpin) -> Vec<u8> {
    let kept = usize::try_from(QUOTED).unwrap_or(0);
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut part).await {
        bytes.extend_from_slice(&part[..read]);
        bytes.drain(..bytes.len().saturating_sub(kept));
    }
    bytes
}
