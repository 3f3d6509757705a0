//! What tests share: the real binary, the managed Python environment, and real processes that end
//! with the test that started them.

#![allow(dead_code, reason = "each test binary uses a part of it")]
pub mod proxy;
pub mod scene;
pub mod side;
pub mod terminal;

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use dagster_taskiq_tui::environment::managed::{self, ManagedPython};

/// How long anything may take on a loaded machine before a test fails.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// The binary under test.
pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_dagster-taskiq-tui"))
}

/// Names a file with other exact versions, so that everything runs on them: see tests/versions/run.
const REQUIREMENTS: &str = "DTQ_TEST_REQUIREMENTS";

/// The Python environment of the tests, made by the first test that needs it.
pub fn environment() -> &'static ManagedPython {
    static MADE: OnceLock<ManagedPython> = OnceLock::new();
    MADE.get_or_init(|| match std::env::var_os(REQUIREMENTS) {
        Some(file) => environment_of(&fs::read_to_string(file).unwrap()),
        None => environment_of(include_str!("../requirements.lock")),
    })
}

/// The demo's environment, so that no time limit of a demo has to hold while it is made.
pub fn demo_environment() -> ManagedPython {
    managed::ensure(&mut |text| eprintln!("{text}")).unwrap()
}

/// The same with the oldest release line of Dagster that is supported.
pub fn older_environment() -> &'static ManagedPython {
    static MADE: OnceLock<ManagedPython> = OnceLock::new();
    MADE.get_or_init(|| environment_of(include_str!("../requirements-older.lock")))
}

/// The last boto3 that spoke SQS's query protocol.
pub fn query_environment() -> &'static ManagedPython {
    static MADE: OnceLock<ManagedPython> = OnceLock::new();
    MADE.get_or_init(|| environment_of(include_str!("../requirements-query.lock")))
}

/// AWS's command line, and Node.js.
pub fn clients_environment() -> &'static ManagedPython {
    static MADE: OnceLock<ManagedPython> = OnceLock::new();
    MADE.get_or_init(|| environment_of(include_str!("../requirements-clients.lock")))
}

fn environment_of(lock: &str) -> ManagedPython {
    let base = std::env::var_os(managed::PYTHON_VARIABLE).filter(|value| !value.is_empty());
    let base = base.map(PathBuf::from);
    let cache = managed::cache_folder().unwrap();
    managed::ensure_in(&cache, base.as_deref(), lock, &mut |text| {
        eprintln!("{text}");
    })
    .unwrap()
}

/// Its interpreter: it has dagster, dagster-webserver, boto3, taskiq and pytest, and more.
pub fn python() -> &'static Path {
    &environment().python
}

/// The folder that holds the package `dagster_taskiq`.
pub fn library() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/python")
}

/// A command of the binary under test.
pub fn command() -> Command {
    scrubbed(binary())
}

/// A command of the managed Python that finds `dagster_taskiq`.
pub fn python_command() -> Command {
    let mut command = scrubbed(python());
    command.env("PYTHONPATH", library());
    command
}

/// Runs Python tests (paths from the project's folder, and further arguments) on the tests'
/// environment with the binary under test; fails with pytest's own output.
pub fn pytest<S: AsRef<OsStr>>(arguments: &[S]) {
    pytest_on(python(), arguments, &[]);
}

/// The same on another Python, with further variables.
pub fn pytest_on<S: AsRef<OsStr>>(python: &Path, arguments: &[S], variables: &[(&str, &str)]) {
    let output = scrubbed(python)
        .args(["-m", "pytest", "-q", "-rs", "--durations=5"])
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("PYTHONPATH", library())
        .env("DTQ_TEST_BINARY", binary())
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}{}", String::from_utf8_lossy(&output.stderr));
    for line in text.lines().filter(|line| line.starts_with("SKIPPED")) {
        say_not_run(line);
    }
    assert!(output.status.success(), "{text}");
}

/// Says on the terminal itself, past the test harness, which keeps what a passing test prints, that
/// something was not tested.
pub fn say_not_run(what: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "\n*** NOT RUN: {what}");
}

/// A command without the variables of whoever runs the tests that would change what it does.
fn scrubbed(program: &Path) -> Command {
    let mut command = Command::new(program);
    for variable in [
        "PYTHONDONTWRITEBYTECODE",
        "DAGSTER_HOME",
        "DAGSTER_TASKIQ_SQS_QUEUE_URL",
        "DAGSTER_TASKIQ_SQS_ENDPOINT_URL",
        "DAGSTER_TASKIQ_WEBSERVER_URL",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "AWS_PROFILE",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_SQS",
    ] {
        command.env_remove(variable);
    }
    command
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        // Audit log, archives and logs of the tests are not those of whoever runs them.
        .env(
            "XDG_STATE_HOME",
            Path::new(env!("CARGO_TARGET_TMPDIR")).join("state"),
        )
        .env("XDG_RUNTIME_DIR", runtime_folder())
        .stdin(Stdio::null());
    command
}

/// Where workers of the tests have their sockets: a console of whoever runs the tests does not find
/// them there. One folder a checkout, with a path short enough for sockets.
fn runtime_folder() -> PathBuf {
    let mut hasher = DefaultHasher::new();
    env!("CARGO_TARGET_TMPDIR").hash(&mut hasher);
    let folder = PathBuf::from(format!("/tmp/dtq-tests-{:016x}", hasher.finish()));
    match DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            panic!("{}: {error}", folder.display())
        }
        _ => folder,
    }
}

/// Waits until the condition gives a value; fails saying what was waited for.
pub fn wait_until<T>(
    what: &str,
    patience: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(
            Instant::now() < deadline,
            "{what}: not within {} s",
            patience.as_secs()
        );
        std::thread::sleep(LOOK);
    }
}

/// A process of a test, killed by its pid when the test is over, its output in a file.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it with standard output and standard error in `<folder>/<name>.log`.
    pub fn start(command: &mut Command, name: &str, folder: &Path) -> Self {
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log).unwrap();
        let child = command
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        Self { child, log }
    }

    /// Takes charge of a process that was started elsewhere and has no log file.
    pub fn adopt(child: Child) -> Self {
        let log = PathBuf::new();
        Self { child, log }
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits for a whole line that holds these words.
    pub fn wait_for_line(&mut self, words: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ended = self.child.try_wait().unwrap();
            let output = self.output();
            let whole = output.rfind('\n').map_or("", |end| &output[..end]);
            if let Some(line) = whole.lines().find(|line| line.contains(words)) {
                return line.to_owned();
            }
            assert!(
                ended.is_none(),
                "ended ({ended:?}) without {words:?}:\n{output}"
            );
            assert!(
                Instant::now() < deadline,
                "no line with {words:?}:\n{output}"
            );
            std::thread::sleep(LOOK);
        }
    }

    /// Sends a signal by its name (`TERM`, `KILL`, `INT`).
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Waits for its end; the exit code, or 128 + signal.
    pub fn wait(&mut self, patience: Duration) -> i32 {
        use std::os::unix::process::ExitStatusExt as _;
        let log = self.log.clone();
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status
                    .code()
                    .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
            }
            assert!(
                Instant::now() < deadline,
                "still runs after {} s:\n{}",
                patience.as_secs(),
                fs::read_to_string(&log).unwrap_or_default()
            );
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Sends a signal by its name to a process.
pub fn signal(pid: u32, name: &str) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    let signal = match name {
        "TERM" => rustix::process::Signal::TERM,
        "HUP" => rustix::process::Signal::HUP,
        "INT" => rustix::process::Signal::INT,
        "KILL" => rustix::process::Signal::KILL,
        "STOP" => rustix::process::Signal::STOP,
        "CONT" => rustix::process::Signal::CONT,
        other => panic!("no signal {other}"),
    };
    rustix::process::kill_process(pid, signal).unwrap();
}

/// The embedded broker on a free port, with its data in a folder of its own.
pub struct Broker {
    /// `http://127.0.0.1:<port>`
    pub endpoint: String,
    /// The process.
    pub process: Process,
    folder: tempfile::TempDir,
}

impl Broker {
    /// Starts it and waits until it listens.
    pub fn start() -> Self {
        Self::serve(tempfile::tempdir().unwrap(), "127.0.0.1:0", &[])
    }

    /// One that answers signed requests only: those of [`command`] and [`python_command`] are.
    pub fn signed() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        fs::write(&secret, "test\n").unwrap();
        let secret = secret.to_str().unwrap().to_owned();
        let keys = ["--access-key", "test", "--secret-key-file", &secret];
        Self::serve(folder, "127.0.0.1:0", &keys)
    }

    /// Kills it and starts it again at the same address, on the same folder.
    pub fn restart(self) -> Self {
        let Self {
            endpoint,
            mut process,
            folder,
        } = self;
        process.signal("KILL");
        process.wait(PATIENCE);
        Self::serve(folder, endpoint.trim_start_matches("http://"), &[])
    }

    fn serve(folder: tempfile::TempDir, address: &str, more: &[&str]) -> Self {
        let mut command = command();
        command
            .args(["broker", "serve", "--listen", address, "--data-dir"])
            .arg(folder.path().join("data"))
            .args(more);
        let mut process = Process::start(&mut command, "broker", folder.path());
        let line = process.wait_for_line("endpoint: ");
        let endpoint = line.split_once("endpoint: ").unwrap().1.trim().to_owned();
        Self {
            endpoint,
            process,
            folder,
        }
    }

    /// Has it refuse, delay or lose requests: a fault as `POST /_dtq/faults` takes it.
    pub fn fault(&self, fault: &serde_json::Value) {
        let address = self.endpoint.trim_start_matches("http://");
        let body = fault.to_string();
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(
            stream,
            "POST /_dtq/faults HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The URL of a queue, whether it exists or not.
    pub fn queue_url(&self, name: &str) -> String {
        format!("{}/000000000000/{name}", self.endpoint)
    }
}

/// A Dagster project: a temporary `DAGSTER_HOME` and definitions in a file, whose steps and runs go
/// to a queue.
pub struct Project {
    folder: tempfile::TempDir,
    queue_url: String,
    endpoint: String,
}

impl Project {
    /// Writes `definitions` (Python source with a `defs`) and a dagster.yaml with the queue's run
    /// launcher.
    pub fn new(broker: &Broker, queue: &str, definitions: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (endpoint, queue_url) = (broker.endpoint.clone(), broker.queue_url(queue));
        fs::create_dir(folder.path().join("home")).unwrap();
        fs::write(folder.path().join("definitions.py"), definitions).unwrap();
        let yaml = format!(
            "telemetry: {{enabled: false}}\nrun_launcher:\n  module: dagster_taskiq\n  class: \
             TaskiqRunLauncher\n  config: {{queue_url: '{queue_url}', endpoint_url: '{endpoint}'}}\n"
        );
        fs::write(folder.path().join("home/dagster.yaml"), yaml).unwrap();
        Self {
            folder,
            queue_url,
            endpoint,
        }
    }

    /// URL of its base queue.
    pub fn queue_url(&self) -> &str {
        &self.queue_url
    }

    /// A file with settings, for `-y`.
    pub fn yaml(&self, text: &str) -> String {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = self.folder.path().join(format!("settings-{number}.yaml"));
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// `DAGSTER_HOME`.
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// The file with the definitions.
    pub fn definitions(&self) -> PathBuf {
        self.folder.path().join("definitions.py")
    }

    /// A folder for logs and other files of the test.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `python -m <args>` with this project's settings.
    pub fn module<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = python_command();
        command.arg("-m").args(args);
        self.settings(&mut command);
        command
    }

    /// `python -c <script>` with this project's settings; its standard output.
    pub fn python(&self, script: &str) -> String {
        let mut command = python_command();
        command.args(["-c", script]);
        self.settings(&mut command);
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}\n{errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Gives a command this project's settings.
    pub fn settings(&self, command: &mut Command) {
        command
            .env("DAGSTER_HOME", self.home())
            .env("DAGSTER_TASKIQ_SQS_QUEUE_URL", &self.queue_url)
            .env("DAGSTER_TASKIQ_SQS_ENDPOINT_URL", &self.endpoint)
            .current_dir(self.folder.path());
    }
}

/// A headless worker on a project.
pub struct Worker {
    /// The process.
    pub process: Process,
    /// Its unique name.
    pub name: String,
    /// Its control socket.
    pub socket: PathBuf,
}

impl Worker {
    /// Starts `worker start --workers <workers>` with further arguments, and waits until it is
    /// ready.
    pub fn start(project: &Project, workers: impl std::fmt::Display, args: &[&str]) -> Self {
        Self::start_with(project, workers, args, &[])
    }

    /// As [`Self::start`], with variables of its own.
    pub fn start_with(
        project: &Project,
        workers: impl std::fmt::Display,
        args: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("test-{}-{number}", std::process::id());
        let mut command = command();
        project.settings(&mut command);
        command
            .args(["worker", "start", "--name", &name, "--workers"])
            .arg(workers.to_string())
            .arg("--python")
            .arg(python())
            .arg("--log-dir")
            .arg(project.folder().join(&name))
            .args(args)
            .env("PYTHONPATH", library())
            .envs(variables.iter().copied());
        let mut process = Process::start(&mut command, &name, project.folder());
        let line = process.wait_for_line(&format!("worker {name} ready"));
        let socket = line.split_once("control socket ").unwrap().1.trim().into();
        Self {
            process,
            name,
            socket,
        }
    }

    /// Its present state, as a console sees it.
    pub fn status(&self) -> std::sync::Arc<dagster_taskiq_tui::domain::WorkerSnapshot> {
        block_on(dagster_taskiq_tui::fleet::client::status(&self.socket)).unwrap()
    }

    /// Gives it a command.
    pub fn call(
        &self,
        command: dagster_taskiq_tui::domain::Command,
    ) -> dagster_taskiq_tui::domain::Reply {
        block_on(dagster_taskiq_tui::fleet::client::call(
            &self.socket,
            command,
        ))
        .unwrap()
    }

    /// Asks it to end (SIGTERM: it finishes what runs) and waits; its exit code.
    pub fn finish(&mut self) -> i32 {
        self.process.signal("TERM");
        let code = self.process.wait(PATIENCE);
        let output = self.process.output();
        assert!(!output.contains("Traceback"), "{output}");
        code
    }
}

/// Runs a future to its end.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// Processes (zombies aside) whose command line or environment names this folder.
pub fn processes_of(folder: &Path) -> Vec<String> {
    let needle = folder.as_os_str().as_encoded_bytes();
    let names = |path: PathBuf| {
        fs::read(path).is_ok_and(|text| text.windows(needle.len()).any(|part| part == needle))
    };
    let entries = fs::read_dir("/proc").expect("this test needs /proc");
    let processes = entries.flatten().map(|entry| entry.path());
    processes
        .filter(|path| names(path.join("cmdline")) || names(path.join("environ")))
        .filter(|path| path.file_name() != Some(OsStr::new(&std::process::id().to_string())))
        .map(|path| {
            let line = fs::read(path.join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            format!("{} {line}", path.display())
        })
        .collect()
}
