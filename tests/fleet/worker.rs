//! A worker as its control socket sees one: events in, requests out. It runs no steps.

use std::path::{Path, PathBuf};

use dagster_taskiq_tui::domain::{
    Command, Event, EventSink, LogLevel, LogLine, Phase, QueueRole, QueueView, Reply, Slots,
    TaskKind, TaskView, Timestamp, Trend, WorkerState, WorkerView,
};
use dagster_taskiq_tui::protocol::{ControlError, Request, frames};
use dagster_taskiq_tui::worker::control_server::{ControlServer, ControlServerOptions};
use dagster_taskiq_tui::worker::status_store::{self, StatusStore};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Where a worker keeps its socket and its audit log.
pub struct Place {
    folder: tempfile::TempDir,
    /// The webserver that its workers' configuration names.
    pub webserver_url: Option<String>,
}

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            folder,
            webserver_url: None,
        }
    }

    /// The runtime folder.
    pub fn run(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// `XDG_STATE_HOME`
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub fn audit(&self) -> PathBuf {
        self.state().join("dagster-taskiq-tui/audit.jsonl")
    }

    pub async fn worker(&self, id: &str) -> TestWorker {
        self.try_worker(id, false).await.unwrap()
    }

    pub async fn try_worker(&self, id: &str, read_only: bool) -> Result<TestWorker, ControlError> {
        TestWorker::start(self, id, read_only).await
    }
}

/// A worker process's control layer.
pub struct TestWorker {
    pub id: String,
    pub sink: EventSink,
    server: ControlServer,
    store: JoinHandle<()>,
    carrying: JoinHandle<()>,
}

impl TestWorker {
    async fn start(place: &Place, id: &str, read_only: bool) -> Result<Self, ControlError> {
        let (sink, events) = EventSink::channel();
        let (published, store) = status_store::spawn(
            StatusStore::new(view(id)),
            events,
            sink.drop_counter(),
            sink.audience(),
        );
        let (requests, asked) = mpsc::channel(64);
        let options = ControlServerOptions {
            folder: place.run(),
            worker: id.to_owned(),
            read_only,
            audit: Some(place.audit()),
            webserver_url: place.webserver_url.clone(),
        };
        let server = ControlServer::start(options, published, requests).await?;
        let carrying = tokio::spawn(carry_out(asked, sink.clone()));
        Ok(Self {
            id: id.to_owned(),
            sink,
            server,
            store,
            carrying,
        })
    }

    pub fn socket(&self) -> &Path {
        self.server.path()
    }

    pub fn receive(&self, task_id: &str) {
        let task = Box::new(task(&self.id, task_id));
        self.sink.send(Event::Received { task });
    }

    pub fn log(&self, message: &str) {
        self.sink.send(log_line(message));
    }

    /// Ends as a worker does: its last events are folded, its consoles see them.
    pub async fn stop(self) {
        self.sink.send(Event::State {
            state: WorkerState::Stopped,
            deadline: None,
        });
        self.carrying.abort();
        let _ = self.carrying.await;
        drop(self.sink);
        self.store.await.unwrap();
        self.server.close().await;
    }
}

/// Does what the pool would: changes its state and says so.
async fn carry_out(mut asked: mpsc::Receiver<Request>, sink: EventSink) {
    while let Some(request) = asked.recv().await {
        let state = |state| Event::State {
            state,
            deadline: None,
        };
        let (event, text) = match request.command {
            Command::Pause => (state(WorkerState::Paused), "paused".to_owned()),
            Command::Resume => (state(WorkerState::Running), "running".to_owned()),
            Command::Scale { steps } => (
                Event::Slots {
                    steps,
                    runs: 1,
                    range: None,
                },
                format!("{steps} step slots"),
            ),
            // The pool is gone while it should answer.
            Command::Stop => continue,
            other => {
                let text = format!("no {} here", other.verb());
                let _ = request.reply.send(Reply::Failed(text));
                continue;
            }
        };
        sink.send(event);
        let _ = request.reply.send(Reply::Done(text));
    }
}

fn view(id: &str) -> WorkerView {
    let now = Timestamp::now();
    WorkerView {
        id: id.to_owned(),
        hostname: frames::own_host(),
        pid: std::process::id(),
        version: "0.1.0".to_owned(),
        state: WorkerState::Running,
        steps: Slots::default(),
        runs: Slots::default(),
        started_at: now,
        heartbeat_at: now,
        clock_behind: 0,
        hosts: Vec::new(),
        queues: Vec::new(),
        shared_name: None,
        finished: 0,
        failed: 0,
        deadline: None,
        dropped_events: 0,
    }
}

fn task(worker: &str, task_id: &str) -> TaskView {
    TaskView {
        task_id: task_id.to_owned(),
        message_id: format!("m-{task_id}"),
        queue: "dagster-tasks".to_owned(),
        kind: TaskKind::ExecutePlan,
        run_id: "run".to_owned(),
        job: Some("job".to_owned()),
        step_key: Some(task_id.to_owned()),
        priority: 5,
        attempt: 1,
        receive_count: 1,
        sent_at: None,
        received_at: Timestamp::now(),
        phase: Phase::Held,
        worker: worker.to_owned(),
        usage: None,
        beyond_usual: None,
    }
}

/// A queue a worker is subscribed to.
pub fn queue(name: &str) -> Event {
    Event::Queue {
        queue: QueueView {
            name: name.to_owned(),
            url: format!("http://127.0.0.1/{name}"),
            role: QueueRole::Base,
            counts: None,
            counted_at: None,
            oldest: None,
            error: None,
            unreachable: false,
            trend: Trend::default(),
        },
    }
}

/// A line as a step prints one.
pub fn log_line(message: &str) -> Event {
    Event::Log {
        line: LogLine {
            at: Timestamp::now(),
            level: LogLevel::Info,
            target: "step".to_owned(),
            run_id: None,
            step_key: None,
            worker: None,
            message: message.to_owned(),
        },
    }
}
