//! Runs a program of the operator's own: without a terminal, within a time limit, with the end of its
//! output kept.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures::future::{join3, maybe_done};
use rustix::process::{Pid, Signal, kill_process_group, setsid};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Call, fields};
use crate::console::text;
use crate::domain::Reply;
use crate::protocol::audit::{self, AuditLog};

/// Bytes of the end of each output that are kept.
const KEPT: usize = 8 * 1024;

/// Maximum columns of the line that is shown.
const SHOWN: u16 = 200;

/// Time for the rest of a program's output after its end: a process that it left behind may keep it
/// open.
const LEFT_BEHIND: Duration = Duration::from_millis(200);

/// Variable with the view's name.
const VIEW: &str = "DAGSTER_TASKIQ_VIEW";

/// Why a program did not do its work.
#[derive(Debug, Error)]
enum ProgramError {
    /// It could not be started.
    #[error("cannot start `{program}`: {source}")]
    Start {
        /// The program.
        program: String,
        /// The system's error.
        source: io::Error,
    },
    /// It could not be waited for.
    #[error("cannot wait for `{program}`: {source}")]
    Wait {
        /// The program.
        program: String,
        /// The system's error.
        source: io::Error,
    },
    /// It failed.
    #[error("`{program}` ended with {status}{text}")]
    Failed {
        /// The program.
        program: String,
        /// Exit code or signal.
        status: ExitStatus,
        /// Its last words.
        text: String,
    },
    /// The time limit.
    #[error("`{program}` did not end within {seconds} s, and was killed; `timeout` gives it more")]
    Late {
        /// The program.
        program: String,
        /// The limit.
        seconds: u64,
    },
    /// The console ends.
    #[error("`{program}` was killed, because the console was left")]
    Left {
        /// The program.
        program: String,
    },
}

/// Runs a program; returns one sentence with the last line of its output, or why it failed. Both are
/// written to the audit log if the program changes something.
pub(in crate::console) async fn run(
    call: Call,
    log: Option<AuditLog>,
    leaving: CancellationToken,
) -> Reply {
    let name = call.name;
    let outcome = execute(&call, &leaving).await;
    let outcome = outcome.map_err(|error| error.to_string());
    if let (Some(log), Some(target)) = (log, &call.target) {
        let entry = audit::program_entry(name, target, &outcome);
        log.record(entry.because(call.reason.as_deref())).await;
    }
    let reply = match outcome {
        Ok(text) => Reply::Done(format!("{name}: {text}")),
        Err(text) => Reply::Failed(format!("{name}: {text}")),
    };
    reply.redacted()
}

async fn execute(call: &Call, leaving: &CancellationToken) -> Result<String, ProgramError> {
    let (program, arguments) = match call.words.split_first() {
        Some((program, arguments)) => (program.clone(), arguments),
        None => (String::new(), &[][..]),
    };
    let mut command = Command::new(&program);
    command
        .args(arguments)
        .envs(fields::variables(&call.row))
        .env(VIEW, call.view)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    without_terminal(&mut command);
    let mut child = command.spawn().map_err(|source| ProgramError::Start {
        program: program.clone(),
        source,
    })?;
    // After the child: it is killed before its process id is free again.
    let mut group = Group::of(&child);
    let work = timeout(call.limit, finish(&mut child, &mut group, &call.row));
    let (status, output) = tokio::select! {
        done = work => match done {
            Ok(Ok(done)) => done,
            Ok(Err(source)) => return Err(ProgramError::Wait { program, source }),
            Err(_) => return Err(ProgramError::Late { program, seconds: call.limit.as_secs() }),
        },
        () = leaving.cancelled() => return Err(ProgramError::Left { program }),
    };
    let [out, errors] = output.map(|bytes| last_line(&bytes));
    if status.success() {
        return Ok(out.unwrap_or_else(|| String::from("done")));
    }
    let text = errors.or(out).map(|line| format!(": {line}"));
    let text = text.unwrap_or_default();
    Err(ProgramError::Failed {
        program,
        status,
        text,
    })
}

/// Starts the program in a session of its own: it has no terminal to write on or to read from, and
/// can be killed with the processes that it starts.
fn without_terminal(command: &mut Command) {
    // SAFETY: between fork and exec the child makes one system call and touches no memory of others.
    #[expect(
        unsafe_code,
        reason = "the standard library has no safe way to a session of its own"
    )]
    unsafe {
        command.pre_exec(|| setsid().map(drop).map_err(io::Error::from));
    }
}

/// The processes of a program; they are killed on drop, unless it has ended by itself.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        Self(pid)
    }

    /// What it started and left running is its own business from now on.
    fn release(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // It may have ended in the meantime.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// Gives a program its row and waits for its end; returns its status and the ends of both outputs.
async fn finish(
    child: &mut Child,
    group: &mut Group,
    row: &serde_json::Value,
) -> io::Result<(ExitStatus, [Vec<u8>; 2])> {
    let (input, out, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (mut out_end, mut errors_end) = (Vec::new(), Vec::new());
    let status = {
        let write = async {
            if let Some(mut input) = input {
                // A program need not read its input.
                let _ = input.write_all(format!("{row}\n").as_bytes()).await;
            }
        };
        let streams = join3(
            write,
            keep_end(out, &mut out_end),
            keep_end(errors, &mut errors_end),
        );
        let mut streams = std::pin::pin!(maybe_done(streams));
        let status = tokio::select! {
            status = child.wait() => status,
            () = &mut streams => child.wait().await,
        }?;
        group.release();
        let _ = timeout(LEFT_BEHIND, &mut streams).await;
        status
    };
    Ok((status, [out_end, errors_end]))
}

/// Reads a stream to its end, and keeps the last bytes of it.
async fn keep_end(stream: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut stream) = stream else { return };
    let mut bytes = vec![0; KEPT];
    while let Ok(read @ 1..) = stream.read(&mut bytes).await {
        kept.extend_from_slice(&bytes[..read]);
        let before = kept.len().saturating_sub(KEPT);
        kept.drain(..before);
    }
}

/// The last line with text, without anything a terminal would interpret.
fn last_line(bytes: &[u8]) -> Option<String> {
    let output = String::from_utf8_lossy(bytes);
    let mut lines = output.lines().rev().map(text::clean);
    let line = lines.find(|line| !line.trim().is_empty())?;
    Some(text::fit(line.trim(), SHOWN, "…").into_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    fn call(words: &[&str], limit: Duration) -> Call {
        Call {
            request: 1,
            name: "mine",
            view: "runs",
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            row: json!({"run_id": "4f0c"}),
            limit,
            target: Some(String::from("run 4f0c")),
            reason: Some(String::from("a test")),
        }
    }

    const MINUTE: Duration = Duration::from_mins(1);

    async fn outcome(script: &str) -> Reply {
        let call = call(&["sh", "-c", script], MINUTE);
        run(call, None, CancellationToken::new()).await
    }

    fn done(text: &str) -> Reply {
        Reply::Done(format!("mine: {text}"))
    }

    #[tokio::test]
    async fn the_last_line_is_the_outcome_and_harmless() {
        let noise = r"head -c 100000 /dev/zero; printf 'first\n\033[31mred\033]0;title\007\rlast \033[1mline\n\n'";
        assert_eq!(outcome(noise).await, done("last line"));
        assert_eq!(outcome("true").await, done("done"));
        let failed = outcome("echo some; echo why >&2; exit 3").await;
        let text = "mine: `sh` ended with exit status: 3: why";
        assert_eq!(failed, Reply::Failed(text.to_owned()));
        let long = outcome("printf '%01000d' 7").await;
        assert!(matches!(long, Reply::Done(text) if text.chars().count() < 220));
    }

    #[tokio::test]
    async fn a_program_has_its_row_in_its_input_and_environment_and_no_terminal() {
        let both = "read row; echo \"$row $DAGSTER_TASKIQ_ROW_RUN_ID $DAGSTER_TASKIQ_VIEW\"";
        assert_eq!(outcome(both).await, done(r#"{"run_id":"4f0c"} 4f0c runs"#));
        let terminal = outcome("(: >/dev/tty) 2>/dev/null || echo none").await;
        assert_eq!(terminal, done("none"));
    }

    #[tokio::test]
    async fn one_that_leaves_a_process_behind_has_ended_and_that_lives_on() {
        let left = outcome("sleep 1000 & echo $!").await;
        let Reply::Done(text) = left else {
            panic!("{left:?}");
        };
        let pid: i32 = text.trim_start_matches("mine: ").parse().unwrap();
        let pid = Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
    }

    #[tokio::test]
    async fn a_missing_program_is_one_sentence() {
        let call = call(&["/nowhere/x"], MINUTE);
        let failed = run(call, None, CancellationToken::new()).await;
        let text = "mine: cannot start `/nowhere/x`: No such file or directory (os error 2)";
        assert_eq!(failed, Reply::Failed(text.to_owned()));
    }

    /// Waits for the end of a program that announces its own processes in a file.
    async fn ends_with_its_processes(limit: Duration, leaves: bool, expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        let pids = folder.path().join("pids");
        let script = format!("sleep 1000 & echo $$ $! >{}; wait", pids.display());
        let call = call(&["sh", "-c", &script], limit);
        let leaving = CancellationToken::new();
        let running = tokio::spawn(run(call, None, leaving.clone()));
        let known = loop {
            let known = std::fs::read_to_string(&pids).unwrap_or_default();
            // On a busy machine it may be killed before it has written.
            if known.ends_with('\n') || running.is_finished() {
                break known;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        if leaves {
            leaving.cancel();
        }
        let Reply::Failed(text) = running.await.unwrap() else {
            panic!("it cannot have ended by itself");
        };
        assert!(text.contains(expected), "{text}");
        for pid in known.split_whitespace() {
            let stat = format!("/proc/{pid}/stat");
            // Killed ones may not have been waited for yet.
            let lives = || {
                let stat = std::fs::read_to_string(&stat).unwrap_or_default();
                stat.rsplit_once(") ")
                    .is_some_and(|(_, rest)| !rest.starts_with('Z'))
            };
            while lives() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    #[tokio::test]
    async fn at_its_time_limit_it_is_killed_with_its_processes() {
        let limit = Duration::from_secs(1);
        ends_with_its_processes(limit, false, "did not end within 1 s").await;
    }

    #[tokio::test]
    async fn when_the_console_is_left_it_is_killed_with_its_processes() {
        ends_with_its_processes(MINUTE, true, "the console was left").await;
    }

    #[tokio::test]
    async fn the_audit_log_has_a_line_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let call = call(&["sh", "-c", "echo filed as OPS-7"], MINUTE);
        let log = AuditLog::new(path.clone());
        run(call, Some(log), CancellationToken::new()).await;
        let line = std::fs::read_to_string(path).unwrap();
        let entry: crate::domain::AuditEntry = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (entry.verb.as_str(), entry.target.as_str()),
            ("mine", "run 4f0c")
        );
        assert_eq!((entry.done, entry.text.as_str()), (true, "filed as OPS-7"));
        assert_eq!(entry.reason.as_deref(), Some("a test"));
    }
}
