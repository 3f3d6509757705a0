//! The command line: one file per subcommand. Parses, dispatches, and turns an error into one
//! sentence on standard error and a non-zero exit code.

#![deny(clippy::print_stdout, clippy::print_stderr)]

mod alarm;
mod arguments;
mod attach;
mod broker;
mod child;
mod complete;
mod config;
mod connection;
mod console;
mod context;
mod control;
mod demo;
mod doctor;
mod guard;
mod init;
mod output;
mod queue;
mod reason;
mod run;
mod step;
mod table;
mod worker;

use std::error::Error;
use std::future::Future;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use worker::StartArgs;

/// The program's name in the older Python system; `src/bin/dagster-taskiq.rs` is that command.
const FORMER_NAME: &str = "dagster-taskiq";

/// The console, the worker pool and the SQS broker for Dagster steps sent over Taskiq messages.
///
/// Without a subcommand it opens the console; with --no-ui it is the headless worker
/// (`worker start`).
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Verb>,
    /// Run headless: the same as `worker start`
    #[arg(long)]
    no_ui: bool,
    /// Leave the session and the terminal of the process that starts this one
    #[arg(long, hide = true)]
    own_session: bool,
    #[command(flatten)]
    start: StartArgs,
    #[command(flatten)]
    console: console::ConsoleArgs,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run and control workers
    #[command(subcommand)]
    Worker(worker::WorkerVerb),
    /// Create and look at queues
    #[command(subcommand)]
    Queue(queue::QueueVerb),
    /// Launch, list, terminate and re-execute Dagster's runs
    #[command(subcommand)]
    Run(run::RunVerb),
    /// Say where a running step of this host is, and what it uses
    #[command(subcommand)]
    Step(step::StepVerb),
    /// Look at Dagster itself: daemons, schedules, sensors, backfills; start and stop them
    #[command(subcommand)]
    Dagster(run::DagsterVerb),
    /// Look at the alarms that workers raise, and acknowledge them
    #[command(subcommand)]
    Alarm(alarm::AlarmVerb),
    /// The embedded SQS-compatible broker
    Broker(broker::Broker),
    /// Run a sample project on this machine: broker, worker, Dagster and the console
    Demo(demo::DemoArgs),
    /// Look at everything a worker on this host would use, and say what would not work
    Doctor(Box<doctor::DoctorArgs>),
    /// Open the console over the workers of other hosts, through ssh
    Attach(Box<attach::AttachArgs>),
    /// Show, begin and check the settings
    #[command(subcommand)]
    Config(config::ConfigVerb),
    /// Print the deployments that the settings name
    #[command(subcommand)]
    Context(context::ContextVerb),
    /// Print the completions of a shell
    Completions(complete::CompletionsArgs),
    /// Print the manual page
    Man(complete::ManualArgs),
    #[command(subcommand, hide = true)]
    Control(control::ControlVerb),
    #[command(hide = true)]
    Guard(guard::GuardArgs),
}

/// The command line as clap knows it, for its reference page.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Parses the process's arguments and runs the subcommand.
#[must_use]
pub fn main() -> ExitCode {
    output::hide_secrets_of_panics();
    arguments::hide_secrets();
    if init::is_first() {
        return outcome(init::run());
    }
    let Cli {
        command,
        no_ui,
        own_session,
        start,
        console,
    } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return arguments::refuse(&error),
    };
    if own_session {
        // Refused only to a group's leader, which is in a group of its own already.
        let _ = rustix::process::setsid();
    }
    let code = match command {
        Some(Verb::Worker(verb)) => outcome(worker::run(verb)),
        Some(Verb::Queue(verb)) => outcome(queue::run(verb)),
        Some(Verb::Run(verb)) => outcome(run::run(verb)),
        Some(Verb::Step(verb)) => outcome(step::run(verb)),
        Some(Verb::Dagster(verb)) => outcome(run::run_dagster(verb)),
        Some(Verb::Alarm(verb)) => outcome(alarm::run(verb)),
        Some(Verb::Broker(broker)) => broker.run(),
        Some(Verb::Doctor(args)) => outcome(doctor::run(&args)),
        Some(Verb::Demo(args)) => outcome(demo::run(&args)),
        Some(Verb::Attach(args)) => outcome(attach::run(*args)),
        Some(Verb::Config(verb)) => outcome(config::run(verb)),
        Some(Verb::Context(verb)) => outcome(context::run(verb)),
        Some(Verb::Completions(args)) => outcome(complete::completions(&args)),
        Some(Verb::Man(args)) => outcome(complete::manual(&args)),
        Some(Verb::Control(verb)) => outcome(control::run(verb)),
        Some(Verb::Guard(args)) => outcome(guard::run(&args)),
        None if no_ui => outcome(worker::run(worker::WorkerVerb::Start(Box::new(
            start.into(),
        )))),
        None => outcome(console::run(start, console)),
    };
    if output::has_failed() {
        return ExitCode::FAILURE;
    }
    code
}

/// An error becomes one sentence and a non-zero exit code.
fn outcome<E: Error>(result: Result<ExitCode, E>) -> ExitCode {
    result.unwrap_or_else(|error| {
        output::note!("dagster-taskiq-tui: {error}");
        ExitCode::FAILURE
    })
}

/// Runs a command's future on a runtime of its own. What it leaves behind is not waited for: a
/// read of standard input may block for ever.
fn block_on<T, E: From<std::io::Error>>(
    future: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(future);
    runtime.shutdown_background();
    result
}
