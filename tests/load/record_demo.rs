//! Records what the console's pictures are drawn from: `cargo run --example record_demo` after
//! `cargo build`.
//!
//! Runs the real `demo`, gives it work and trouble as an operator would (dead letters, a run that
//! fails, a backlog, then broker, webserver and worker that stop answering), and writes to
//! `tests/console/recorded` what a console knows at three moments and what it is answered where the
//! keys of a picture ask for more. Names of this machine, its user and its folders are replaced by
//! others; long lists are cut. Nothing else is changed.

#[path = "../console/pictures.rs"]
mod pictures;

use std::error::Error;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Config, Credentials, Region};
use dagster_taskiq_tui::console::alarms::HEARTBEAT_LATE;
use dagster_taskiq_tui::console::app::{App, Effect, Message, Setup};
use dagster_taskiq_tui::console::glyphs::UNICODE;
use dagster_taskiq_tui::console::theme::{Depth, Theme};
use dagster_taskiq_tui::console::{QuitPolicy, RingSettings, key};
use dagster_taskiq_tui::domain::{
    Answer, Command, JobRef, Launch, LogLevel, Query, QueueRole, QueueView, Reply, RunStatus,
    Snapshot, SourceHealth, SourceKind, Timestamp,
};
use dagster_taskiq_tui::fleet::{Aggregator, AggregatorOptions, Handle};
use jiff::tz::TimeZone;
use pictures::{Moment, PICTURES, Picture, Recording, SETTLING};
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use rustix::process::{Pid, Signal, kill_process};

type Failure = Box<dyn Error + Send + Sync>;

/// The longest a moment may take to come.
const PATIENCE: Duration = Duration::from_mins(3);

/// What is kept of long lists.
const LINES: usize = 60;
const TASKS: usize = 45;

fn main() -> Result<(), Failure> {
    tokio::runtime::Runtime::new()?.block_on(record())
}

async fn record() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let mut demo = Demo::start(folder.path())?;
    let aggregator = Aggregator::start(AggregatorOptions {
        discover: vec![demo.runtime_folder()],
        audit: Some(folder.path().join("state/dagster-taskiq-tui/audit.jsonl")),
        ..AggregatorOptions::default()
    });
    let running = |snapshot: &Snapshot| {
        snapshot
            .tasks
            .iter()
            .filter(|task| task.is_running())
            .count()
    };
    let waiting = |snapshot: &Snapshot| -> u64 {
        let bands = snapshot
            .queues
            .iter()
            .filter(|queue| queue.role != QueueRole::DeadLetter);
        bands.filter_map(|queue| Some(queue.counts?.visible)).sum()
    };
    let busy = |snapshot: &Snapshot| running(snapshot) >= 9 && waiting(snapshot) >= 12;
    let snapshot = until(&aggregator, "the runs are under way", busy).await?;
    demo.keep(&aggregator, Moment::UnderWay, &snapshot).await?;

    let all_over = |snapshot: &Snapshot| {
        snapshot.runs.len() == 4 && snapshot.runs.iter().all(|run| run.status.is_finished())
    };
    until(&aggregator, "the runs are over", all_over).await?;
    send_what_no_worker_knows(&snapshot).await?;
    let letters = |snapshot: &Snapshot| {
        let dead = |queue: &&QueueView| queue.role == QueueRole::DeadLetter;
        let mut queues = snapshot.queues.iter().filter(dead);
        queues.any(|queue| queue.counts.is_some_and(|counts| counts.visible == 3))
    };
    until(&aggregator, "three dead letters", letters).await?;
    let launches = |run_config: &str| Launch {
        run_config: run_config.to_owned(),
        ..Launch::job(job(&snapshot, "region_export"))
    };
    launch(&aggregator, launches(FAILS)).await?;
    let failed = |snapshot: &Snapshot| {
        snapshot
            .runs
            .iter()
            .any(|run| run.status == RunStatus::Failure)
    };
    until(&aggregator, "a run has failed", failed).await?;
    let partition = Launch {
        partition: Some(String::from("fjords")),
        ..launches("")
    };
    launch(&aggregator, partition).await?;
    for (name, priority) in [
        ("regional_scores", "-3"),
        ("regional_scores", "0"),
        ("daily_sales", "2"),
    ] {
        let urgent = Launch {
            tags: vec![(
                String::from("dagster-taskiq/run_priority"),
                priority.to_owned(),
            )],
            ..Launch::job(job(&snapshot, name))
        };
        launch(&aggregator, urgent).await?;
    }
    let worker = snapshot.workers.first().ok_or("no worker")?.id.clone();
    ask(&aggregator, Some(worker), Command::Scale { steps: 8 }).await?;
    let snapshot = until(&aggregator, "a backlog beside dead letters", busy).await?;
    demo.keep(&aggregator, Moment::Night, &snapshot).await?;

    demo.stop_answering("dagster_webserver")?;
    demo.stop_answering("broker\0serve")?;
    let down = |snapshot: &Snapshot| {
        let is_down = |kind| {
            let down = |health: &SourceHealth| matches!(health, SourceHealth::Down { .. });
            let mut sources = snapshot.sources.iter();
            sources.any(|source| source.kind == kind && down(&source.health))
        };
        is_down(SourceKind::Broker) && is_down(SourceKind::Webserver)
    };
    until(&aggregator, "broker and webserver are missed", down).await?;
    demo.stop_answering("worker\0start")?;
    let silent = |snapshot: &Snapshot| {
        let limit = i64::try_from(HEARTBEAT_LATE).unwrap_or(i64::MAX) + 5;
        let age = |at: Timestamp| Timestamp::now().duration_since(at).as_secs();
        snapshot
            .workers
            .iter()
            .all(|worker| age(worker.heartbeat_at) > limit)
    };
    until(&aggregator, "the worker is silent", silent).await?;
    demo.keep(&aggregator, Moment::Trouble, &aggregator.snapshot())
        .await?;
    demo.end()
}

/// A configuration with which the sample's export fails in the middle.
const FAILS: &str = "\
ops:
  collect: {config: {region: alps}}
  export: {config: {chunks: 5, seconds_per_chunk: 0.2, fail: true}}
";

async fn until(
    aggregator: &Handle,
    what: &str,
    holds: impl Fn(&Snapshot) -> bool,
) -> Result<Arc<Snapshot>, Failure> {
    println!("waiting until {what}");
    let mut snapshots = aggregator.watch();
    let ended = async {
        loop {
            let snapshot = Arc::clone(&snapshots.borrow_and_update());
            if holds(&snapshot) {
                return Ok::<_, Failure>(snapshot);
            }
            // Some of it comes with the time alone.
            let changed = tokio::time::timeout(Duration::from_secs(1), snapshots.changed());
            if let Ok(changed) = changed.await {
                changed?;
            }
        }
    };
    let waited = tokio::time::timeout(PATIENCE, ended).await;
    waited.map_err(|_| format!("waited in vain until {what}"))?
}

async fn ask(aggregator: &Handle, worker: Option<String>, command: Command) -> Result<(), Failure> {
    let reply = aggregator.request(worker, command).await?;
    if let Some(reason) = reply.problem() {
        return Err(reason.into());
    }
    println!("{reply:?}");
    Ok(())
}

async fn launch(aggregator: &Handle, launch: Launch) -> Result<(), Failure> {
    ask(aggregator, None, Command::LaunchRun(launch)).await
}

fn job(snapshot: &Snapshot, name: &str) -> JobRef {
    let job = snapshot.jobs.iter().find(|job| job.job == name);
    job.cloned()
        .unwrap_or_else(|| panic!("the demo has no job {name}"))
}

/// Presses a picture's keys on a console whose questions the aggregator answers.
async fn ask_as(
    &(_, size, keys, _): &Picture,
    aggregator: &Handle,
    snapshot: &Arc<Snapshot>,
    now: Timestamp,
    answers: &mut Vec<(Query, Answer)>,
) -> Result<(), Failure> {
    let setup = Setup {
        read_only: false,
        context: String::new(),
        contexts: Vec::new(),
        quit: QuitPolicy::Leave,
        glyphs: &UNICODE,
        depth: Depth::True,
        has_desktop: false,
        zone: TimeZone::UTC,
        reduced_motion: false,
        ring: RingSettings::default(),
    };
    let mut app = App::new(setup, Theme::load("dark", Depth::True)?);
    let mut messages = vec![
        Message::Resize(size.0, size.1),
        Message::Snapshot(Arc::clone(snapshot)),
    ];
    messages.extend(key::parse(keys).into_iter().map(Message::Key));
    // An answer leads to the next question.
    messages.extend(std::iter::repeat_n(Message::Tick, SETTLING));
    for message in messages {
        let mut effects = app.update(message, now);
        while let Some(effect) = effects.pop() {
            let Effect::Request {
                request,
                worker,
                command: Command::Query(query),
                ..
            } = effect
            else {
                continue;
            };
            let known = answers.iter().find(|(asked, _)| *asked == query);
            let answer = match known {
                Some((_, answer)) => answer.clone(),
                None => match aggregator
                    .request(worker, Command::Query(query.clone()))
                    .await?
                {
                    Reply::Answer(answer) => *answer,
                    other => {
                        println!("{query:?}: {other:?}");
                        continue;
                    }
                },
            };
            if known.is_none() {
                answers.push((query, answer.clone()));
            }
            let reply = Reply::Answer(Box::new(answer));
            effects.extend(app.update(Message::Reply { request, reply }, now));
        }
    }
    Ok(())
}

/// What comes onto queues that several programs know.
async fn send_what_no_worker_knows(snapshot: &Snapshot) -> Result<(), Failure> {
    let unknown = r#"{"task_id":"5d1c0de0a3b14a0c9a3c6a1b7f2e9d10","task_name":"send_report","labels":{"priority":"6"},"args":["sales","2026-03-13"],"kwargs":{"to":"cfo@example.com"}}"#;
    let older = r#"{"task_id":"c0ffee00a3b14a0c9a3c6a1b7f2e9d11","task_name":"dagster_celery.execute_plan","labels":{},"args":[],"kwargs":{}}"#;
    for (role, body) in [
        (QueueRole::Base, unknown),
        (QueueRole::Base, "ping"),
        (QueueRole::Runs, older),
    ] {
        let queue = snapshot.queues.iter().find(|queue| queue.role == role);
        let url = &queue.ok_or("a queue is missing")?.url;
        let endpoint = url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        let config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .credentials_provider(Credentials::new("local", "local", None, None, "demo"))
            .region(Region::new("us-east-1"))
            .endpoint_url(endpoint)
            .build();
        let send = Client::from_conf(config).send_message();
        send.queue_url(url).message_body(body).send().await?;
    }
    Ok(())
}

/// The demo in a pseudo-terminal; ended when dropped.
struct Demo {
    child: Box<dyn Child + Send + Sync>,
    master: Box<dyn MasterPty + Send>,
    folder: PathBuf,
    stopped: Vec<Pid>,
}

impl Demo {
    fn start(folder: &Path) -> Result<Self, Failure> {
        let here = std::env::current_exe()?;
        let built = here.ancestors().nth(2).ok_or("no target folder")?;
        let program = built.join("dagster-taskiq-tui");
        if !program.exists() {
            return Err(format!("{} is missing: cargo build makes it", program.display()).into());
        }
        let pair = native_pty_system().openpty(PtySize {
            rows: 24,
            cols: 80,
            ..PtySize::default()
        })?;
        let mut command = CommandBuilder::new(program);
        command.args(["demo", "--no-ui", "--dir"]);
        command.arg(folder.join("demo"));
        command.env("XDG_RUNTIME_DIR", folder.join("run"));
        command.env("XDG_STATE_HOME", folder.join("state"));
        fs::create_dir_all(folder.join("run"))?;
        let child = pair.slave.spawn_command(command)?;
        let mut reader = pair.master.try_clone_reader()?;
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = reader.read(&mut bytes) {
                // Only for who watches.
                let _ = std::io::stdout().write_all(&bytes[..read]);
            }
        });
        Ok(Self {
            child,
            master: pair.master,
            folder: folder.to_owned(),
            stopped: Vec::new(),
        })
    }

    fn runtime_folder(&self) -> PathBuf {
        self.folder.join("run/dagster-taskiq-tui")
    }

    /// Writes what is known at this moment, and what the keys of its pictures are answered.
    async fn keep(
        &self,
        aggregator: &Handle,
        moment: Moment,
        snapshot: &Arc<Snapshot>,
    ) -> Result<(), Failure> {
        let taken_at = Timestamp::now();
        let mut answers = Vec::new();
        for picture in PICTURES.iter().filter(|picture| picture.3 == moment) {
            ask_as(picture, aggregator, snapshot, taken_at, &mut answers).await?;
        }
        let mut snapshot = (**snapshot).clone();
        Arc::make_mut(&mut snapshot.recent).truncate(TASKS);
        let logs = Arc::make_mut(&mut snapshot.logs);
        logs.retain(|line| line.level > LogLevel::Debug);
        logs.drain(..logs.len().saturating_sub(LINES));
        let recording = Recording {
            taken_at,
            snapshot,
            answers,
        };
        let text = self.neutral(&serde_json::to_string(&recording)?)?;
        let text = text.replace("},{", "},\n{") + "\n";
        fs::write(moment.file(), &text)?;
        println!("{moment:?}: {} bytes", text.len());
        Ok(())
    }

    /// The text without what belongs to this machine.
    fn neutral(&self, text: &str) -> Result<String, Failure> {
        let home = std::env::var("HOME")?;
        let host = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        let user = users_name()?;
        let folder = self.folder.to_string_lossy();
        Ok(text
            .replace(&format!("{folder}/run"), "/run/user/1000")
            .replace(
                &format!("{folder}/demo"),
                "/home/ann/.cache/dagster-taskiq-tui/demo",
            )
            .replace(&format!("{home}/"), "/home/ann/")
            .replace(&format!("{user}@{host}"), "ann@etl-1")
            .replace(&format!("\"user\":\"{user}\""), "\"user\":\"ann\"")
            .replace(&format!("\"host\":\"{host}\""), "\"host\":\"etl-1\"")
            .replace(
                &format!("\"hostname\":\"{host}\""),
                "\"hostname\":\"etl-1\"",
            )
            .replace(&format!("on {host} "), "on etl-1 "))
    }

    /// Holds the demo's processes with these words in their command line.
    fn stop_answering(&mut self, words: &str) -> Result<(), Failure> {
        let ours = self.folder.to_string_lossy().into_owned();
        for entry in fs::read_dir("/proc")? {
            let entry = entry?;
            let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
            let line = String::from_utf8_lossy(&read("cmdline")).into_owned();
            let environment = String::from_utf8_lossy(&read("environ")).into_owned();
            let is_ours = line.contains(&ours) || environment.contains(&ours);
            // A guard has the command line of what it guards.
            if !is_ours || !line.contains(words) || line.contains("\0guard\0") {
                continue;
            }
            let pid = entry.file_name().to_string_lossy().parse().ok();
            if let Some(pid) = pid.and_then(Pid::from_raw) {
                kill_process(pid, Signal::STOP)?;
                self.stopped.push(pid);
            }
        }
        Ok(())
    }

    fn go_on(&mut self) {
        for pid in self.stopped.drain(..) {
            // One that is gone needs nothing.
            let _ = kill_process(pid, Signal::CONT);
        }
    }

    fn end(mut self) -> Result<(), Failure> {
        self.go_on();
        self.master.take_writer()?.write_all(b"\x03")?;
        let code = self.child.wait()?;
        println!("the demo ended with {code}");
        Ok(())
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.go_on();
        let pid = self
            .child
            .process_id()
            .and_then(|pid| Pid::from_raw(pid.cast_signed()));
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

/// The name under which this user's commands are in the audit log.
fn users_name() -> Result<String, Failure> {
    let uid = rustix::process::getuid().as_raw().to_string();
    let accounts = fs::read_to_string("/etc/passwd")?;
    let mut fields = accounts
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    let account = fields.find(|fields| fields.get(2) == Some(&uid.as_str()));
    Ok(account.map_or(uid.clone(), |fields| fields[0].to_owned()))
}
