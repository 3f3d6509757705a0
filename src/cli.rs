//! The command line: one file per subcommand. Parses, dispatches, and turns an error into one
//! sentence on standard error and a non-zero exit code.

mod demo;
mod guard;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The console, the worker pool and the SQS broker for Dagster steps sent over Taskiq messages.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a sample project on this machine: broker, worker, Dagster and the console.
    Demo(demo::DemoArgs),
    #[command(hide = true)]
    Guard(guard::GuardArgs),
}

/// Parses the process's arguments and runs what they ask for.
#[must_use]
pub fn main() -> ExitCode {
    let Cli { command } = Cli::parse();
    match command {
        None => ExitCode::SUCCESS,
        Some(Verb::Demo(args)) => code(demo::run(&args)),
        Some(Verb::Guard(args)) => code(guard::run(&args)),
    }
}

/// An error becomes one sentence and a non-zero exit code.
fn code<E: std::error::Error>(outcome: Result<ExitCode, E>) -> ExitCode {
    outcome.unwrap_or_else(|error| {
        eprintln!("dagster-taskiq-tui: {error}");
        ExitCode::FAILURE
    })
}
