//! How fast Dagster's steps go through this project, through dagster-celery and through Dagster's own
//! multiprocess executor, side by side: `cargo run --release --example executor_bench` after
//! `cargo build --release`.
//!
//! Starts everything it needs on free ports of 127.0.0.1 and in a temporary folder, and ends it:
//! brokers, workers, Redis, `PostgreSQL`. The Python environment is made once, in the cache folder.
//! The systems take turns; the figures are medians. Nothing here passes or fails by what was
//! measured. What the figures mean is in `docs/benchmarks.md`.

mod cells;
#[path = "../common/mod.rs"]
mod common;
mod counting;
mod driver;
mod measure;
mod processes;
mod report;
mod services;
mod site;

use std::path::{Path, PathBuf};

use cells::{Cell, Imports, Shape, Storage, System};
use clap::Parser;
use common::Failure;
use dagster_taskiq_tui::environment::managed::{self, ManagedPython};
use report::Row;
use serde::Serialize;
use services::Postgres;
use site::Shared;
use tokio::signal::unix::{SignalKind, signal};

const LOCK: &str = include_str!("requirements.lock");

/// Measures how fast steps go through this project, through Celery and through Dagster alone.
#[derive(Debug, Parser)]
struct Arguments {
    /// Shapes: fan-N, chain-N, `RUNSxSTEPS` (as 20x10), launch, idle
    #[arg(long, value_delimiter = ',')]
    shapes: Vec<Shape>,
    /// Where Dagster keeps runs and events [default with other choices: sqlite]
    #[arg(long, value_delimiter = ',')]
    storage: Vec<Storage>,
    /// What the code location imports [default with other choices: none]
    #[arg(long, value_delimiter = ',')]
    imports: Vec<Imports>,
    /// Who runs the steps [default: taskiq,celery,multiprocess, the last for few steps only]
    #[arg(long, value_delimiter = ',')]
    systems: Vec<System>,
    /// Rounds, in each of which every system has its turn
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Every shape, storage and import
    #[arg(long, conflicts_with_all = ["shapes", "storage", "imports"])]
    all: bool,
    /// Write what was measured to this file too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The binary to measure; the one beside this program without it
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
}

impl Arguments {
    fn cells(&self) -> Vec<Cell> {
        if self.all {
            return cells::all();
        }
        if self.shapes.is_empty() && self.storage.is_empty() && self.imports.is_empty() {
            return cells::usual();
        }
        let or = |chosen: &[Shape]| match chosen {
            [] => vec![Shape::Fan {
                runs: 1,
                steps: 200,
            }],
            chosen => chosen.to_vec(),
        };
        let storage = match self.storage.as_slice() {
            [] => &[Storage::Sqlite],
            chosen => chosen,
        };
        let imports = match self.imports.as_slice() {
            [] => &[Imports::None],
            chosen => chosen,
        };
        cells::product(&or(&self.shapes), storage, imports)
    }

    fn systems(&self, cell: Cell) -> Vec<System> {
        let (systems, asked) = match self.systems.as_slice() {
            [] => (
                [System::Taskiq, System::Celery, System::Multiprocess].as_slice(),
                false,
            ),
            chosen => (chosen, true),
        };
        let systems = systems.iter().copied();
        systems.filter(|&it| cell.suits(it, asked)).collect()
    }
}

/// What `--json` writes.
#[derive(Serialize)]
struct Report {
    machine: String,
    command: String,
    load_average_before: String,
    load_average_after: String,
    version: &'static str,
    rows: Vec<Row>,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    // What was started ends when the future is dropped.
    let interrupted = async {
        let mut term = signal(SignalKind::terminate())?;
        tokio::select! {
            result = tokio::signal::ctrl_c() => result,
            _ = term.recv() => Ok(()),
        }
    };
    let outcome = tokio::select! {
        outcome = run(&arguments) => outcome,
        result = interrupted => result.map_err(Into::into).and(Err("interrupted".into())),
    };
    if let Err(error) = outcome {
        eprintln!("executor_bench: {error}");
        std::process::exit(1);
    }
    Ok(())
}

async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => common::binary_beside()?,
    };
    let environment = environment()?;
    let tools = Tools {
        python: &environment.python,
        binary: &binary,
        listener: listen().await?,
    };
    let mut report = Report::new();
    println!("command: {}", report.command);
    println!("machine: {}", report.machine);
    println!("load average before: {}", report.load_average_before);
    for cell in arguments.cells() {
        let systems = arguments.systems(cell);
        let measured = tools.measure(cell, &systems, arguments.rounds).await;
        let failure = measured.map(|rows| report.rows.extend(rows)).err();
        report.load_average_after = common::load_average();
        // After each cell: what was measured is not lost with a later one.
        if let Some(path) = &arguments.json {
            report.write(path)?;
        }
        if let Some(failure) = failure {
            println!("{}", report::markdown(&report.rows));
            return Err(format!("{cell}: {failure}").into());
        }
    }
    println!("load average after: {}", report.load_average_after);
    println!("{}", report::markdown(&report.rows));
    Ok(())
}

impl Report {
    fn new() -> Self {
        let command: Vec<_> = std::env::args().skip(1).collect();
        Self {
            machine: common::machine(),
            command: format!("executor_bench {}", command.join(" ")),
            load_average_before: common::load_average(),
            load_average_after: String::new(),
            version: env!("CARGO_PKG_VERSION"),
            rows: Vec::new(),
        }
    }

    fn write(&self, path: &Path) -> Result<(), Failure> {
        std::fs::write(path, serde_json::to_string_pretty(self)?)
            .map_err(|error| format!("cannot write {}: {error}", path.display()).into())
    }
}

/// What every cell is measured with.
struct Tools<'a> {
    python: &'a Path,
    binary: &'a Path,
    listener: u16,
}

impl Tools<'_> {
    async fn measure(
        &self,
        cell: Cell,
        systems: &[System],
        rounds: usize,
    ) -> Result<Vec<Row>, Failure> {
        let folder = tempfile::tempdir()?;
        let postgres = match cell.storage {
            Storage::Sqlite => None,
            Storage::Postgres => {
                let databases: Vec<_> = systems.iter().copied().map(site::database).collect();
                Some(Postgres::start(self.python, folder.path(), &databases).await?)
            }
        };
        let shared = Shared {
            python: self.python,
            binary: self.binary,
            folder: folder.path(),
            postgres: postgres.as_ref(),
            listener: self.listener,
        };
        measure::cell(&shared, cell, systems, rounds).await
    }
}

/// The Python environment, made by the first benchmark that needs it.
fn environment() -> Result<ManagedPython, Failure> {
    let base = std::env::var_os(managed::PYTHON_VARIABLE).filter(|value| !value.is_empty());
    let base = base.map(PathBuf::from);
    let cache = managed::cache_folder()?;
    let mut progress = |text: &str| eprintln!("{text}");
    Ok(managed::ensure_in(
        &cache,
        base.as_deref(),
        LOCK,
        &mut progress,
    )?)
}

/// Accepts the connections of code locations that open one, and keeps them open; its port.
async fn listen() -> Result<u16, Failure> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                // Until the other end is closed; nothing is sent.
                let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            });
        }
    });
    Ok(port)
}
