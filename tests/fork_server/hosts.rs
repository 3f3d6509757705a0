//! What the host tests share: a Dagster home, Dagster's side of the story, and hosts to run steps.
//!
//! Starting Python with dagster takes seconds, so tests share one home, one helper process and one
//! set of hosts, and tell their work apart by its run. Tests that harm hosts start their own.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use dagster_taskiq_tui::domain::{Isolation, TaskKind};
use dagster_taskiq_tui::environment::packages;
use dagster_taskiq_tui::fork_server::{
    Execution, ForkServerNotice, ForkServerSettings, ForkServers, IsolationSettings, LostPolicy,
    Outcome, Progress, StepStatus, WorkerIdentity,
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use crate::support::{self, PATIENCE};

/// The one runtime of this test binary: the shared hosts live on it.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().unwrap())
}

/// The shared `DAGSTER_HOME`, emptied once per test process.
pub fn home() -> &'static Path {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    HOME.get_or_init(|| {
        let home =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("host-{}", std::process::id()));
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(&home).unwrap();
        fs::write(home.join("dagster.yaml"), "telemetry: {enabled: false}\n").unwrap();
        home
    })
}

/// Dagster's side: `tests/fork_server/dagster_side.py`.
pub struct Side {
    _child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Side {
    fn start() -> Self {
        let mut child = support::python_command()
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fork_server/dagster_side.py"))
            .env("DAGSTER_HOME", home())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self {
            _child: child,
            input,
            output,
        }
    }

    fn call(&mut self, verb: &str, arguments: &Value) -> Value {
        writeln!(self.input, "{}", json!([verb, arguments])).unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("{verb}: the helper answered {line:?}"))
    }
}

fn side() -> MutexGuard<'static, Side> {
    static SIDE: OnceLock<Mutex<Side>> = OnceLock::new();
    SIDE.get_or_init(|| Mutex::new(Side::start()))
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

/// Asks Dagster's side.
pub fn ask(verb: &str, arguments: &Value) -> Value {
    side().call(verb, arguments)
}

/// A run in the shared instance.
pub struct Run {
    pub id: String,
}

impl Run {
    pub fn new(job: &str, status: &str) -> Self {
        Self::of(&json!({"job": job, "status": status}))
    }

    pub fn of(arguments: &Value) -> Self {
        Self::made("make_run", arguments)
    }

    /// A run that a verb of Dagster's side makes.
    pub fn made(verb: &str, arguments: &Value) -> Self {
        let id = ask(verb, arguments)["run_id"].as_str().unwrap().to_owned();
        fs::create_dir_all(home().join("traces").join(&id)).unwrap();
        Self { id }
    }

    /// The message for one attempt of a step.
    pub fn step(&self, step: &str, attempt: u32) -> Execution {
        let arguments = json!({"run_id": self.id, "step": step, "attempt": attempt});
        execution(
            TaskKind::ExecutePlan,
            ask("step_message", &arguments),
            attempt,
        )
    }

    /// The message for the run itself.
    pub fn whole(&self, resume: bool) -> Execution {
        let kind = if resume {
            TaskKind::ResumeJob
        } else {
            TaskKind::ExecuteJob
        };
        execution(
            kind,
            ask("run_message", &json!({"run_id": self.id, "resume": resume})),
            1,
        )
    }

    /// The step's events, oldest first.
    pub fn events(&self, step: &str) -> Vec<Value> {
        let events = ask("events", &json!({"run_id": self.id, "step": step}));
        events.as_array().unwrap().clone()
    }

    /// How many of the step's events have this type.
    pub fn count(&self, step: &str, event_type: &str) -> usize {
        self.events(step)
            .iter()
            .filter(|event| event["type"] == event_type)
            .count()
    }

    /// The step's last event of this type.
    pub fn last(&self, step: &str, event_type: &str) -> Value {
        let events = self.events(step);
        let types: Vec<_> = events.iter().map(|event| event["type"].clone()).collect();
        events
            .into_iter()
            .rfind(|event| event["type"] == event_type)
            .unwrap_or_else(|| panic!("{step} has no {event_type}, only {types:?}"))
    }

    pub fn status(&self) -> String {
        ask("status", &json!({"run_id": self.id}))
            .as_str()
            .unwrap()
            .to_owned()
    }

    pub fn set_status(&self, status: &str) {
        ask("set_status", &json!({"run_id": self.id, "status": status}));
    }

    /// Where a step of this run leaves a trace.
    pub fn trace(&self, name: &str) -> PathBuf {
        home().join("traces").join(&self.id).join(name)
    }

    /// Waits for a trace and returns the process id in it.
    pub async fn traced_pid(&self, name: &str) -> u32 {
        let path = self.trace(name);
        until(name, || {
            fs::read_to_string(&path).is_ok_and(|text| text.ends_with('\n'))
        })
        .await;
        fs::read_to_string(&path)
            .unwrap()
            .lines()
            .last()
            .unwrap()
            .parse()
            .unwrap()
    }
}

fn execution(kind: TaskKind, kwargs: Value, attempt: u32) -> Execution {
    Execution {
        task_id: uuid::Uuid::new_v4().simple().to_string(),
        kind,
        kwargs,
        attempt,
        receive_count: 1,
        message_id: "message-1".to_owned(),
        queue: "dagster-tasks".to_owned(),
        max_receives: None,
        isolation: None,
    }
}

/// Settings for a worker of this name.
pub fn settings(worker: &str) -> ForkServerSettings {
    ForkServerSettings {
        python: support::python().to_owned(),
        dagster_home: Some(home().to_owned()),
        trust_message_instance: false,
        allow_locations: Vec::new(),
        worker: WorkerIdentity {
            incarnation: uuid::Uuid::new_v4().simple().to_string(),
            id: worker.to_owned(),
            hostname: "test-host".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        cancel_grace: Duration::from_secs(1),
        on_worker_lost: LostPolicy::Retry { max: 2 },
        max_deliveries: 10,
        load_grace: Duration::ZERO,
        isolation: IsolationSettings {
            // `DAGSTER_TASKIQ_ISOLATION=reuse cargo test --test fork_server` holds the same of
            // reused processes.
            mode: std::env::var("DAGSTER_TASKIQ_ISOLATION")
                .map_or(Isolation::Auto, |mode| mode.parse().unwrap()),
            max_steps: 100,
            ..IsolationSettings::default()
        },
        packages: packages::unpack_below(&home().join("cache")).unwrap(),
    }
}

/// Hosts of a worker, with the news they gave.
pub struct Worker {
    pub hosts: ForkServers,
    pub notices: mpsc::Receiver<ForkServerNotice>,
}

impl Worker {
    pub async fn start(settings: ForkServerSettings) -> Self {
        let (sender, notices) = mpsc::channel(4096);
        Self {
            hosts: ForkServers::start(settings, sender).await.unwrap(),
            notices,
        }
    }
}

/// The hosts that tests share.
pub async fn shared() -> ForkServers {
    static SHARED: tokio::sync::OnceCell<ForkServers> = tokio::sync::OnceCell::const_new();
    SHARED
        .get_or_init(|| async {
            let (sender, mut notices) = mpsc::channel(4096);
            tokio::spawn(async move {
                while let Some(notice) = notices.recv().await {
                    println!("{notice:?}");
                }
            });
            ForkServers::start(settings("shared"), sender)
                .await
                .unwrap()
        })
        .await
        .clone()
}

/// Executes and returns the outcome with everything that was told on the way.
pub async fn execute(hosts: &ForkServers, execution: Execution) -> (Outcome, Vec<Progress>) {
    let (sender, mut receiver) = mpsc::channel(10_000);
    let outcome = tokio::time::timeout(PATIENCE, hosts.execute(execution, sender)).await;
    let mut progress = Vec::new();
    while let Ok(item) = receiver.try_recv() {
        progress.push(item);
    }
    (outcome.expect("the task did not end").unwrap(), progress)
}

/// Waits for a condition.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Sends SIGKILL to one process.
pub fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

pub fn assert_success(outcome: &Outcome) {
    let Outcome::Finished { status, .. } = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(*status, StepStatus::Success);
}

/// Runs the task in the background.
pub fn start(hosts: &ForkServers, execution: Execution) -> tokio::task::JoinHandle<Outcome> {
    let hosts = hosts.clone();
    tokio::spawn(async move { execute(&hosts, execution).await.0 })
}

pub fn host_pid(hosts: &ForkServers) -> u32 {
    host_pids(hosts)[0]
}

pub fn host_pids(hosts: &ForkServers) -> Vec<u32> {
    let states = hosts.states().into_iter();
    states
        .filter(|state| state.location != "instance agent")
        .map(|state| state.pid)
        .collect()
}
