"""The registry of workers in Dagster's key-value store, and whether a step's owner still lives.

Each worker writes ``dagster-taskiq/worker/<id>``; an index key lists the ids. Unsure means alive:
to declare a living worker lost would run its step twice.
"""

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from dagster import DagsterInstance

WORKER = "dagster-taskiq/worker/"
INDEX = "dagster-taskiq/workers"
STALE_AFTER = 20.0
"""Seconds: four heartbeats missed."""

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
