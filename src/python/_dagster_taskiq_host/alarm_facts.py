"""What Dagster's storage knows for a worker's alarms: its daemons, and runs that failed.

It is the same for all workers, so one of them looks, and the others read what it found.
"""

import json
import time
from typing import Any

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

from .redaction import redact

RETIRED_AFTER = 7 * 24 * 3600.0
"""Seconds of silence after which a daemon counts as given up."""

MAX_JOBS = 20
"""Jobs with a failed run that are looked at."""

MAX_RUNS = 200
"""Newest failed runs that are looked at."""


KEY = "dagster-taskiq/alarm-facts"
"""Key of the last facts; the window is part of it."""

FRESH = 25.0
"""Age in seconds below which the facts of another worker are used."""


def latest(instance: DagsterInstance, window: float) -> dict[str, Any]:
    """Returns the facts of the last ``FRESH`` seconds, from any worker."""
    storage, now = instance.run_storage, time.time()
    key = f"{KEY}/{window:g}"
    try:
        last = json.loads(storage.get_cursor_values({key}).get(key, "{}"))
    except ValueError:
        last = {}
    if abs(now - last.get("at", 0.0)) < FRESH:
        facts: dict[str, Any] = last["facts"]
        return facts
    facts = look(instance, window)
    storage.set_cursor_values({key: json.dumps({"at": now, "facts": facts})})
    return facts


def look(instance: DagsterInstance, window: float) -> dict[str, Any]:
    """Returns the required daemons that have ever reported, and the jobs whose last run failed
    within the last ``window`` seconds.
    """
    return {"daemons": _daemons(instance), "failed_runs": _failed_runs(instance, window)}


def _daemons(instance: DagsterInstance) -> list[dict[str, Any]]:
    now = time.time()
    heartbeats = instance.get_daemon_heartbeats()
    ages = {
        kind: now - heartbeats[kind].timestamp
        for kind in instance.get_required_daemon_types()
        if kind in heartbeats
    }
    return [
        {"kind": kind, "silent": max(0, int(age))}
        for kind, age in sorted(ages.items())
        if age < RETIRED_AFTER
    ]


def _failed_runs(instance: DagsterInstance, window: float) -> list[dict[str, Any]]:
    from datetime import datetime, timedelta, timezone

    after = datetime.now(timezone.utc) - timedelta(seconds=window)
    failed = RunsFilter(statuses=[DagsterRunStatus.FAILURE], updated_after=after)
    found: dict[str, dict[str, Any]] = {}
    for record in instance.get_run_records(failed, limit=MAX_RUNS):
        job = record.dagster_run.job_name
        if job in found or len(found) >= MAX_JOBS:
            continue
        ended = record.end_time or record.update_timestamp.timestamp()
        if ended >= time.time() - window and not _is_made_good(instance, job, record.storage_id):
            run_id = record.dagster_run.run_id
            found[job] = {"job": redact(job), "run_id": run_id, "ended": int(ended)}
    return list(found.values())


def _is_made_good(instance: DagsterInstance, job: str, storage_id: int) -> bool:
    """Returns whether a later run of the job has succeeded."""
    succeeded = RunsFilter(job_name=job, statuses=[DagsterRunStatus.SUCCESS])
    records = instance.get_run_records(succeeded, limit=1)
    return any(record.storage_id > storage_id for record in records)
