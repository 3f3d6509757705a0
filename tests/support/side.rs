//! Dagster's side of a worker test (`tests/fork_server/dagster_side.py`): makes and launches runs,
//! builds messages, reads the event log, and speaks to the queue with boto3.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::{Value, json};

use super::{PATIENCE, Project, python_command, wait_until};

/// The jobs of `tests/worker/jobs.py`.
pub fn jobs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/worker/jobs.py")
}

/// A helper process on a project's instance.
pub struct Side {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    home: PathBuf,
    endpoint: String,
    queue_url: String,
}

impl Side {
    /// Starts it.
    pub fn start(project: &Project) -> Self {
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fork_server/dagster_side.py");
        let mut command = python_command();
        project.settings(&mut command);
        let mut child = command
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            input,
            output,
            home: project.home(),
            endpoint: project.endpoint.clone(),
            queue_url: project.queue_url.clone(),
        }
    }

    /// Asks it.
    pub fn ask(&mut self, verb: &str, arguments: &Value) -> Value {
        writeln!(self.input, "{}", json!([verb, arguments])).unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{verb}: the helper said {line:?}"))
    }

    fn run_id(answer: &Value) -> String {
        answer["run_id"].as_str().unwrap().to_owned()
    }

    /// Launches a run of a job through the instance's run launcher.
    pub fn launch(&mut self, job: &str) -> String {
        let answer = self.ask("launch", &json!({"job": job, "file": jobs()}));
        Self::run_id(&answer)
    }

    /// Makes a run that nobody drives.
    pub fn make_run(&mut self, job: &str) -> String {
        let arguments = json!({"job": job, "status": "STARTED", "file": jobs()});
        Self::run_id(&self.ask("make_run", &arguments))
    }

    /// The body of a step's message, as our executor sends it.
    pub fn step(&mut self, run: &str, step: &str, priority: i64) -> String {
        let kwargs = self.ask("step_message", &json!({"run_id": run, "step": step}));
        body(
            "execute_plan",
            &kwargs,
            &json!({"dtq": "1", "attempt": "1", "priority": priority.to_string()}),
        )
    }

    /// Sends bodies to the base queue.
    pub fn send(&mut self, bodies: &[String]) {
        let url = self.queue_url.clone();
        self.send_to(&url, bodies);
    }

    /// Sends bodies to a queue.
    pub fn send_to(&mut self, url: &str, bodies: &[String]) {
        self.ask(
            "send",
            &json!({"endpoint": self.endpoint, "url": url, "bodies": bodies}),
        );
    }

    /// Creates a queue, with a dead-letter queue if one is named; its URL.
    pub fn create_queue(&mut self, name: &str, dead: Option<&str>) -> String {
        self.create_limited(name, dead, 100)
    }

    /// The same; after so many receives its messages go to the dead-letter queue.
    pub fn create_limited(&mut self, name: &str, dead: Option<&str>, receives: u32) -> String {
        let arguments = json!({"endpoint": self.endpoint, "name": name, "dead": dead,
            "receives": receives});
        self.ask("create_queue", &arguments)
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Messages of the base queue: waiting, and in flight.
    pub fn counts(&mut self) -> (u64, u64) {
        let arguments = json!({"endpoint": self.endpoint, "url": self.queue_url});
        let counts = self.ask("counts", &arguments);
        (counts[0].as_u64().unwrap(), counts[1].as_u64().unwrap())
    }

    /// Waits until the base queue holds nothing, in flight or not.
    pub fn wait_empty(&mut self) {
        wait_until("the queue is empty", PATIENCE, || {
            (self.counts() == (0, 0)).then_some(())
        });
    }

    /// Waits until a run has a status.
    pub fn wait_status(&mut self, run: &str, status: &str) {
        let mut last = Value::Null;
        let deadline = std::time::Instant::now() + PATIENCE;
        while last != status {
            assert!(
                std::time::Instant::now() < deadline,
                "run {run} is {last}, not {status}: {:#?}",
                self.events(run, None)
            );
            std::thread::sleep(std::time::Duration::from_millis(100));
            last = self.ask("status", &json!({"run_id": run}));
        }
    }

    /// The events of a run or of one of its steps, oldest first.
    pub fn events(&mut self, run: &str, step: Option<&str>) -> Vec<Value> {
        let events = self.ask("events", &json!({"run_id": run, "step": step}));
        events.as_array().unwrap().clone()
    }

    /// The types of a step's events that begin or end an attempt, oldest first.
    pub fn life(&mut self, run: &str, step: &str) -> Vec<String> {
        const LIFE: [&str; 6] = [
            "STEP_START",
            "STEP_RESTARTED",
            "STEP_SUCCESS",
            "STEP_FAILURE",
            "STEP_UP_FOR_RETRY",
            "STEP_SKIPPED",
        ];
        let events = self.events(run, Some(step));
        let types = events.iter().filter_map(|event| event["type"].as_str());
        types
            .filter(|name| LIFE.contains(name))
            .map(str::to_owned)
            .collect()
    }

    /// The process ids of the run workers that have announced themselves, oldest first.
    pub fn run_workers(&mut self, run: &str) -> Vec<u32> {
        let events = self.events(run, None);
        let pid = |event: &Value| {
            let metadata = &event["metadata"];
            let own = event["step"].is_null() && !metadata["dagster-taskiq/worker"].is_null();
            own.then(|| metadata["pid"].as_str()?.parse().ok())
                .flatten()
        };
        events.iter().filter_map(pid).collect()
    }

    /// The folder in which a run's steps leave traces.
    pub fn traces(&self, run: &str) -> PathBuf {
        self.home.join("traces").join(run)
    }

    /// The process ids that a step has traced so far.
    pub fn traced(&self, run: &str, name: &str) -> Vec<u32> {
        let text = std::fs::read_to_string(self.traces(run).join(name)).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Waits until a step runs; its process id.
    pub fn wait_traced(&self, run: &str, name: &str) -> u32 {
        wait_until(name, PATIENCE, || self.traced(run, name).first().copied())
    }

    /// Lets the gated steps of a run go on: all of them, or one.
    pub fn open_gate(&self, run: &str, step: Option<&str>) {
        let name = step.map_or("go".to_owned(), |step| format!("go-{step}"));
        std::fs::create_dir_all(self.traces(run)).unwrap();
        std::fs::write(self.traces(run).join(name), "").unwrap();
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A Taskiq message.
pub fn body(task: &str, kwargs: &Value, labels: &Value) -> String {
    let id = uuid::Uuid::new_v4().simple().to_string();
    json!({"task_id": id, "task_name": task, "labels": labels, "labels_types": null, "args": [],
        "kwargs": kwargs})
    .to_string()
}

/// Whether a process exists and is not a zombie.
pub fn alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
        !state.starts_with('Z')
    })
}
