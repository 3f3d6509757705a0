//! `attach`: the console over the workers of other hosts, each reached through the user's own ssh.
//! Nothing is started there but the bridge to the control sockets, which ends with the console.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::block_on;
use super::console::{self, CommandError, ConsoleArgs};
use super::worker::StartArgs;
use crate::console as ui;
use crate::fleet::AggregatorOptions;
use crate::fleet::ssh::Ssh;

/// Flags of `attach`.
#[derive(Debug, Args)]
pub struct AttachArgs {
    /// A host, as ssh takes it (user@host, or a Host of ~/.ssh/config); may be given several times
    #[arg(long = "host", value_name = "HOST", required = true)]
    hosts: Vec<String>,
    /// The ssh program and options of its own, split at blanks
    #[arg(long, value_name = "COMMAND", default_value = "ssh")]
    ssh_command: String,
    /// dagster-taskiq-tui on the other hosts; a leading ~/ is the home folder there
    #[arg(long, value_name = "PATH", default_value = "dagster-taskiq-tui")]
    remote_program: String,
    /// Folder of the control sockets there [default: the user's runtime folders]
    #[arg(long, value_name = "DIR")]
    remote_runtime_dir: Option<PathBuf>,
    /// Settings file (YAML): theme, webserver
    #[arg(short = 'y', long, value_name = "FILE")]
    config_yaml: Option<PathBuf>,
    #[command(flatten)]
    console: ConsoleArgs,
}

/// Runs the console over other hosts.
///
/// # Errors
/// [`CommandError`]
pub fn run(args: AttachArgs) -> Result<ExitCode, CommandError> {
    console::refused(block_on(open(args)))
}

async fn open(args: AttachArgs) -> Result<ExitCode, CommandError> {
    for host in &args.hosts {
        Ssh::check_host(host).map_err(CommandError::Host)?;
    }
    if !args.console.is_once() {
        ui::require_terminal()?;
    }
    let mut start = StartArgs::default();
    start.connection.config_yaml.clone_from(&args.config_yaml);
    let (mut settings, _log) = console::prepare(&start, &args.console)?;
    // The hosts are given: there is nothing to switch to.
    settings.contexts.value.clear();
    let ssh = Ssh {
        command: args
            .ssh_command
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
        program: args.remote_program,
        runtime_dir: args.remote_runtime_dir,
    };
    let several = args.hosts.len() > 1;
    let context = if several {
        format!("{} hosts", args.hosts.len())
    } else {
        args.hosts.concat()
    };
    let aggregator = AggregatorOptions {
        hosts: args.hosts,
        ssh,
        ..console::aggregator_options(&settings, Vec::new())
    };
    if args.console.is_once() {
        return console::print_once(aggregator).await;
    }
    console::show(&settings, &args.console, aggregator, None, context).await?;
    Ok(ExitCode::SUCCESS)
}
