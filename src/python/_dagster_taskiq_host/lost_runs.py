"""The last safeguard for runs: those that no worker executes and that have no message any more.

A run's message is what lets another worker resume it. If it was moved, purged or has expired, a
worker with a free run slot (so that every waiting message has been received) finds the run here and
sends it again. The rules at receipt decide the rest: the claim of a run that is still executed is
held.

A look reads every heartbeat and every run in progress. So the workers take turns: one of them
looks, and the others read when that was. The counts are kept in the storage for the next look.
"""

import json
import time
import uuid
from typing import Any

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.storage.dagster_run import RunRecord
from dagster._grpc.types import ExecuteRunArgs, ResumeRunArgs
from dagster._serdes import pack_value

from . import claims, event_log, heartbeats, run_end, takeover
from .messages import EXECUTE_JOB, RESUME_JOB

SENT = "dagster-taskiq/runs-sent-again"
"""Key of the runs that any worker sent again lately, with the time (Unix seconds)."""

TASK_ID_TAG = "dagster-taskiq/task_id"
"""Run tag of runs that were sent to a queue."""

LOOKS = 3
"""Number of looks in a row at which no live worker lists a run."""

AGAIN_AFTER = 900.0
"""Seconds after which a run is sent once more, and within which a first-time run may begin."""

MOST = 20
"""Maximum number of runs sent again at one look."""

TURN = "dagster-taskiq/lost-runs-turn"
"""Key of the time of the fleet's last look (Unix seconds), which every worker reads."""

UNLISTED = "dagster-taskiq/lost-runs"
"""Key of the runs that no worker listed at the last look, with the number of looks in a row."""

MAX_UNLISTED = 1000
"""Runs that are counted, the oldest first: a value in MySQL has at most 64 KiB."""


def look(
    instance: DagsterInstance, worker: dict[str, str], every: float = 0.0
) -> list[dict[str, str]]:
    """Records missing runs; returns those to be sent now, with ``run_id`` and ``body``.

    ``worker`` is the calling worker. Nothing is done if any worker looked within ``every`` seconds.
    """
    storage, now = instance.run_storage, time.time()
    last = float(storage.get_cursor_values({TURN}).get(TURN, 0.0))
    # A clock that was set back must not keep the fleet from looking.
    if abs(now - last) < every:
        return []
    # Before the look, which takes a while in a large fleet. If this process dies in it, the counts
    # stay as they are, and another worker has the next turn. Two workers that take the same turn
    # count the same.
    storage.set_cursor_values({TURN: str(now)})
    # After a gap the looks are not in a row.
    counted = _counted(instance) if now - last < AGAIN_AFTER else {}
    statuses = [
        DagsterRunStatus.STARTED,
        DagsterRunStatus.STARTING,
        DagsterRunStatus.CANCELING,
    ]
    records = [
        record
        for record in instance.get_run_records(RunsFilter(statuses=statuses))
        if TASK_ID_TAG in record.dagster_run.tags
    ]
    listed = heartbeats.listed_runs(instance)
    # Newest first, as the storage returns them.
    missing = [record for record in records if record.dagster_run.run_id not in listed]
    unlisted = {
        record.dagster_run.run_id: counted.get(record.dagster_run.run_id, 0) + 1
        for record in missing[-MAX_UNLISTED:]
    }
    if unlisted or counted:
        storage.set_cursor_values({UNLISTED: json.dumps(unlisted)})
    due = [r for r in missing if unlisted.get(r.dagster_run.run_id, 0) >= LOOKS]
    return _send_again(instance, due, worker) if due else []


def _counted(instance: DagsterInstance) -> dict[str, int]:
    counted: dict[str, int] = json.loads(
        instance.run_storage.get_cursor_values({UNLISTED}).get(UNLISTED, "{}")
    )
    return counted


def _send_again(
    instance: DagsterInstance, due: list[RunRecord], worker: dict[str, str]
) -> list[dict[str, str]]:
    storage, now = instance.run_storage, time.time()
    sent = json.loads(storage.get_cursor_values({SENT}).get(SENT, "{}"))
    sent = {run_id: at for run_id, at in sent.items() if now - at < AGAIN_AFTER}
    found: list[dict[str, str]] = []
    for record in due:
        run = record.dagster_run
        if run.status == DagsterRunStatus.CANCELING and run_end.restore(instance, run.run_id):
            continue
        if run.run_id in sent or len(found) >= MOST or not _is_lost(instance, record, worker):
            continue
        sent[run.run_id] = now
        found.append({"run_id": run.run_id, "body": _body(instance, run)})
        instance.report_engine_event(
            "No live worker has this run, and no message of it comes: sending it again.", run
        )
    if found:
        storage.set_cursor_values({SENT: json.dumps(sent)})
    return found


def _is_lost(instance: DagsterInstance, record: RunRecord, worker: dict[str, str]) -> bool:
    run = record.dagster_run
    if run.job_code_origin is None:
        return False
    claim = claims.claim(instance, run.run_id, None, 1)
    if not takeover.take(claim, lambda: event_log.run_owner(instance, run.run_id)):
        return False
    try:
        is_late = time.time() - record.update_timestamp.timestamp() > AGAIN_AFTER
        if run.status == DagsterRunStatus.STARTING:
            return is_late
        owner, seen = event_log.run_owner(instance, run.run_id)
        if owner is None:
            return is_late and run.status == DagsterRunStatus.CANCELING
        return claim.definite or heartbeats.owner_is_gone(instance, owner, seen, worker)
    finally:
        claim.release()


def _body(instance: DagsterInstance, run: DagsterRun) -> str:
    """Returns a Taskiq message in the form of the run launcher."""
    started = run.status == DagsterRunStatus.STARTED
    origin: Any = run.job_code_origin  # `_is_lost` has checked that there is one.
    args: Any = (ResumeRunArgs if started else ExecuteRunArgs)(
        job_origin=origin,
        run_id=run.run_id,
        instance_ref=instance.get_ref(),
        set_exit_code_on_failure=True,
    )
    name = "resume_job_args_packed" if started else "execute_job_args_packed"
    labels = {
        "dtq": "1",
        "priority": "5",
        "run_id": run.run_id,
        "attempt": "1",
        "job": run.job_name,
        "sent_at": str(round(time.time() * 1000)),
    }
    message = {
        "task_id": uuid.uuid4().hex,
        "task_name": RESUME_JOB if started else EXECUTE_JOB,
        "labels": labels,
        # Taskiq's LabelType: 2 is an integer, 3 a text.
        "labels_types": {k: 2 if k in ("priority", "attempt", "sent_at") else 3 for k in labels},
        "args": [],
        "kwargs": {name: pack_value(args)},
    }
    return json.dumps(message, ensure_ascii=False)
