"""The registry of workers in Dagster's key-value store, and whether a step's owner still lives.

Each worker writes ``dagster-taskiq/worker/<id>``; an index key lists the ids. Unsure means alive:
to declare a living worker lost would run its step twice.
"""

import json
import os
import socket
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from dagster import DagsterInstance

WORKER = "dagster-taskiq/worker/"
INDEX = "dagster-taskiq/workers"
STALE_AFTER = 20.0
"""Seconds: four heartbeats missed."""

STOPPED = "stopped"
"""What a worker says of itself last."""

STATES = frozenset({"starting", "running", "paused", "draining", "stopping", STOPPED})
"""The words a worker has for what its pool does."""

FORGET_AFTER = 24 * 3600.0
UNKNOWN_OWNER_AFTER = 3600.0
"""Seconds without an event after which a step whose owner never announced itself counts as lost."""


def beat(instance: DagsterInstance, worker_id: str, body: dict[str, Any]) -> None:
    """Writes one heartbeat, with ``time`` (Unix seconds) and this host's own name."""
    storage = instance.run_storage
    key = WORKER + worker_id
    now = time.time()
    body = {**body, "host": socket.gethostname()}
    # Calls of their own: SQLite drops a new key that is written beside an existing one.
    storage.set_cursor_values({key: json.dumps({**body, "id": worker_id, "time": now})})
    index = _load(storage.get_cursor_values({INDEX}).get(INDEX))
    fresh = {name: seen for name, seen in index.items() if now - seen < FORGET_AFTER}
    if index.keys() != fresh.keys() | {worker_id} or now - fresh.get(worker_id, 0.0) > 60.0:
        # The index is shared; written only when it changes, so that workers seldom overwrite
        # each other, and read again at each heartbeat, so that an entry lost that way returns.
        storage.set_cursor_values({INDEX: json.dumps({**fresh, worker_id: now})})


def fleet(instance: DagsterInstance) -> list[dict[str, Any]]:
    """The last report of each worker in the index, by id, in the form the worker binary reads.

    A worker that ended in good order said so (``stopped``) and is left out.
    """
    storage = instance.run_storage
    index = _load(storage.get_cursor_values({INDEX}).get(INDEX))
    keys = {WORKER + name for name in index}
    found = storage.get_cursor_values(keys) if keys else {}
    told = [_told(key.removeprefix(WORKER), _load(text)) for key, text in sorted(found.items())]
    return [worker for worker in told if worker is not None and worker["state"] != STOPPED]


def _told(name: str, body: dict[str, Any]) -> dict[str, Any] | None:
    try:
        reported = datetime.fromtimestamp(float(body["time"]), timezone.utc)
        flights = [flight["step_key"] is not None for flight in body.get("in_flight", ())]
        slots = body.get("slots", {})
        state, pid = body.get("state"), body.get("pid")
        return {
            "id": name,
            "hostname": str(body.get("host", "")),
            "pid": pid if isinstance(pid, int) else None,
            "version": str(body.get("version", "")),
            "state": state if state in STATES else None,
            "steps": {"target": int(slots.get("steps", 0)), "busy": flights.count(True)},
            "runs": {"target": int(slots.get("runs", 0)), "busy": flights.count(False)},
            "queues": [str(queue) for queue in body.get("queues", ())],
            "heartbeat_at": reported.isoformat(),
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        return None  # written by something else, or by a version to come


def _load(text: str | None) -> dict[str, Any]:
    try:
        value = json.loads(text) if text else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def process_started(pid: int) -> str | None:
    """When a process of this host started, in clock ticks since boot; none if there is none."""
    try:
        stat = Path("/proc", str(pid), "stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]


def owner_is_gone(instance: DagsterInstance, owner: dict[str, str] | None, seen: float) -> bool:
    """Whether the process that announced itself for an attempt has certainly ended.

    ``seen`` is the time of the attempt's newest event, in Unix seconds.
    """
    if owner is None:
        return time.time() - seen > UNKNOWN_OWNER_AFTER
    if owner["host"] == socket.gethostname() and owner.get("boot") == boot_id():
        return process_started(int(owner["pid"])) != owner.get("started")
    key = WORKER + owner["id"]
    heartbeat = _load(instance.run_storage.get_cursor_values({key}).get(key))
    if time.time() - float(heartbeat.get("time", 0.0)) > STALE_AFTER:
        return True
    # A worker that was restarted under the same name beats under the old one's key.
    worker_pid = owner.get("worker_pid")
    return worker_pid is not None and str(heartbeat.get("pid", worker_pid)) != worker_pid


def boot_id() -> str:
    """Identifies this boot and process-id namespace: a container has pids of its own."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""
