//! The console: attaches to the workers of this host.

use std::process::ExitCode;

use clap::Args;

use super::worker::StartArgs;

/// Flags of the console.
#[derive(Debug, Args)]
pub struct ConsoleArgs {
    /// Refuse everything that changes something
    #[arg(long)]
    read_only: bool,
}

/// x
///
/// # Errors
/// x
pub fn run(_start: StartArgs, _console: ConsoleArgs) -> Result<ExitCode, std::io::Error> {
    Ok(ExitCode::SUCCESS)
}
