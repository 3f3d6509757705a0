//! Step counts of runs: their number of steps, and how many ended. They are queried separately from
//! the list of runs, since each makes Dagster read a run's log or plan.

use std::collections::{HashMap, HashSet};

use crate::dagster::{Client, DagsterError, RunStats};
use crate::domain::{RunStatus, RunView};

/// Number of runs in one query.
const AT_ONCE: usize = 25;

/// Step counts by run; see the module.
pub(super) struct Counts {
    client: Client,
    /// Ended steps, by run id: those of finished runs are queried once.
    ended: HashMap<String, RunStats>,
    /// Number of steps in a run's plan, if the list does not contain it: a plan never changes.
    planned: HashMap<String, Option<u32>>,
}

impl Counts {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            ended: HashMap::new(),
            planned: HashMap::new(),
        }
    }

    /// Forgets all runs but these.
    pub(super) fn keep(&mut self, runs: &[RunView]) {
        let listed: HashSet<&str> = runs.iter().map(|run| run.run_id.as_str()).collect();
        self.ended.retain(|id, _| listed.contains(id.as_str()));
        self.planned.retain(|id, _| listed.contains(id.as_str()));
    }

    /// Queries some of the counts that are missing or may have changed; returns whether anything is
    /// new.
    pub(super) async fn renew(&mut self, runs: &[RunView]) -> Result<bool, DagsterError> {
        let mut uncounted: Vec<&RunView> = runs
            .iter()
            .filter(|run| self.may_have_changed(run))
            .collect();
        // Runs in progress come before finished ones.
        uncounted.sort_by_key(|run| run.status.is_finished());
        uncounted.truncate(AT_ONCE);
        let ended = self.query_ended(&uncounted).await?;
        let unplanned = runs.iter().filter(|run| self.lacks_plan(run));
        let unplanned: Vec<&RunView> = unplanned.take(AT_ONCE).collect();
        let planned = self.query_planned(&unplanned).await?;
        Ok(ended || planned)
    }

    /// Queries the counts of all these runs.
    pub(super) async fn add(&mut self, runs: &[RunView]) -> Result<(), DagsterError> {
        for some in runs.chunks(AT_ONCE) {
            let uncounted: Vec<&RunView> = some.iter().collect();
            self.query_ended(&uncounted).await?;
            let unplanned: Vec<&RunView> = some.iter().filter(|run| self.lacks_plan(run)).collect();
            self.query_planned(&unplanned).await?;
        }
        Ok(())
    }

    async fn query_ended(&mut self, uncounted: &[&RunView]) -> Result<bool, DagsterError> {
        if uncounted.is_empty() {
            return Ok(false);
        }
        let mut counts = self.client.run_stats(&ids(uncounted)).await?;
        let mut changed = false;
        for run in uncounted {
            // A run that was deleted meanwhile has none, and is not queried again.
            let gone = RunStats {
                finished: true,
                ..RunStats::default()
            };
            let stats = counts.remove(&run.run_id).unwrap_or(gone);
            changed |= self.ended.insert(run.run_id.clone(), stats) != Some(stats);
        }
        Ok(changed)
    }

    async fn query_planned(&mut self, uncounted: &[&RunView]) -> Result<bool, DagsterError> {
        if uncounted.is_empty() {
            return Ok(false);
        }
        let mut sizes = self.client.plan_sizes(&ids(uncounted)).await?;
        for run in uncounted {
            let size = sizes.remove(&run.run_id);
            self.planned.insert(run.run_id.clone(), size);
        }
        Ok(true)
    }

    fn may_have_changed(&self, run: &RunView) -> bool {
        match run.status {
            RunStatus::Queued | RunStatus::NotStarted | RunStatus::Managed => false,
            _ => self
                .ended
                .get(&run.run_id)
                .is_none_or(|stats| !stats.finished),
        }
    }

    fn lacks_plan(&self, run: &RunView) -> bool {
        run.steps_total.is_none() && !self.planned.contains_key(&run.run_id)
    }

    /// The runs with their known step counts.
    pub(super) fn shown(&self, mut runs: Vec<RunView>) -> Vec<RunView> {
        for run in &mut runs {
            if let Some(stats) = self.ended.get(&run.run_id) {
                stats.add_to(run);
            }
            let planned = || *self.planned.get(&run.run_id)?;
            run.steps_total = run.steps_total.or_else(planned);
        }
        runs
    }
}

fn ids(runs: &[&RunView]) -> Vec<String> {
    runs.iter().map(|run| run.run_id.clone()).collect()
}
