//! The measurement of one cell: the systems take turns, round by round.

use std::time::{Duration, Instant};

use super::cells::{Cell, Shape, System};
use super::common::{Failure, load_average};
use super::driver::{Executed, Steps};
use super::processes::{self, Sampler, Seen};
use super::report::{IdleRow, LaunchRow, Row, StepsRow};
use super::site::{Cpu, Shared, Site};

/// For how long idleness is measured, and how long before that a worker is left alone.
// A long poll lasts 20 s: in less time one more or less would change the rate much.
const IDLE_FOR: Duration = Duration::from_mins(2);
const CALM: Duration = Duration::from_secs(5);
/// Launches in a round.
const LAUNCHES: usize = 2;

/// A system of which a round took this long, in seconds, has no further rounds in a cell.
const LONG: f64 = 120.0;

/// One execution of a shape by one system; times in seconds, memory in MiB.
pub struct Round {
    pub wall: f64,
    pub executor_cpu: f64,
    pub cpu: Cpu,
    pub hops: Vec<f64>,
    pub rest: f64,
    pub peak: f64,
    pub private: Vec<f64>,
    /// Processors that others used meanwhile.
    pub others: f64,
}

/// Measures a cell with each of the systems.
pub async fn cell(
    shared: &Shared<'_>,
    cell: Cell,
    systems: &[System],
    rounds: usize,
) -> Result<Vec<Row>, Failure> {
    if cell.shape == Shape::Idle {
        return idle(shared, cell, systems).await;
    }
    let mut sites = Vec::new();
    for &system in systems {
        sites.push(Site::start(shared, cell, system).await?);
    }
    if cell.shape == Shape::Launch {
        return launches(cell, &mut sites, rounds).await;
    }
    let mut measured: Vec<Vec<Round>> = sites.iter().map(|_| Vec::new()).collect();
    for number in 1..=rounds {
        for (site, measured) in sites.iter_mut().zip(&mut measured) {
            if measured.last().is_some_and(|last| last.wall > LONG) {
                continue;
            }
            let round = round(site, cell.shape).await;
            let round = round.map_err(|error| site.explained(&error))?;
            eprintln!(
                "{cell}, round {number}, {}: {:.2} s (load average {})",
                site.system,
                round.wall,
                load_average()
            );
            measured.push(round);
        }
    }
    let rows = sites.iter().zip(measured);
    Ok(rows
        .map(|(site, rounds)| Row::Steps(StepsRow::new(cell, site.system, &rounds)))
        .collect())
}

async fn round(site: &mut Site, shape: Shape) -> Result<Round, Failure> {
    let (root, except) = site.step_processes();
    let rest = processes::pss(root, &except);
    let (before, busy, began) = (site.cpu()?, processes::machine_busy(), Instant::now());
    let sampler = Sampler::start(root, except);
    let executed = site.driver.execute(&shape.job(), shape.runs()).await?;
    site.settle().await;
    let seen = sampler.finish();
    let mut cpu = site.cpu()?.since(before);
    let busy = processes::machine_busy() - busy;
    let took = began.elapsed().as_secs_f64();
    cpu.python += executed.children_cpu;
    let ours = cpu.rust + cpu.broker + cpu.python + cpu.database + executed.executor_cpu;
    check(&executed, shape)?;
    Ok(Round {
        wall: executed.wall,
        executor_cpu: executed.executor_cpu,
        cpu,
        hops: hops(&executed, shape),
        rest,
        peak: seen.peak.max(rest),
        private: private(&executed, &seen),
        others: ((busy - ours) / took).max(0.0),
    })
}

/// Every step must have run.
fn check(executed: &Executed, shape: Shape) -> Result<(), Failure> {
    let ended: usize = executed.runs.iter().map(|run| run.ended.len()).sum();
    if ended == shape.steps() {
        Ok(())
    } else {
        Err(format!("{ended} of {} steps have succeeded", shape.steps()).into())
    }
}

/// From the end of each step of a chain to the start of the next.
fn hops(executed: &Executed, shape: Shape) -> Vec<f64> {
    match shape {
        Shape::Chain { .. } => executed.runs.iter().flat_map(hops_of).collect(),
        _ => Vec::new(),
    }
}

fn hops_of(run: &Steps) -> Vec<f64> {
    let mut steps: Vec<_> = run
        .started
        .iter()
        .filter_map(|(step, started)| Some((*started, *run.ended.get(step)?)))
        .collect();
    steps.sort_by(|a, b| a.0.total_cmp(&b.0));
    steps
        .windows(2)
        .map(|pair| (pair[1].0 - pair[0].1).max(0.0))
        .collect()
}

/// The private memory of each process that was seen running a step.
fn private(executed: &Executed, seen: &Seen) -> Vec<f64> {
    let pids = executed.runs.iter().flat_map(|run| &run.pids);
    pids.filter_map(|pid| seen.private.get(pid).copied())
        .collect()
}

async fn launches(cell: Cell, sites: &mut [Site], rounds: usize) -> Result<Vec<Row>, Failure> {
    let mut measured: Vec<Vec<_>> = sites.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (site, measured) in sites.iter_mut().zip(&mut measured) {
            for _ in 0..LAUNCHES {
                let launched = site.driver.launch(&cell.shape.job()).await;
                let launched = launched.map_err(|error| site.explained(&error))?;
                eprintln!(
                    "{cell}, {}: {:.2} s to the first step (load average {})",
                    site.system.launcher(),
                    launched.first_step,
                    load_average()
                );
                measured.push(launched);
            }
        }
    }
    let rows = sites.iter().zip(measured);
    Ok(rows
        .map(|(site, launched)| Row::Launch(LaunchRow::new(cell, site.system, &launched)))
        .collect())
}

async fn idle(shared: &Shared<'_>, cell: Cell, systems: &[System]) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for &system in systems {
        let site = Site::start(shared, cell, system).await?;
        tokio::time::sleep(CALM).await;
        let (root, except) = site.step_processes();
        let (before, requests, began) = (site.cpu()?, site.requests().await?, Instant::now());
        tokio::time::sleep(IDLE_FOR).await;
        let took = began.elapsed().as_secs_f64();
        let cpu = site.cpu()?.since(before);
        let after = site.requests().await?;
        let rest = processes::pss(root, &except);
        let requests = rates(&requests, &after, took);
        eprintln!("{cell}, {system}: {took:.0} s measured");
        rows.push(Row::Idle(IdleRow::new(
            cell, system, cpu, took, rest, requests,
        )));
    }
    Ok(rows)
}

/// What was asked for between two moments, a second.
fn rates(before: &[(String, u64)], after: &[(String, u64)], took: f64) -> Vec<(String, f64)> {
    let earlier = |what: &str| {
        let found = before.iter().find(|(name, _)| name == what);
        found.map_or(0, |(_, count)| *count)
    };
    let since = after
        .iter()
        .map(|(what, count)| (what, count.saturating_sub(earlier(what))));
    since
        .filter(|(_, count)| *count > 0)
        .filter_map(|(what, count)| {
            Some((what.clone(), f64::from(u32::try_from(count).ok()?) / took))
        })
        .collect()
}
