"""The deployment's workers as a worker without viewers needs them: for its alarms.

If each worker read every heartbeat, the rows read would grow with the square of the fleet. So one
worker at a time does, and writes what the others need into one key. Workers that read at the same
moment may both do it, which does no harm; if one dies in between, the next one finds the old digest
and reads again.
"""

import json
import time
from datetime import datetime
from typing import Any

from dagster import DagsterInstance

from . import heartbeats

KEY = "dagster-taskiq/fleet"

FRESH = 8.0
"""Age in seconds below which a digest is used. Together with the pause between two reads (15 s) and
the interval of heartbeats it is less than the silence that counts as one (30 s).
"""

LISTED = 64
"""Largest fleet of which the digest lists every worker."""

MAX_SILENT = 32
"""Number of silent workers in the digest of a larger fleet, the latest ones first."""

LARGEST = 60_000
"""Largest digest in bytes: a value in MySQL has at most 64 KiB. Beyond it all workers read all."""

Worker = dict[str, Any]


def look(instance: DagsterInstance) -> list[Worker]:
    """Returns the workers in the form of ``heartbeats.fleet``: of a large fleet only the silent
    ones, and enough others to know which queues are served.
    """
    storage, now = instance.run_storage, time.time()
    digest = _load(storage.get_cursor_values({KEY}).get(KEY))
    # A digest from a clock that is ahead must not stay for ever.
    if digest is not None and abs(now - digest["at"]) < FRESH:
        workers: list[Worker] = digest["workers"]
        return workers
    workers = _reduced(heartbeats.fleet(instance), now)
    text = json.dumps({"at": now, "workers": workers})
    if len(text) <= LARGEST:
        storage.set_cursor_values({KEY: text})
    return workers


def _load(text: str | None) -> dict[str, Any] | None:
    try:
        digest = json.loads(text) if text else None
    except ValueError:
        return None
    return digest if isinstance(digest, dict) and {"at", "workers"} <= digest.keys() else None


def _reduced(workers: list[Worker], now: float) -> list[Worker]:
    if len(workers) <= LISTED:
        return workers
    newest_first = sorted(workers, key=_time_of, reverse=True)
    live = [w for w in newest_first if now - _time_of(w) <= heartbeats.STALE_AFTER]
    known: set[tuple[Any, ...]] = set()
    found = newest_first[len(live) :][:MAX_SILENT]
    for worker in live:
        offers = _offers(worker)
        if not offers <= known:
            known |= offers
            found.append(worker)
    return sorted(found, key=lambda worker: str(worker["id"]))


def _time_of(worker: Worker) -> float:
    return datetime.fromisoformat(worker["heartbeat_at"]).timestamp()


def _offers(worker: Worker) -> set[tuple[Any, ...]]:
    """What a worker does for each of its queues; one without queues may serve them all."""
    has_slots = (worker["steps"]["target"] > 0, worker["runs"]["target"] > 0)
    return {(worker["state"], *has_slots, queue) for queue in worker["queues"] or [""]}
