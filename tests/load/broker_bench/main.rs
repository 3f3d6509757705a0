//! What the embedded broker can do, measured: `cargo run --release --example broker_bench`.
//!
//! Builds nothing: it starts the `dagster-taskiq-tui` beside itself (`cargo build --release` first)
//! on a folder of its own below the system's temporary folder, or loads the endpoint it is given.
//! Every message has 1 KiB, batches have 10. It prints a table in Markdown, and what else the
//! machine was doing. Nothing here passes or fails.

mod load;
mod server;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;
use load::Load;
use server::Server;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Measures an SQS endpoint.
#[derive(Debug, Parser)]
struct Arguments {
    /// Measure this endpoint instead of a broker of its own; without what needs the process.
    #[arg(long)]
    endpoint: Option<String>,
    /// The binary to measure; the one beside this program without it.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Messages sent, received and deleted per measurement.
    #[arg(long, default_value_t = 60_000)]
    messages: usize,
    /// Senders, and as many receivers that delete what they got.
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Messages of the large backlog.
    #[arg(long, default_value_t = 1_000_000)]
    backlog: usize,
    /// Messages stored for the measurement of a start and of memory.
    #[arg(long, default_value_t = 100_000)]
    stored: usize,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    println!(
        "machine: {} (before: load {})",
        server::machine(),
        server::load_average()
    );
    println!("\n| what | measured |\n|---|---|");
    if let Some(endpoint) = &arguments.endpoint {
        let load = Load::new(endpoint, arguments.clients);
        let through = load.through(arguments.messages, 0).await?;
        row(
            "through (send, receive, delete)",
            &format!("{through:.0} messages/s"),
        );
        paced(&load).await?;
    } else {
        let binary = match &arguments.binary {
            Some(binary) => binary.clone(),
            None => server::binary_beside()?,
        };
        measure(&arguments, &binary).await?;
    }
    println!("\nafter: load {}", server::load_average());
    Ok(())
}

async fn measure(arguments: &Arguments, binary: &std::path::Path) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let server = Server::start(binary, folder.path())?;
    row("resident memory, empty", &mib(server.resident()?));
    let load = Load::new(&server.endpoint, arguments.clients);
    // The first requests open connections and grow the log's file.
    load.through(arguments.messages / 6, 0).await?;
    let through = load.through(arguments.messages, 0).await?;
    row(
        "through (send, receive, delete)",
        &format!("{through:.0} messages/s"),
    );
    paced(&load).await?;
    idle_polls(&server, &load).await?;
    server.stop()?;

    let folder = tempfile::tempdir()?;
    let server = Server::start(binary, folder.path())?;
    let load = Load::new(&server.endpoint, arguments.clients);
    let queue = load.make_queue().await?;
    let empty = server.resident()?;
    load.send(&queue, arguments.stored).await?;
    let stored = server.resident()?;
    server.stop()?;
    let began = Instant::now();
    let server = Server::start(binary, folder.path())?;
    let started = began.elapsed();
    let restarted = server.resident()?;
    let each = |resident: u64| resident.saturating_sub(empty) / arguments.stored.max(1) as u64;
    row(
        &format!("start with {} messages stored", arguments.stored),
        &format!("{started:.2?}"),
    );
    row(
        "memory per stored message",
        &format!(
            "{} bytes after sending them, {} bytes after a restart (caches included)",
            each(stored),
            each(restarted)
        ),
    );
    server.stop()?;

    for backlog in [1_000, arguments.backlog] {
        let folder = tempfile::tempdir()?;
        let server = Server::start(binary, folder.path())?;
        let load = Load::new(&server.endpoint, arguments.clients);
        let queue = load.make_queue().await?;
        load.send(&queue, backlog).await?;
        load.through_queue(&queue, arguments.messages / 6).await?;
        let before = server.cpu()?;
        let through = load.through_queue(&queue, arguments.messages).await?;
        let cpu = server.cpu()?.saturating_sub(before) / u32::try_from(arguments.messages.max(1))?;
        row(
            &format!("through with {backlog} waiting"),
            &format!("{through:.0} messages/s, {cpu:.1?} of the broker's CPU per message"),
        );
        server.stop()?;
    }
    Ok(())
}

async fn paced(load: &Load) -> Result<(), Failure> {
    let mut took = load.paced().await?;
    took.sort();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100];
    row(
        "sent to received at 200 messages/s",
        &format!("p50 {:.1?}, p99 {:.1?}", at(50), at(99)),
    );
    Ok(())
}

async fn idle_polls(server: &Server, load: &Load) -> Result<(), Failure> {
    const FOR: Duration = Duration::from_secs(15);
    let polls = load.park_polls(60).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = server.cpu()?;
    tokio::time::sleep(FOR).await;
    let share = server.cpu()?.saturating_sub(before).as_secs_f64() / FOR.as_secs_f64() * 100.0;
    row("CPU with 60 open long polls", &format!("{share:.2} %"));
    drop(polls);
    Ok(())
}

fn row(what: &str, measured: &str) {
    println!("| {what} | {measured} |");
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}
