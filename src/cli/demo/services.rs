//! The demo's processes: how each is started, and when it is ready.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::sync::mpsc;

use super::setup::{self, Files};
use super::state::State;
use super::supervisor::{Program, Supervisor, SupervisorError};
use super::{DemoArgs, DemoError, Progress, ports, system};
use crate::cli::connection::ConnectionArgs;
use crate::cli::worker::StartArgs;
use crate::config::{ConfigError, Settings};
use crate::domain::Reply;
use crate::environment::managed::ManagedPython;
use crate::fleet::wait_for_socket;
use crate::protocol::{Request, socket_folder};

/// Default ports of the embedded broker and Dagster's webserver, unless they are taken.
const BROKER_PORT: u16 = 9324;
const WEBSERVER_PORT: u16 = 3000;

/// Time limit for the start of Rust programs, which are ready in milliseconds; a busy disk may
/// delay them.
const BROKER_TIMEOUT: Duration = Duration::from_secs(20);

/// Time limit for the start of Dagster's programs, whose imports take some seconds, on a slow
/// machine many.
const DAGSTER_TIMEOUT: Duration = Duration::from_mins(3);

/// Grace period: short, because nothing here is worth waiting for once the operator has requested
/// the end.
const GRACE: Duration = Duration::from_secs(4);

/// Inputs of the demo.
pub(super) struct Services<'a> {
    pub args: &'a DemoArgs,
    pub state: &'a State,
    pub python: &'a ManagedPython,
    /// Folder of the package `dagster_taskiq`.
    pub library: &'a Path,
    pub progress: Progress,
    /// Whether the console has the terminal, and handles the signals.
    pub console_is_open: &'a AtomicBool,
}

/// Environment variables.
type Env = Vec<(&'static str, OsString)>;

/// Addresses of the started services.
#[derive(Clone, Debug)]
pub(super) struct Up {
    /// Dagster's webserver.
    pub webserver: String,
    /// The worker's control socket.
    pub socket: PathBuf,
    /// The worker's program, for restarting it.
    worker: Program,
    /// Its name.
    name: String,
    /// The embedded broker.
    endpoint: String,
    /// Its base queue.
    queue_url: String,
    /// The worker's configuration.
    worker_config: PathBuf,
}

impl Services<'_> {
    /// Starts everything and waits until it is ready.
    pub async fn start(&self, supervisor: &mut Supervisor) -> Result<Up, DemoError> {
        let endpoint = self.start_broker(supervisor).await?;
        self.progress
            .report(&format!("The broker is at {endpoint}"));
        let queue_url = setup::queue_url(&endpoint);
        let files = setup::write(self.state, &endpoint, &queue_url)?;
        let env = self.environment(&endpoint, &queue_url, &files);

        // The first process to open an empty home creates its databases; two at once would
        // conflict.
        supervisor.start(self.home(env.clone()))?;
        supervisor.finished("home", DAGSTER_TIMEOUT).await?;

        // All at once: they wait for imports more than for each other.
        let port = ports::free(WEBSERVER_PORT).map_err(system("find a free port"))?;
        let webserver = format!("http://127.0.0.1:{port}");
        let name = format!("demo-{}", std::process::id());
        let socket = socket_folder::socket_path(&socket_folder::folder(), &name);
        supervisor.start(self.webserver(port, &files, env.clone()))?;
        let mut of_worker = env.clone();
        // Consoles that attach to the worker learn the webserver from it.
        of_worker.push(("DAGSTER_TASKIQ_WEBSERVER_URL", webserver.clone().into()));
        let worker = self.worker(&name, &files, of_worker);
        supervisor.start(worker.clone())?;
        supervisor.start(self.daemon(&files, env))?;

        let client = crate::dagster::Client::new(&webserver)?;
        let ready = async || client.server_info().await.ok();
        supervisor
            .ready("webserver", DAGSTER_TIMEOUT, ready)
            .await?;
        self.progress.report(&format!("Dagster is at {webserver}"));
        worker_is_ready(supervisor, &socket).await?;
        let text = format!("The worker {name} runs {} steps at once", self.args.slots);
        self.progress.report(&text);
        Ok(Up {
            webserver,
            socket,
            worker,
            name,
            endpoint,
            queue_url,
            worker_config: files.worker_config,
        })
    }

    /// Handles the console's requests, which are only ever to start its worker again.
    pub async fn start_workers(
        &self,
        supervisor: &mut Supervisor,
        up: &Up,
        mut incoming: mpsc::Receiver<Request>,
    ) {
        while let Some(request) = incoming.recv().await {
            let name = &up.name;
            let reply = if supervisor.runs("worker") {
                Reply::Failed(format!(
                    "no worker was started: {name} runs, and the demo has one (+ gives it more slots)"
                ))
            } else {
                match self.restart_worker(supervisor, up).await {
                    Ok(()) => Reply::Done(format!("worker {name} was started")),
                    Err(problem) => Reply::Failed(format!("no worker was started: {problem}")),
                }
            };
            // The console may be gone.
            let _ = request.reply.send(reply);
        }
    }

    async fn restart_worker(
        &self,
        supervisor: &mut Supervisor,
        up: &Up,
    ) -> Result<(), SupervisorError> {
        supervisor.stop(&["worker"]).await;
        supervisor.start(up.worker.clone())?;
        worker_is_ready(supervisor, &up.socket).await
    }

    /// The console's settings: its flags, and all addresses for the time after the worker has
    /// ended.
    pub fn console_settings(&self, up: &Up) -> Result<Settings, ConfigError> {
        let start = StartArgs {
            connection: ConnectionArgs {
                config_yaml: Some(up.worker_config.clone()),
                queue_url: Some(up.queue_url.clone()),
                endpoint_url: Some(up.endpoint.clone()),
                region_name: Some(String::from("us-east-1")),
                ..ConnectionArgs::default()
            },
            python: Some(self.python.python.clone()),
            dagster_home: Some(self.state.home()),
            ..StartArgs::default()
        };
        start.settings_with(self.args.look.settings(), false)
    }

    async fn start_broker(&self, supervisor: &mut Supervisor) -> Result<String, DemoError> {
        let port = ports::free(BROKER_PORT).map_err(system("find a free port"))?;
        let data = self.state.broker();
        let config = setup::write_broker_config(self.state)?;
        supervisor.start(self.own(
            "broker",
            vec![
                "broker".into(),
                "serve".into(),
                "--listen".into(),
                format!("127.0.0.1:{port}").into(),
                "--data-dir".into(),
                data.into(),
                "--config".into(),
                config.into(),
            ],
            Vec::new(),
        ))?;
        let log = supervisor.log_of("broker");
        let endpoint = async || {
            let line = line_with(&log, "endpoint: ")?;
            line.split_once("endpoint: ")
                .map(|(_, url)| url.trim().to_owned())
        };
        Ok(supervisor.ready("broker", BROKER_TIMEOUT, endpoint).await?)
    }

    fn worker(&self, name: &str, files: &Files, env: Env) -> Program {
        let mut args = vec![
            "worker".into(),
            "start".into(),
            "--slots".into(),
            self.args.slots.to_string().into(),
            "--run-slots".into(),
            "4".into(),
            "--python".into(),
            self.python.python.clone().into(),
            "--config-yaml".into(),
            files.worker_config.clone().into(),
            "--dagster-home".into(),
            self.state.home().into(),
            "--name".into(),
            name.into(),
            "--log-dir".into(),
            self.state.logs().join("worker").into(),
        ];
        if let Some(listen) = self.args.metrics_listen {
            args.extend(["--metrics-listen".into(), listen.to_string().into()]);
        }
        self.own("worker", args, env)
    }

    fn home(&self, env: Env) -> Program {
        let script = "from dagster import DagsterInstance\nDagsterInstance.get().dispose()";
        self.python("home", vec!["-c".into(), script.into()], env)
    }

    fn webserver(&self, port: u16, files: &Files, env: Env) -> Program {
        let args = vec![
            "-m".into(),
            "dagster_webserver".into(),
            "--host".into(),
            "127.0.0.1".into(),
            "--port".into(),
            port.to_string().into(),
            "--workspace".into(),
            files.workspace.clone().into(),
        ];
        self.python("webserver", args, env)
    }

    fn daemon(&self, files: &Files, env: Env) -> Program {
        let args = vec![
            "-m".into(),
            "dagster._daemon".into(),
            "run".into(),
            "--workspace".into(),
            files.workspace.clone().into(),
        ];
        self.python("daemon", args, env)
    }

    /// Describes a subcommand of this binary.
    fn own(&self, name: &'static str, args: Vec<OsString>, env: Env) -> Program {
        self.program(name, None, args, env)
    }

    fn python(&self, name: &'static str, args: Vec<OsString>, env: Env) -> Program {
        self.program(name, Some(self.python.python.clone()), args, env)
    }

    fn program(
        &self,
        name: &'static str,
        executable: Option<PathBuf>,
        args: Vec<OsString>,
        env: Env,
    ) -> Program {
        Program {
            name,
            executable,
            args,
            env,
            folder: self.state.folder().to_owned(),
            grace: GRACE,
        }
    }

    /// Environment of every process that uses Dagster or SQS. The credentials are made up: the
    /// embedded broker accepts any, and the user's own must not be used here.
    fn environment(&self, endpoint: &str, queue_url: &str, files: &Files) -> Env {
        let mut path = vec![self.python.bin.clone()];
        path.extend(std::env::split_paths(
            &std::env::var_os("PATH").unwrap_or_default(),
        ));
        let python_path = [self.library, &files.project];
        let mut no_proxy = OsString::from("127.0.0.1,localhost,");
        no_proxy.push(std::env::var_os("NO_PROXY").unwrap_or_default());
        vec![
            ("DAGSTER_HOME", self.state.home().into()),
            ("DAGSTER_TASKIQ_SQS_QUEUE_URL", queue_url.into()),
            ("DAGSTER_TASKIQ_SQS_ENDPOINT_URL", endpoint.into()),
            (
                "DAGSTER_TASKIQ_DEMO_STEPS",
                self.args.steps.to_string().into(),
            ),
            ("AWS_ACCESS_KEY_ID", "demo".into()),
            ("AWS_SECRET_ACCESS_KEY", "demo".into()),
            ("AWS_REGION", "us-east-1".into()),
            ("AWS_DEFAULT_REGION", "us-east-1".into()),
            ("NO_PROXY", no_proxy.clone()),
            ("no_proxy", no_proxy),
            // A folder with a colon in its name cannot be in a path list; then the defaults stay.
            (
                "PYTHONPATH",
                std::env::join_paths(python_path).unwrap_or_default(),
            ),
            ("PATH", std::env::join_paths(path).unwrap_or_default()),
        ]
    }
}

/// Waits until the worker greets on its socket.
async fn worker_is_ready(
    supervisor: &mut Supervisor,
    socket: &Path,
) -> Result<(), SupervisorError> {
    let greets = async || wait_for_socket(socket, Duration::ZERO).await.ok();
    let ready = supervisor.ready("worker", DAGSTER_TIMEOUT, greets);
    ready.await.map(drop)
}

/// The first line of a log that contains these words.
fn line_with(log: &Path, words: &str) -> Option<String> {
    let text = std::fs::read(log).ok()?;
    let text = String::from_utf8_lossy(&text);
    // A line without its end is still being written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .find(|line| line.contains(words))
        .map(str::to_owned)
}
