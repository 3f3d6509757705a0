//! What was measured, as tables in Markdown and as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use super::cells::{Cell, System};
use super::driver::Launched;
use super::measure::Round;
use super::site::Cpu;

/// One row of a table.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Row {
    /// Steps that were run.
    Steps(StepsRow),
    /// Runs that were launched.
    Launch(LaunchRow),
    /// A worker that had nothing to do.
    Idle(IdleRow),
}

/// Medians of several rounds.
#[derive(Debug, Serialize)]
pub struct StepsRow {
    #[serde(flatten)]
    cell: Cell,
    system: System,
    rounds: usize,
    /// Seconds of each round.
    walls: Vec<f64>,
    wall_seconds: f64,
    steps_per_second: f64,
    hop_p50_ms: Option<f64>,
    hop_p99_ms: Option<f64>,
    executor_cpu_ms: f64,
    rust_cpu_ms: f64,
    broker_cpu_ms: f64,
    python_cpu_ms: f64,
    database_cpu_ms: f64,
    total_cpu_ms: f64,
    pss_rest_mib: f64,
    pss_peak_mib: f64,
    private_mib_per_step: Option<f64>,
    cpus_used_by_others: f64,
}

/// Medians of several launches.
#[derive(Debug, Serialize)]
pub struct LaunchRow {
    #[serde(flatten)]
    cell: Cell,
    system: System,
    launches: usize,
    call_ms: f64,
    first_step_ms: f64,
    first_step_worst_ms: f64,
}

/// One stretch of idleness.
#[derive(Debug, Serialize)]
pub struct IdleRow {
    #[serde(flatten)]
    cell: Cell,
    system: System,
    worker_rust_percent: f64,
    worker_python_percent: f64,
    broker_percent: f64,
    pss_mib: f64,
    requests_per_second: Vec<(String, f64)>,
}

impl StepsRow {
    /// Sums up the rounds of a system in a cell.
    pub fn new(cell: Cell, system: System, rounds: &[Round]) -> Self {
        let steps = count(cell.shape.steps());
        let of = |value: &dyn Fn(&Round) -> f64| median(rounds.iter().map(value).collect());
        let ms = |value: &dyn Fn(&Round) -> f64| of(value) * 1_000.0 / steps;
        let hops = rounds.iter().flat_map(|round| round.hops.iter());
        let hops = sorted(hops.map(|hop| hop * 1_000.0).collect());
        let private: Vec<_> = rounds.iter().flat_map(|r| r.private.clone()).collect();
        let wall = of(&|round| round.wall);
        Self {
            cell,
            system,
            rounds: rounds.len(),
            walls: rounds.iter().map(|round| round.wall).collect(),
            wall_seconds: wall,
            steps_per_second: steps / wall,
            hop_p50_ms: percentile(&hops, 50),
            hop_p99_ms: percentile(&hops, 99),
            executor_cpu_ms: ms(&|round| round.executor_cpu),
            rust_cpu_ms: ms(&|round| round.cpu.rust),
            broker_cpu_ms: ms(&|round| round.cpu.broker),
            python_cpu_ms: ms(&|round| round.cpu.python),
            database_cpu_ms: ms(&|round| round.cpu.database),
            total_cpu_ms: ms(&|round| {
                let cpu = round.cpu;
                round.executor_cpu + cpu.rust + cpu.broker + cpu.python + cpu.database
            }),
            pss_rest_mib: of(&|round| round.rest),
            pss_peak_mib: of(&|round| round.peak),
            private_mib_per_step: (!private.is_empty()).then(|| median(private)),
            cpus_used_by_others: of(&|round| round.others),
        }
    }
}

impl LaunchRow {
    /// Sums up the launches of a system in a cell.
    pub fn new(cell: Cell, system: System, launched: &[Launched]) -> Self {
        let ms = |value: fn(&Launched) -> f64| {
            let values = launched.iter().map(|launched| value(launched) * 1_000.0);
            sorted(values.collect())
        };
        let first = ms(|launched| launched.first_step);
        Self {
            cell,
            system,
            launches: launched.len(),
            call_ms: median(ms(|launched| launched.call)),
            first_step_worst_ms: first.last().copied().unwrap_or_default(),
            first_step_ms: median(first),
        }
    }
}

impl IdleRow {
    /// What a system used in so many seconds.
    pub fn new(
        cell: Cell,
        system: System,
        cpu: Cpu,
        seconds: f64,
        pss_mib: f64,
        requests_per_second: Vec<(String, f64)>,
    ) -> Self {
        let percent = |used: f64| used / seconds * 100.0;
        Self {
            cell,
            system,
            worker_rust_percent: percent(cpu.rust),
            worker_python_percent: percent(cpu.python),
            broker_percent: percent(cpu.broker),
            pss_mib,
            requests_per_second,
        }
    }
}

/// The tables.
pub fn markdown(rows: &[Row]) -> String {
    let mut text = String::new();
    let steps: Vec<_> = rows.iter().filter_map(Row::steps).collect();
    if !steps.is_empty() {
        text += "\n| cell | system | rounds | wall s | steps/s | hop p50 / p99 ms | CPU ms a step: all | executor \
                 | Rust | broker | Python | database | PSS MiB rest → peak | private MiB a step | \
                 CPUs of others |\n|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n";
        text.extend(steps.iter().map(|row| steps_line(row)));
        text += &ratios(&steps);
    }
    let launches = rows.iter().filter_map(|row| match row {
        Row::Launch(row) => Some(launch_line(row)),
        _ => None,
    });
    let launches: String = launches.collect();
    if !launches.is_empty() {
        text += "\n| cell | launcher | call ms | to the first step ms | worst ms |\n\
                 |---|---|--:|--:|--:|\n";
        text += &launches;
    }
    let idle = rows.iter().filter_map(|row| match row {
        Row::Idle(row) => Some(idle_line(row)),
        _ => None,
    });
    let idle: String = idle.collect();
    if !idle.is_empty() {
        text += "\n| cell | system | Rust % of a CPU | Python % | broker % | PSS MiB | requests a \
                 second |\n|---|---|--:|--:|--:|--:|---|\n";
        text += &idle;
    }
    text
}

impl Row {
    fn steps(&self) -> Option<&StepsRow> {
        match self {
            Self::Steps(row) => Some(row),
            _ => None,
        }
    }
}

fn steps_line(row: &StepsRow) -> String {
    let hop = match (row.hop_p50_ms, row.hop_p99_ms) {
        (Some(p50), Some(p99)) => format!("{p50:.0} / {p99:.0}"),
        _ => String::new(),
    };
    let private = row
        .private_mib_per_step
        .map_or(String::new(), |mib| format!("{mib:.0}"));
    format!(
        "| {} | {} | {} | {:.2} | {:.1} | {hop} | {:.0} | {:.1} | {:.2} | {:.2} | {:.0} | {:.1} | \
         {:.0} → {:.0} | {private} | {:.1} |\n",
        row.cell,
        row.system,
        row.rounds,
        row.wall_seconds,
        row.steps_per_second,
        row.total_cpu_ms,
        row.executor_cpu_ms,
        row.rust_cpu_ms,
        row.broker_cpu_ms,
        row.python_cpu_ms,
        row.database_cpu_ms,
        row.pss_rest_mib,
        row.pss_peak_mib,
        row.cpus_used_by_others,
    )
}

fn launch_line(row: &LaunchRow) -> String {
    format!(
        "| {} | {} | {:.0} | {:.0} | {:.0} |\n",
        row.cell,
        row.system.launcher(),
        row.call_ms,
        row.first_step_ms,
        row.first_step_worst_ms
    )
}

fn idle_line(row: &IdleRow) -> String {
    let requests: Vec<_> = row
        .requests_per_second
        .iter()
        .map(|(what, rate)| format!("{what} {rate:.2}"))
        .collect();
    format!(
        "| {} | {} | {:.2} | {:.2} | {:.2} | {:.0} | {} |\n",
        row.cell,
        row.system,
        row.worker_rust_percent,
        row.worker_python_percent,
        row.broker_percent,
        row.pss_mib,
        requests.join(", ")
    )
}

/// Each of our systems against Celery in the same cell.
fn ratios(rows: &[&StepsRow]) -> String {
    let mut text = String::new();
    for ours in rows.iter().filter(|row| row.system.is_ours()) {
        let celery = rows
            .iter()
            .find(|row| row.system == System::Celery && row.cell == ours.cell);
        let Some(celery) = celery else { continue };
        let hop = ours.hop_p50_ms.zip(celery.hop_p50_ms);
        let hop = hop.map_or(String::new(), |(a, b)| format!("{:.2}", a / b));
        // Writing to a `String` does not fail.
        let _ = writeln!(
            text,
            "| {} | {} | {:.2} | {:.2} | {:.2} | {hop} |",
            ours.cell,
            ours.system,
            ours.steps_per_second / celery.steps_per_second,
            ours.total_cpu_ms / celery.total_cpu_ms,
            ours.pss_peak_mib / celery.pss_peak_mib,
        );
    }
    if text.is_empty() {
        return text;
    }
    format!(
        "\n| ours / celery | system | steps/s | CPU a step | peak PSS | hop p50 |\n\
         |---|---|--:|--:|--:|--:|\n{text}"
    )
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// Of any order; 0 of nothing.
fn median(values: Vec<f64>) -> f64 {
    let values = sorted(values);
    match (values.len() / 2, values.len() % 2) {
        (0, 0) => 0.0,
        (half, 1) => values[half],
        (half, _) => f64::midpoint(values[half - 1], values[half]),
    }
}

/// Of sorted values.
fn percentile(values: &[f64], percent: usize) -> Option<f64> {
    let rank = (values.len() * percent).div_ceil(100);
    values.get(rank.checked_sub(1)?).copied()
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn count(steps: usize) -> f64 {
    steps as f64
}
