//! Detects runs that are being cancelled, were cancelled or have failed, and interrupts their
//! tasks.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tracing::{Instrument, Span, debug, info};

use super::api::ForkServerNotice;
use super::supervisor::Supervisor;
use super::sync::lock;

/// Interval of the query over all runs in flight: a "terminate" is noticed within it.
const PERIOD: Duration = Duration::from_millis(1500);

/// Starts watching; it ends with the supervisor.
pub(super) fn watch(supervisor: &Arc<Supervisor>) {
    tokio::spawn(poll(Arc::downgrade(supervisor)));
}

async fn poll(supervisor: Weak<Supervisor>) {
    // A run's own process writes FAILURE shortly before it ends. Only a process that still exists
    // at the next look is interrupted.
    let mut failed_before = HashSet::new();
    let mut failing = HashSet::new();
    loop {
        tokio::time::sleep(PERIOD).await;
        let Some(supervisor) = supervisor.upgrade() else {
            return;
        };
        failed_before = look(&supervisor, &failed_before, &mut failing).await;
    }
}

/// Interrupts the tasks of ending runs; returns the runs that were seen to have failed. `failing` has
/// the instances that could not be asked the last time.
async fn look(
    supervisor: &Arc<Supervisor>,
    failed_before: &HashSet<String>,
    failing: &mut HashSet<Option<String>>,
) -> HashSet<String> {
    let mut failed = HashSet::new();
    for (instance, tasks) in in_flight(supervisor) {
        let run_ids: HashSet<String> = tasks.iter().map(|(_, run_id)| run_id.clone()).collect();
        let ending = match supervisor.instance_agent(instance.as_deref()).await {
            Ok(instance_agent) => {
                instance_agent
                    .ending_runs(run_ids.into_iter().collect())
                    .await
            }
            Err(error) => Err(error),
        };
        let ending = match ending {
            Ok(ending) => {
                failing.remove(&instance);
                ending
            }
            // Runs are looked at so often that the log would have nothing else.
            Err(error) if !failing.insert(instance.clone()) => {
                debug!("{error}");
                continue;
            }
            Err(error) => {
                let notice = ForkServerNotice::InstanceAgentError {
                    reason: error.to_string(),
                };
                let _ = supervisor.notices.try_send(notice);
                continue;
            }
        };
        for (task_id, run_id) in tasks {
            let Some(status) = ending.get(&run_id) else {
                continue;
            };
            if status == "FAILURE" && !failed_before.contains(&run_id) {
                failed.insert(run_id);
                continue;
            }
            let status = status.clone();
            let span = lock(&supervisor.tasks)
                .get(&task_id)
                .map_or_else(Span::none, |running| running.span.clone());
            span.in_scope(|| info!("it is interrupted: its run is {status}"));
            let _ = supervisor.notices.try_send(ForkServerNotice::Canceling {
                task_id: task_id.clone(),
                status,
            });
            // A host that does not read must not delay the cancellation of other hosts' tasks.
            let supervisor = Arc::clone(supervisor);
            let cancel = async move { supervisor.cancel(&task_id).await };
            tokio::spawn(cancel.instrument(span));
        }
    }
    failed
}

/// Tasks that are not being cancelled yet (id and run), by instance.
fn in_flight(supervisor: &Supervisor) -> HashMap<Option<String>, Vec<(String, String)>> {
    let mut found: HashMap<Option<String>, Vec<(String, String)>> = HashMap::new();
    for (id, running) in lock(&supervisor.tasks)
        .iter()
        .filter(|(_, running)| !running.canceled)
    {
        let entry = found.entry(running.instance.clone()).or_default();
        entry.push((id.clone(), running.run_id.clone()));
    }
    found
}
