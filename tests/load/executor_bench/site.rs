//! One system, ready to run: its broker, its worker, its Dagster instance and a warm driver.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cells::{Cell, Shape, System};
use super::common::server::Server;
use super::common::{Failure, cpu_of};
use super::counting::Counting;
use super::driver::Driver;
use super::processes;
use super::services::{Postgres, Redis, Service, command};

/// Steps that every worker may run at once.
pub const SLOTS: usize = 2;
/// What is run once before anything is measured.
const WARM_UP: Shape = Shape::Fan { runs: 1, steps: 4 };
/// How long what follows the end of a run may take: deleting messages, reaping processes.
const AFTERMATH: Duration = Duration::from_millis(500);

/// What all systems of a measurement share.
pub struct Shared<'a> {
    /// The Python that has dagster, celery and the modules of the code locations.
    pub python: &'a Path,
    /// The binary that is measured.
    pub binary: &'a Path,
    /// The folder of the cell.
    pub folder: &'a Path,
    /// The server of the storage, unless that is in files.
    pub postgres: Option<&'a Postgres>,
    /// Port on which a code location's connections are accepted.
    pub listener: u16,
}

/// What carries the messages.
enum Broker {
    /// The embedded one, and what counts its requests.
    Sqs(Server, Option<Counting>),
    Redis(Redis),
    None,
}

/// A system that runs. Fields end in this order: nothing waits for what is gone.
pub struct Site {
    /// Which.
    pub system: System,
    /// Executes the runs.
    pub driver: Driver,
    worker: Option<Service>,
    broker: Broker,
    binary: PathBuf,
    database: Option<u32>,
}

/// Processor seconds so far, by who used them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// This project's binary.
    pub rust: f64,
    /// The embedded broker or Redis.
    pub broker: f64,
    /// Python hosts, their children, Celery's processes.
    pub python: f64,
    /// `PostgreSQL`.
    pub database: f64,
}

impl Site {
    /// Starts a system for a cell and runs a few steps through it.
    pub async fn start(shared: &Shared<'_>, cell: Cell, system: System) -> Result<Self, Failure> {
        let folder = shared.folder.join(system.to_string());
        std::fs::create_dir_all(folder.join("home"))?;
        let mut variables = base_variables(shared, &folder);
        let broker = Self::broker(shared, cell, system, &folder, &mut variables).await?;
        let home = dagster_yaml(shared, cell, system, &variables);
        std::fs::write(folder.join("home/dagster.yaml"), home)?;
        std::fs::write(folder.join("location.py"), location(cell, system))?;
        let worker = Self::worker(shared, system, &folder, &variables).await?;
        let warm_up = WARM_UP.job();
        let driver = Driver::start(shared.python, &folder, &warm_up, &variables).await?;
        let mut site = Self {
            system,
            driver,
            worker,
            broker,
            binary: shared.binary.canonicalize()?,
            database: shared.postgres.map(|postgres| postgres.pid),
        };
        if cell.shape == Shape::Launch {
            site.driver.launch(&cell.shape.job()).await?;
        } else {
            let warm = site.driver.execute(&warm_up, 1).await;
            warm.map_err(|error| site.explained(&error))?;
        }
        Ok(site)
    }

    async fn broker(
        shared: &Shared<'_>,
        cell: Cell,
        system: System,
        folder: &Path,
        variables: &mut Vec<(String, String)>,
    ) -> Result<Broker, Failure> {
        if system == System::Celery {
            let redis = Redis::start(folder).await?;
            variables.push(("EXECUTOR_BENCH_REDIS".to_owned(), redis.url()));
            return Ok(Broker::Redis(redis));
        }
        if !system.is_ours() {
            return Ok(Broker::None);
        }
        let server = Server::start(shared.binary, &folder.join("broker"))?;
        let counting = match cell.shape {
            Shape::Idle => Some(Counting::start(&server.endpoint).await?),
            _ => None,
        };
        let endpoint = counting
            .as_ref()
            .map_or(&server.endpoint, |counting| &counting.endpoint);
        for (name, value) in [
            ("QUEUE", format!("{endpoint}/000000000000/bench")),
            ("ENDPOINT", endpoint.clone()),
        ] {
            variables.push((format!("DAGSTER_TASKIQ_SQS_{name}_URL"), value));
        }
        let created = command(shared.binary, variables)
            .args(["queue", "create", "--dead-letters"])
            .output()
            .await?;
        if !created.status.success() {
            let errors = String::from_utf8_lossy(&created.stderr);
            return Err(format!("the queues cannot be created: {errors}").into());
        }
        Ok(Broker::Sqs(server, counting))
    }

    async fn worker(
        shared: &Shared<'_>,
        system: System,
        folder: &Path,
        variables: &[(String, String)],
    ) -> Result<Option<Service>, Failure> {
        if system == System::Multiprocess {
            return Ok(None);
        }
        let slots = SLOTS.to_string();
        if system == System::Celery {
            let mut celery = command(shared.python, variables);
            celery
                .args(["-m", "celery", "-A", "dagster_celery.app", "worker"])
                .args([
                    "--prefetch-multiplier=1",
                    "--loglevel",
                    "info",
                    "-c",
                    &slots,
                ])
                .args(["-n", "bench@%h"])
                .current_dir(folder);
            let mut worker = Service::start(celery, "celery-worker", folder, false)?;
            worker.wait_for(" ready.").await?;
            return Ok(Some(worker));
        }
        let mut ours = command(shared.binary, variables);
        ours.args(["worker", "start", "--name", "bench", "--workers", &slots])
            .arg("--python")
            .arg(shared.python)
            .arg("--log-dir")
            .arg(folder.join("logs"))
            .arg("--runtime-dir")
            .arg(folder.join("run"))
            .current_dir(folder);
        if let Some(isolation) = system.isolation() {
            ours.args(["--isolation", isolation]);
        }
        let mut worker = Service::start(ours, "worker", folder, false)?;
        let ready = worker.wait_for("worker bench ready").await;
        match (ready, system.isolation()) {
            (Err(_), Some(isolation)) if worker.tail().contains("--isolation") => Err(format!(
                "{} refuses `worker start --isolation {isolation}` ({}): give a binary that has it \
                 with --binary, or leave out {system}",
                shared.binary.display(),
                worker.tail().lines().next().unwrap_or_default()
            )
            .into()),
            (ready, _) => ready.map(|()| Some(worker)),
        }
    }

    /// An error with what the worker printed last.
    pub fn explained(&self, error: &Failure) -> Failure {
        let tail = self.worker.as_ref().map_or(String::new(), Service::tail);
        format!("{}: {error}\nThe worker's last lines:\n{tail}", self.system).into()
    }

    /// The root of the processes that run steps, and those of them that do not count.
    pub fn step_processes(&self) -> (u32, BTreeSet<u32>) {
        if let Some(worker) = &self.worker {
            (worker.pid(), BTreeSet::new())
        } else {
            let driver = self.driver.service.pid();
            (driver, BTreeSet::from([driver]))
        }
    }

    /// Waits for what follows a run.
    pub async fn settle(&self) {
        tokio::time::sleep(AFTERMATH).await;
    }

    /// The processor time so far.
    pub fn cpu(&self) -> Result<Cpu, Failure> {
        let mut cpu = Cpu::default();
        if let Some(worker) = &self.worker {
            for process in processes::tree(worker.pid()) {
                if processes::runs(process.pid, &self.binary) {
                    cpu.rust += process.own;
                } else {
                    cpu.python += process.own;
                }
                cpu.python += process.ended_children;
            }
        }
        let broker = match &self.broker {
            Broker::Sqs(server, _) => Some(server.pid()),
            Broker::Redis(redis) => Some(redis.pid()),
            Broker::None => None,
        };
        if let Some(broker) = broker {
            cpu.broker = cpu_of(&broker.to_string())?.as_secs_f64();
        }
        if let Some(database) = self.database {
            cpu.database = processes::tree(database)
                .iter()
                .map(|process| process.own + process.ended_children)
                .sum();
        }
        Ok(cpu)
    }

    /// Requests that the broker has answered so far, by what for.
    pub async fn requests(&self) -> Result<Vec<(String, u64)>, Failure> {
        match &self.broker {
            Broker::Sqs(_, Some(counting)) => Ok(counting.counts()),
            Broker::Redis(redis) => {
                Ok(vec![("Redis commands".to_owned(), redis.commands().await?)])
            }
            _ => Ok(Vec::new()),
        }
    }
}

impl Cpu {
    /// The difference to an earlier moment.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            rust: self.rust - earlier.rust,
            broker: self.broker - earlier.broker,
            python: self.python - earlier.python,
            database: self.database - earlier.database,
        }
    }
}

fn base_variables(shared: &Shared<'_>, folder: &Path) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = format!(
        "{}:{}",
        root.join("src/python").display(),
        root.join("tests/load/executor_bench").display()
    );
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    vec![
        ("PYTHONPATH".to_owned(), path),
        ("DAGSTER_HOME".to_owned(), text(folder.join("home"))),
        ("XDG_STATE_HOME".to_owned(), text(folder.join("state"))),
        (
            "EXECUTOR_BENCH_LISTENER".to_owned(),
            shared.listener.to_string(),
        ),
    ]
}

fn dagster_yaml(
    shared: &Shared<'_>,
    cell: Cell,
    system: System,
    variables: &[(String, String)],
) -> String {
    let mut yaml = "telemetry: {enabled: false}\n".to_owned();
    if let Some(postgres) = shared.postgres {
        yaml += &postgres.storage(&database(system));
    }
    if cell.shape != Shape::Launch {
        return yaml;
    }
    if system.is_ours() {
        yaml += "run_launcher: {module: dagster_taskiq, class: TaskiqRunLauncher}\n";
    } else if system == System::Celery {
        let redis = variables
            .iter()
            .find(|(name, _)| name == "EXECUTOR_BENCH_REDIS")
            .map_or("", |(_, value)| value);
        // Writing to a `String` does not fail.
        let _ = writeln!(
            yaml,
            "run_launcher: {{module: dagster_celery.launcher, class: CeleryRunLauncher, config: \
             {{default_queue: dagster, broker: '{redis}', backend: '{redis}'}}}}"
        );
    }
    yaml
}

/// The name of a system's database.
pub fn database(system: System) -> String {
    system.to_string().replace('-', "_")
}

fn location(cell: Cell, system: System) -> String {
    let executor = match cell.shape {
        Shape::Launch => "in_process",
        _ => system.executor(),
    };
    let mut jobs = BTreeSet::from([WARM_UP.job()]);
    jobs.insert(cell.shape.job());
    let jobs: Vec<_> = jobs.iter().map(|job| format!("{job:?}")).collect();
    format!(
        "from bench_jobs import definitions\n\ndefs = definitions({executor:?}, [{}], {})\n",
        jobs.join(", "),
        cell.imports.modules()
    )
}
