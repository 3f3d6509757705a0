"""Compares a running step's elapsed time with its usual duration."""

import math
import statistics
import time

from dagster import DagsterInstance, DagsterRun, RunsFilter

from .explain_words import Explanation, Reason, lasted

RUNS = 30
"""Number of the job's newest runs that are read: each costs a query."""

FEWEST = 3
"""Minimum number of ends from which a usual duration is derived."""


def explain(
    found: Explanation, instance: DagsterInstance, run: DagsterRun, key: str, since: float
) -> None:
    """Adds the step's duration in other runs of its job. ``since``: the time it began."""
    took = sorted(_took(instance, run, key))
    if len(took) < FEWEST:
        times = {0: "never", 1: "once", 2: "twice"}[len(took)]
        found.unknown.append(
            f"how long it usually takes: it succeeded {times} in the newest {RUNS} runs of the job"
        )
        return
    elapsed = time.time() - since
    median, late = statistics.median(took), _late(took)
    text = (
        f"It has run for {lasted(elapsed)}; the last {len(took)} times it took {_brief(median)}"
        f" (median), {_brief(late)} (p95), {_brief(took[-1])} at most."
    )
    found.reasons.append(Reason("slow" if elapsed > late else "pace", text))


def usual_time(instance: DagsterInstance, run_id: str, key: str) -> dict[str, int] | None:
    """Returns the step's duration in other runs of its job; None if too few are known."""
    run = instance.get_run_by_id(run_id)
    took = [] if run is None else sorted(_took(instance, run, key))
    if len(took) < FEWEST:
        return None
    return {
        "runs": len(took),
        "median_ms": round(statistics.median(took) * 1000),
        "late_ms": round(_late(took) * 1000),
        "longest_ms": round(took[-1] * 1000),
    }


def _late(took: list[float]) -> float:
    """Returns the 95th percentile of sorted durations."""
    return took[math.ceil(0.95 * len(took)) - 1]


def _brief(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else lasted(seconds)


def _took(instance: DagsterInstance, run: DagsterRun, key: str) -> list[float]:
    """Durations in seconds of the step's last attempts in runs in which it succeeded."""
    found = []
    for other in instance.get_runs(RunsFilter(job_name=run.job_name), limit=RUNS):
        if other.run_id == run.run_id:
            continue
        for stat in instance.get_run_step_stats(other.run_id, step_keys=[key]):
            last = stat.attempts_list[-1] if stat.attempts_list else stat
            if stat.status is None or stat.status.value != "SUCCESS":
                continue
            if last.start_time is not None and last.end_time is not None:
                found.append(max(last.end_time - last.start_time, 0.0))
    return found
