//! A large fleet in simulated time: what a day costs, and what is near its limit.
//!
//! `cargo run --release --example scale_sim -- --workers 1000 --steps-per-day 1000000 --queued 10000`
//!
//! The requests to SQS are counted in the model of `worker::fleet_model`, which runs the worker's own
//! scheduler and decoder. What goes to Dagster's database is computed from the model's times and the
//! constants below; docs/scale.md says where they come from and what the results mean.

use std::time::{Duration, Instant};

use clap::Parser;
use dagster_taskiq_tui::worker::fleet_model::{FleetFigures, FleetOptions, simulate};

/// US dollars for a million requests to a standard queue, the first step of the price list for
/// us-east-1: <https://aws.amazon.com/sqs/pricing/>, as quoted in March 2026.
const PRICE: f64 = 0.40;

/// Seconds between a worker's heartbeats: one row written, one row read (`worker::heartbeat`).
const HEARTBEAT: f64 = 5.0;

/// Seconds between a worker's reads for its alarms, one row each: the digest of the fleet
/// (`worker::heartbeat`), the facts (`alarms::facts`), and the board, which a worker that sees an
/// alarm reads every ten seconds (`alarms::watch`).
const ALARMS: [f64; 3] = [15.0, 30.0, 60.0];

/// Seconds between a worker's queries for cancelled runs while it has a task
/// (`fork_server::cancel`).
const CANCEL_POLL: f64 = 1.5;

/// Seconds between an idle worker's looks at the turn of the search for lost runs, one row each.
const LOST_RUNS: f64 = 66.0;

/// Seconds between the counts of each queue of a worker that is not watched.
const COUNTS: f64 = 122.0;

/// Seconds between a run worker's queries for its run's status.
const RUN_STATUS: f64 = 2.0;

/// Mean seconds between a run worker's looks at the event log while its steps run.
const RUN_LOG: f64 = 0.9;

/// Events of a step, the transactions in which they are stored (docs/benchmarks.md), and events of a
/// run beside its steps.
const STEP_EVENTS: f64 = 10.0;
const STEP_TRANSACTIONS: f64 = 6.0;
const RUN_EVENTS: f64 = 9.0;

/// Connections to `PostgreSQL`: of a worker's own two threads while they query, and of a running step
/// and a running run (docs/delivery.md).
const WORKER_CONNECTIONS: f64 = 2.0;
const STEP_CONNECTIONS: f64 = 1.0;
const RUN_CONNECTIONS: f64 = 1.0;

/// Messages that a standard queue may have in flight.
const IN_FLIGHT_LIMIT: u64 = 120_000;

#[derive(Debug, Parser)]
#[command(about = "A large fleet in simulated time")]
struct Args {
    /// Number of workers
    #[arg(long, default_value_t = 1000)]
    workers: u32,
    /// Step slots of each worker
    #[arg(long, default_value_t = 8)]
    slots: u32,
    /// Run slots of each worker
    #[arg(long, default_value_t = 4)]
    run_slots: u32,
    /// Serve three priority bands instead of one queue
    #[arg(long)]
    bands: bool,
    /// Steps of the runs that are launched evenly during a day
    #[arg(long, default_value_t = 1_000_000)]
    steps_per_day: u64,
    /// Runs that wait at the start, besides
    #[arg(long, default_value_t = 0)]
    queued: u32,
    /// Steps of each run
    #[arg(long, default_value_t = 100)]
    steps_of_run: u32,
    /// Steps that a run sends together
    #[arg(long, default_value_t = 25)]
    fan: u32,
    /// Mean duration of a step in seconds
    #[arg(long, default_value_t = 60.0)]
    step_seconds: f64,
    /// Simulated hours
    #[arg(long, default_value_t = 24.0)]
    hours: f64,
    /// Connections that the database may have, `max_connections`
    #[arg(long, default_value_t = 500)]
    connections: u32,
    /// Seed of the model
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() {
    let args = Args::parse();
    let options = FleetOptions {
        workers: args.workers,
        slots: args.slots,
        run_slots: args.run_slots,
        has_bands: args.bands,
        queued_runs: args.queued,
        steps_a_day: args.steps_per_day,
        steps_of_run: args.steps_of_run,
        fan: args.fan,
        step_seconds: args.step_seconds,
        duration: Duration::from_secs_f64(args.hours * 3600.0),
        seed: args.seed,
        ..FleetOptions::default()
    };
    let began = Instant::now();
    let figures = simulate(&options);
    println!(
        "{} workers, {} hours in {:.0} s",
        args.workers,
        args.hours,
        began.elapsed().as_secs_f64()
    );
    queue_report(&options, &figures);
    database_report(&options, &figures, args.connections);
}

fn row(name: &str, value: f64, unit: &str) {
    println!("{name:34} {value:>16.1} {unit}");
}

#[expect(clippy::cast_precision_loss, reason = "counts for a table")]
fn queue_report(options: &FleetOptions, figures: &FleetFigures) {
    let days = options.duration.as_secs_f64() / 86_400.0;
    let a_day = |count: u64| count as f64 / days;
    let queues = if options.has_bands { 4.0 } else { 2.0 };
    let counts = f64::from(options.workers) * queues * 86_400.0 / COUNTS;
    let total = a_day(figures.billed) + counts;
    row("runs ended", figures.runs as f64, "");
    row("steps ended", figures.steps as f64, "");
    row("wait of a step, half", f64::from(figures.wait(0.5)), "s");
    row("wait of a step, 95 %", f64::from(figures.wait(0.95)), "s");
    row("wait of a step, longest", f64::from(figures.wait(1.0)), "s");
    row("receives", a_day(figures.receives), "a day");
    row("  of them empty", a_day(figures.empty_receives), "a day");
    row("deletes", a_day(figures.deletes), "a day");
    row("renewals", a_day(figures.renewals), "a day");
    row("given back", a_day(figures.released), "a day");
    row("sends", a_day(figures.sends), "a day");
    row("counts of queues", counts, "a day");
    row("requests as billed", total, "a day");
    row("price of SQS", total * PRICE / 1e6, "USD a day");
    let in_flight = figures.most_in_flight;
    row("most messages in flight", in_flight as f64, "");
    if in_flight > IN_FLIGHT_LIMIT {
        println!("  more than a standard queue may have: {IN_FLIGHT_LIMIT}");
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts for a table")]
fn database_report(options: &FleetOptions, figures: &FleetFigures, connections: u32) {
    let seconds = options.duration.as_secs_f64();
    let workers = f64::from(options.workers);
    let occupied = figures.occupied_seconds / seconds;
    let runs = figures.run_seconds / seconds;
    let run_events = figures.runs as f64 * RUN_EVENTS;
    let events = figures.steps as f64 * STEP_EVENTS + run_events;
    let transactions = figures.steps as f64 * STEP_TRANSACTIONS + run_events;
    let alarms: f64 = ALARMS.iter().map(|pause| workers / pause).sum();
    let beats = workers / HEARTBEAT;
    let (cancels, lost) = (occupied / CANCEL_POLL, workers / LOST_RUNS);
    let of_worker = WORKER_CONNECTIONS
        + f64::from(options.slots) * STEP_CONNECTIONS
        + f64::from(options.run_slots) * RUN_CONNECTIONS;
    row("workers with a task, mean", occupied, "");
    row("running runs, mean", runs, "");
    row("running runs, most", figures.most_runs as f64, "");
    row("events", events / seconds, "a second");
    row(
        "  transactions with them",
        transactions / seconds,
        "a second",
    );
    row("heartbeats, written", beats, "a second");
    row("heartbeats, parts of the index read", beats, "a second");
    row("queries for cancelled runs", cancels, "a second");
    row("looks at the turn of lost runs", lost, "a second");
    row("reads for alarms", alarms, "a second");
    row(
        "new sessions of workers",
        2.0 * beats + cancels + lost + alarms,
        "a second",
    );
    row("queries for runs' status", runs / RUN_STATUS, "a second");
    row("looks at runs' logs", runs / RUN_LOG, "a second");
    row("connections, every slot in use", workers * of_worker, "");
    let room = (f64::from(connections) / of_worker).floor();
    row("workers that a server has room for", room, "");
}
