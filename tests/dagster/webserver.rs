//! A real Dagster webserver for the tests of one binary.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dagster_taskiq_tui::dagster::Client;
use tokio::sync::OnceCell;

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
    _process: Child,
}

/// The Python that has dagster and dagster-webserver.
fn python() -> PathBuf {
    let mut tell = |line: &str| eprintln!("{line}");
    dagster_taskiq_tui::environment::managed::ensure(&mut tell)
        .expect("the managed Python environment")
        .python
}

/// The webserver, started on first use.
pub async fn webserver() -> &'static Webserver {
    WEBSERVER.get_or_init(start).await
}

async fn start() -> Webserver {
    let python = python();
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
    let mut process = Command::new(python)
        .arg(files.join("serve.py"))
        .arg(files.join("definitions.py"))
        .arg(port.to_string())
        .arg(&home)
        .env_remove("PYTHONDONTWRITEBYTECODE")
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
        _process: process,
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
