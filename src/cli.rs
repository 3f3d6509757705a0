//! The command line: one file per subcommand. Parses, dispatches, and turns an error into one
//! sentence on standard error and a non-zero exit code.

mod broker;

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
    /// The embedded SQS-compatible broker
    Broker(broker::Broker),
}

/// Parses the process's arguments and runs what they ask for.
#[must_use]
pub fn main() -> ExitCode {
    let Cli { command } = Cli::parse();
    match command {
        None => ExitCode::SUCCESS,
        Some(Verb::Broker(broker)) => broker.run(),
    }
}
