//! Compares a running step with its durations in earlier runs.

use std::future::Future;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

use crate::domain::UsualTime;
use crate::fork_server::ForkServerError;

/// Looks into the history, one after the other: each reads some thirty runs, and the instance agent
/// answers other requests in between.
static LOOKS: Semaphore = Semaphore::const_new(1);

/// Waits until a step that starts now is beyond its usual time, which it returns; `None` if it has
/// no usual time, or that cannot be read. The history is read after `after`, so that short steps
/// cost nothing.
pub(super) async fn beyond_usual(
    after: Duration,
    usual: impl Future<Output = Result<Option<UsualTime>, ForkServerError>>,
) -> Option<UsualTime> {
    let started = Instant::now();
    sleep_until(started + after).await;
    let known = {
        let _turn = LOOKS.acquire().await.ok()?;
        usual.await
    };
    let usual = match known {
        Ok(known) => known?,
        Err(problem) => {
            tracing::debug!("the usual time of a step is not known: {problem}");
            return None;
        }
    };
    sleep_until(started + Duration::from_millis(usual.late_ms)).await;
    Some(usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_millis(20);

    fn usual(late_ms: u64) -> UsualTime {
        UsualTime {
            runs: 5,
            median_ms: late_ms / 2,
            late_ms,
            longest_ms: late_ms,
        }
    }

    async fn beyond(usual: Option<UsualTime>) -> (Option<UsualTime>, Duration) {
        let started = Instant::now();
        let found = beyond_usual(AFTER, async { Ok(usual) }).await;
        (found, started.elapsed())
    }

    #[tokio::test]
    async fn a_step_is_beyond_its_usual_time_after_that_and_not_before_the_first_look() {
        for late_ms in [60, 5] {
            let (found, after) = beyond(Some(usual(late_ms))).await;
            assert_eq!(found, Some(usual(late_ms)));
            assert!(
                after >= AFTER.max(Duration::from_millis(late_ms)),
                "{after:?}"
            );
        }
        assert_eq!(beyond(None).await.0, None);
    }
}
