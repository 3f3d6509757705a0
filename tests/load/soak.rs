//! Runs under random faults, checked from Dagster's event log: `cargo run --release --example soak --
//! --minutes 30` after `cargo build --release`.
//!
//! Two hosts with three workers on the embedded broker and `PostgreSQL`. Workers, step hosts, run
//! workers, steps and whole hosts are killed, frozen and restarted, so are broker and database; runs
//! are cancelled, code is deployed anew. At the end every run must have succeeded unless it was
//! cancelled, every step must have ended once, no attempt may have run twice, and no message and no
//! taken slot of a pool may be left. What does it is `tests/python/soak`; `docs/delivery.md` has the
//! figures of the last one.

#[path = "common/mod.rs"]
mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Parser;
use common::Failure;
use dagster_taskiq_tui::environment::managed;

/// The environment of the tests, which has `PostgreSQL` too.
const LOCK: &str = include_str!("../requirements.lock");

/// Runs steps under random faults and checks that nothing was lost, nothing done twice.
#[derive(Debug, Parser)]
struct Arguments {
    /// How long faults are done; the runs that are active then may take some minutes more
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// Which faults, in which order
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keep the logs and events of a soak that went wrong in this folder
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    /// The binary to use; the one beside this program without it
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
}

fn main() -> ExitCode {
    match soak(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether nothing was wrong.
fn soak(arguments: &Arguments) -> Result<bool, Failure> {
    let binary = match &arguments.binary {
        Some(binary) => binary.canonicalize()?,
        None => common::binary_beside()?,
    };
    let cache = managed::cache_folder()?;
    let base = std::env::var_os(managed::PYTHON_VARIABLE).filter(|value| !value.is_empty());
    let base = base.map(PathBuf::from);
    let environment = managed::ensure_in(&cache, base.as_deref(), LOCK, &mut |text| {
        eprintln!("{text}");
    })?;
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(&environment.python);
    command
        .args([
            "-m",
            "soak",
            "--seconds",
            &(arguments.minutes * 60.0).to_string(),
        ])
        .args(["--seed", &arguments.seed.to_string()])
        .current_dir(project.join("tests/python"))
        .env("PYTHONPATH", project.join("src/python"))
        .env("DTQ_TEST_BINARY", binary);
    if let Some(folder) = &arguments.keep {
        command.arg("--keep").arg(std::path::absolute(folder)?);
    }
    println!("machine: {}", common::machine());
    println!("load average before: {}", common::load_average());
    let succeeded = command.status()?.success();
    println!("load average after: {}", common::load_average());
    Ok(succeeded)
}
