//! A real Dagster webserver for the tests of one binary.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use dagster_taskiq_tui::dagster::Client;
use tokio::sync::OnceCell;

use crate::support;

/// The only webserver of this process; it ends when the process does, with its standard input.
static WEBSERVER: OnceCell<Webserver> = OnceCell::const_new();

/// Runs start at once: the default coordinator would leave them to a daemon that does not run.
const INSTANCE: &str = "\
telemetry:
  enabled: false
run_coordinator:
  module: dagster.core.run_coordinator
  class: DefaultRunCoordinator
";

/// A running webserver.
pub struct Webserver {
    /// Its address.
    pub url: String,
    /// Its `DAGSTER_HOME`.
    home: PathBuf,
    _process: Child,
}

/// The webserver, started on first use.
pub async fn webserver() -> &'static Webserver {
    WEBSERVER.get_or_init(start).await
}

/// Adds finished runs of a job to Dagster's storage, without running anything.
pub async fn add_runs(job: &str, count: usize) {
    let script = format!(
        "from dagster import DagsterInstance, DagsterRun, DagsterRunStatus\n\
         from dagster._core.utils import make_new_run_id\n\
         instance = DagsterInstance.get()\n\
         for _ in range({count}):\n    \
             instance.add_run(DagsterRun(job_name={job:?}, run_id=make_new_run_id(), \
             status=DagsterRunStatus.SUCCESS))\n"
    );
    run_python(script).await;
}

/// Announces a step in a run's log, as a worker does.
pub async fn announce(run_id: &str, step: &str, worker: &str) {
    let script = format!(
        "from types import SimpleNamespace\n\
         from dagster import DagsterInstance\n\
         from _dagster_taskiq_host.engine_events import announce\n\
         instance = DagsterInstance.get()\n\
         run = instance.get_run_by_id({run_id:?})\n\
         worker = {{'id': {worker:?}, 'hostname': 'h', 'pid': '1'}}\n\
         announce(instance, run, SimpleNamespace(worker=worker, is_step=True, step_key={step:?}, \
         queue='tasks', message_id='m', attempt=1, receive_count=1, \
         job_origin=run.job_code_origin, instance_ref=None))\n"
    );
    run_python(script).await;
}

/// Deletes runs from Dagster's storage.
pub async fn delete_runs(run_ids: &[String]) {
    let script = format!(
        "from dagster import DagsterInstance\n\
         instance = DagsterInstance.get()\n\
         for run_id in {run_ids:?}:\n    instance.delete_run(run_id)\n"
    );
    run_python(script).await;
}

async fn run_python(script: String) {
    let home = webserver().await.home.clone();
    let output = tokio::task::spawn_blocking(move || {
        let mut command = support::python_command();
        let command = command.args(["-c", &script]).env("DAGSTER_HOME", home);
        command.output().unwrap()
    });
    let output = output.await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
}

async fn start() -> Webserver {
    let home = tempfile::Builder::new()
        .prefix("dtq-dagster-")
        .tempdir()
        .unwrap()
        .keep();
    std::fs::write(home.join("dagster.yaml"), INSTANCE).unwrap();
    let log = home.join("webserver.log");
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dagster");
    let mut process = support::python_command()
        .arg(files.join("serve.py"))
        .arg(files.join("definitions.py"))
        .arg(port.to_string())
        .arg(&home)
        .stdin(Stdio::piped())
        .stdout(File::create(&log).unwrap())
        .stderr(File::options().append(true).open(&log).unwrap())
        .spawn()
        .unwrap();
    let client = Client::new(&url).unwrap();
    let begin = Instant::now();
    while client.server_info().await.is_err() {
        let ended = process.try_wait().unwrap();
        assert!(
            ended.is_none() && begin.elapsed() < Duration::from_mins(2),
            "dagster-webserver did not start: {}",
            std::fs::read_to_string(&log).unwrap_or_default()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Webserver {
        url,
        home,
        _process: process,
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
