//! What the embedded broker can do, measured: `cargo run --release --example broker_bench`.
//!
//! Builds nothing: it starts the `dagster-taskiq-tui` beside itself (`cargo build --release` first)
//! on a folder of its own below the system's temporary folder, or loads the endpoint it is given.
//! Every message has 1 KiB, batches have 10. It prints a table in Markdown, with the share of the
//! processors that broker and load generator took, and what else the machine was doing. Each
//! measurement is bounded in time. Nothing here passes or fails by what was measured.
//!
//! A first impression in about a minute:
//! `cargo run --release --example broker_bench -- --messages 30000 --backlog 30000 --stored 30000`.

mod client;
#[path = "../common/mod.rs"]
mod common;
mod load;
mod sdk;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use common::Failure;
use common::server::{self, Server, Usage};
use load::Load;

/// The longest that one measurement may take.
const PATIENCE: Duration = Duration::from_mins(10);
/// Long polls that are open while idleness is measured.
const POLLS: usize = 60;
/// For how long idleness is measured.
const IDLE_FOR: Duration = Duration::from_secs(15);

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
    #[arg(long, default_value_t = 100_000)]
    messages: usize,
    /// Senders, and as many receivers that delete what they got.
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Measure only the table of clients, with this one; may be repeated. Without it everything is
    /// measured, and the table has both.
    #[arg(long, value_enum)]
    client: Vec<Kind>,
    /// Messages of the large backlog.
    #[arg(long, default_value_t = 1_000_000)]
    backlog: usize,
    /// Messages stored for the measurement of a start, of memory and of disk use.
    #[arg(long, default_value_t = 100_000)]
    stored: usize,
}

/// What puts the load on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A client of this program's own that costs little.
    Light,
    /// AWS's SDK for Rust.
    Sdk,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let command: Vec<_> = std::env::args().skip(1).collect();
    println!("command: broker_bench {}", command.join(" "));
    println!("machine: {}", common::machine());
    println!("load average before: {}", common::load_average());
    if arguments.client.is_empty() {
        println!("\n| what | measured |\n|---|---|");
    }
    if let Some(endpoint) = &arguments.endpoint {
        bounded(elsewhere(&arguments, endpoint)).await?;
    } else {
        let binary = match &arguments.binary {
            Some(binary) => binary.clone(),
            None => common::binary_beside()?,
        };
        if !arguments.client.is_empty() {
            return clients(&arguments, &binary).await;
        }
        bounded(speed(&arguments, &binary)).await?;
        bounded(storage(&arguments, &binary)).await?;
        backlogs(&arguments, &binary).await?;
        clients(&arguments, &binary).await?;
    }
    println!("\nload average after: {}", common::load_average());
    Ok(())
}

async fn bounded<T>(measurement: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::time::timeout(PATIENCE, measurement)
        .await
        .map_err(|_| format!("a measurement took longer than {PATIENCE:?}"))?
}

/// What can be said of any endpoint.
async fn elsewhere(arguments: &Arguments, endpoint: &str) -> Result<(), Failure> {
    let load = Load::new(endpoint, arguments.clients)?;
    let queue = load.client.make_queue().await?;
    let began = Instant::now();
    load.through(&queue, arguments.messages).await?;
    let rate = per_second(arguments.messages, began.elapsed());
    row("through (send, receive, delete)", &rate);
    load.client.delete_queue(&queue).await?;
    paced(&load).await
}

async fn speed(arguments: &Arguments, binary: &Path) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let server = Server::start(binary, folder.path())?;
    row("resident memory, empty", &mib(server.resident()?));
    let load = Load::new(&server.endpoint, arguments.clients)?;
    let queue = load.client.make_queue().await?;
    // The first requests open connections and grow the broker's files.
    load.through(&queue, arguments.messages / 5).await?;
    let before = server.usage()?;
    load.through(&queue, arguments.messages).await?;
    let used = server.usage()?.since(&before);
    row(
        "through (send, receive, delete)",
        &format!(
            "{}; {}",
            per_second(arguments.messages, used.wall),
            shares(&used, arguments.messages)
        ),
    );
    let place = folder.path().to_owned();
    let flushes = tokio::task::spawn_blocking(move || server::flushes(&place)).await??;
    row("the disk's own flush of 4 KiB", &percentiles(&flushes));
    paced(&load).await?;
    idle(server, &load).await
}

async fn paced(load: &Load) -> Result<(), Failure> {
    let took = load.paced().await?;
    row(
        &format!("sent to received at {} messages/s", load::PACE),
        &percentiles(&took),
    );
    Ok(())
}

async fn idle(server: Server, load: &Load) -> Result<(), Failure> {
    let polls = load.park_polls(POLLS).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = server.usage()?;
    tokio::time::sleep(IDLE_FOR).await;
    let used = server.usage()?.since(&before);
    let share = used.broker.as_secs_f64() / used.wall.as_secs_f64() * 100.0;
    row(
        &format!("CPU with {POLLS} open long polls"),
        &format!("{share:.2} % of one, over {IDLE_FOR:?}"),
    );
    let took = server.stop()?;
    row(
        &format!("SIGTERM to exit with {POLLS} open long polls"),
        &format!("{took:.1?}"),
    );
    drop(polls);
    Ok(())
}

/// Memory, start and disk use with messages stored.
async fn storage(arguments: &Arguments, binary: &Path) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let server = Server::start(binary, folder.path())?;
    let load = Load::new(&server.endpoint, arguments.clients)?;
    let queue = load.client.make_queue().await?;
    let empty = server.resident()?;
    load.send(&queue, arguments.stored).await?;
    let stored = server.resident()?;
    server.stop()?;
    let began = Instant::now();
    let server = Server::start(binary, folder.path())?;
    row(
        &format!("start with {} messages stored", arguments.stored),
        &format!("{:.2?}", began.elapsed()),
    );
    let each = |resident: u64| resident.saturating_sub(empty) / arguments.stored.max(1) as u64;
    row(
        "resident memory per stored message",
        &format!(
            "{} bytes after sending them, {} bytes after a restart (bodies are on disk; caches \
             included)",
            each(stored),
            each(server.resident()?)
        ),
    );
    let full = server::disk_use(folder.path())?;
    let load = Load::new(&server.endpoint, arguments.clients)?;
    // A restart may have chosen another port; the path alone names the queue.
    load.receive(&queue, arguments.stored).await?;
    let mut emptied = full;
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        emptied = emptied.min(server::disk_use(folder.path())?);
        if emptied < full / 8 {
            break;
        }
    }
    row(
        "disk use, before and after they were received and deleted",
        &format!("{}, {}", mib(full), mib(emptied)),
    );
    server.stop()?;
    Ok(())
}

/// What a message costs with clients of either kind, few and many.
async fn clients(arguments: &Arguments, binary: &Path) -> Result<(), Failure> {
    println!("\n| client | senders + receivers | measured | load average |\n|---|---|---|---|");
    for number in [2, 8] {
        for kind in [Kind::Light, Kind::Sdk] {
            if !arguments.client.is_empty() && !arguments.client.contains(&kind) {
                continue;
            }
            let used = bounded(by_clients(arguments, binary, kind, number)).await?;
            println!(
                "| {kind:?} | {number} + {number} | {}; {} | {} |",
                per_second(arguments.messages, used.wall),
                shares(&used, arguments.messages),
                common::load_average()
            );
        }
    }
    Ok(())
}

async fn by_clients(
    arguments: &Arguments,
    binary: &Path,
    kind: Kind,
    number: usize,
) -> Result<Usage, Failure> {
    let folder = tempfile::tempdir()?;
    let server = Server::start(binary, folder.path())?;
    let load = Load::new(&server.endpoint, number)?;
    let queue = load.client.make_queue().await?;
    let through = async |messages: usize| match kind {
        Kind::Light => load.through(&queue, messages).await,
        Kind::Sdk => sdk::through(&server.endpoint, &queue, number, messages).await,
    };
    through(arguments.messages / 5).await?;
    let before = server.usage()?;
    through(arguments.messages).await?;
    let used = server.usage()?.since(&before);
    server.stop()?;
    Ok(used)
}

/// What a message costs with few and with many waiting.
async fn backlogs(arguments: &Arguments, binary: &Path) -> Result<(), Failure> {
    let mut costs = Vec::new();
    for backlog in [1_000, arguments.backlog] {
        let used = bounded(with_backlog(arguments, binary, backlog)).await?;
        row(
            &format!("through with {backlog} waiting"),
            &format!(
                "{}; {}",
                per_second(arguments.messages, used.wall),
                shares(&used, arguments.messages)
            ),
        );
        costs.push(used.broker.as_secs_f64());
    }
    if let [few, many] = costs[..] {
        row(
            "the broker's CPU per message with the large backlog",
            &format!("{:+.0} %", (many / few - 1.0) * 100.0),
        );
    }
    Ok(())
}

async fn with_backlog(
    arguments: &Arguments,
    binary: &Path,
    backlog: usize,
) -> Result<Usage, Failure> {
    let folder = tempfile::tempdir()?;
    let server = Server::start(binary, folder.path())?;
    let load = Load::new(&server.endpoint, arguments.clients)?;
    let queue = load.client.make_queue().await?;
    load.send(&queue, backlog).await?;
    load.through(&queue, arguments.messages / 5).await?;
    let before = server.usage()?;
    load.through(&queue, arguments.messages).await?;
    let used = server.usage()?.since(&before);
    server.stop()?;
    Ok(used)
}

fn row(what: &str, measured: &str) {
    println!("| {what} | {measured} |");
}

/// Of sorted times.
fn percentiles(took: &[Duration]) -> String {
    let at = |percent: usize| took[(took.len() - 1) * percent / 100];
    format!("p50 {:.1?}, p99 {:.1?}", at(50), at(99))
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn per_second(messages: usize, wall: Duration) -> String {
    format!("{:.0} messages/s", messages as f64 / wall.as_secs_f64())
}

/// Processor time per message, and how many processors that was.
fn shares(used: &Usage, messages: usize) -> String {
    let per_message = |cpu: Duration| cpu / u32::try_from(messages.max(1)).unwrap_or(u32::MAX);
    let busy = |cpu: Duration| cpu.as_secs_f64() / used.wall.as_secs_f64();
    format!(
        "CPU per message: broker {:.1?} ({:.2} CPUs), load generator {:.1?} ({:.2} CPUs)",
        per_message(used.broker),
        busy(used.broker),
        per_message(used.load),
        busy(used.load)
    )
}
