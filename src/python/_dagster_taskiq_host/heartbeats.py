"""The registry of workers in Dagster's key-value store, and the liveness of a step's owner.

Each worker writes ``dagster-taskiq/worker/<id>/<incarnation>``. An index lists them, in ``SHARDS``
parts: a worker reads and writes the part of its own id alone, so that a heartbeat costs hardly more
in a large fleet. An incarnation is one life of one worker process: a container's worker has the
same id and the process id 1 in each of its lives, and two workers may have been given one name. In
doubt a worker counts as alive: declaring a living one lost would run its step twice.
"""

import json
import os
import socket
import time
import zlib
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from dagster import DagsterInstance
from dagster._core.storage.runs.schema import KeyValueStoreTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage

from . import paused_queues

WORKER = "dagster-taskiq/worker/"
INDEX = "dagster-taskiq/workers"
SHARDS = 64
"""Number of parts of the index: a fleet of a thousand has sixteen workers in each."""

STALE_AFTER = 20.0
"""Age of a stale heartbeat in seconds: four missed."""

ALIVE = 30.0
"""Seconds for which a report is valid if nothing is decided by it alone."""

STOPPED = "stopped"
"""State in a worker's last report before it ends."""

STATES = frozenset({"starting", "running", "paused", "draining", "stopping", STOPPED})
"""Known states of a worker's pool."""

FORGET_AFTER = 24 * 3600.0
FORGET_FORMER_AFTER = 3600.0
"""Seconds of silence after which another incarnation under a worker's own id is forgotten."""

INDEX_EVERY = 60.0
"""Seconds between two checks of a worker for entries to forget."""

UNKNOWN_OWNER_AFTER = 3600.0
"""Seconds without an event after which a step whose owner never announced itself counts as lost."""


_written: dict[str, tuple[float, float]] = {}
"""Time of a worker's last heartbeat from this process, and start of the period without a gap."""


def shard_of(worker_id: str) -> str:
    """Returns the key of the part of the index that lists a worker."""
    return f"{INDEX}/{zlib.crc32(worker_id.encode()) % SHARDS}"


def name_of(worker_id: str, incarnation: str | None) -> str:
    """Returns the key of a worker's heartbeat; older workers have no incarnation."""
    return f"{worker_id}/{incarnation}" if incarnation else worker_id


def beat(instance: DagsterInstance, worker_id: str, body: dict[str, Any]) -> paused_queues.Paused:
    """Writes one heartbeat, with this host's own name, ``time``, and ``since``, the start of the
    period without a gap (both Unix seconds). Returns the queues that are paused.
    """
    storage = instance.run_storage
    incarnation = body.get("incarnation")
    name = name_of(worker_id, incarnation)
    now = time.time()
    if name not in _written:
        # Another process of this worker may have written the last one.
        last = _heartbeat(instance, worker_id, incarnation)
        _written[name] = (time_of(last), time_of(last, "since") or now)
    written, since = _written[name]
    since = since if now - written <= STALE_AFTER else now
    body = {**body, "host": socket.gethostname(), "id": worker_id, "time": now, "since": since}
    # Separate calls: SQLite drops a new key that is written beside an existing one.
    storage.set_cursor_values({WORKER + name: json.dumps(body)})
    _written[name] = (now, since)
    shard = shard_of(worker_id)
    # One query for both, since there is one every few seconds.
    values = storage.get_cursor_values({shard, paused_queues.KEY})
    index, paused = _load(values.get(shard)), paused_queues.load(values.get(paused_queues.KEY))
    if name in index and now - index[name] <= INDEX_EVERY:
        return paused
    # This part of the index is shared. It is written only when it changes, so that workers seldom
    # overwrite each other, and read at each heartbeat, so that an entry lost that way returns.
    dead = {other for other, seen in index.items() if now - seen >= FORGET_AFTER}
    dead |= _former(instance, worker_id, index.keys() - {name}, now)
    fresh = {other: seen for other, seen in index.items() if other not in dead}
    storage.set_cursor_values({shard: json.dumps({**fresh, name: now})})
    _delete(instance, dead - {name})
    return paused


def _former(
    instance: DagsterInstance, worker_id: str, names: AbstractSet[str], now: float
) -> set[str]:
    """Returns those of the names that are earlier incarnations of a worker, long silent."""
    own = {name for name in names if name == worker_id or name.startswith(f"{worker_id}/")}
    beats = _heartbeats(instance, own)
    return {n for n in own if now - time_of(beats.get(n, {})) > FORGET_FORMER_AFTER}


def _delete(instance: DagsterInstance, names: set[str]) -> None:
    """Deletes heartbeats if Dagster's storage allows it: it has no call for it."""
    storage = instance.run_storage
    composite = getattr(storage, "_storage", None)
    storage = storage if composite is None else composite.run_storage
    if not names or not isinstance(storage, SqlRunStorage):
        return
    keys = [WORKER + name for name in names]
    with storage.connect() as connection:
        statement = KeyValueStoreTable.delete().where(KeyValueStoreTable.c.key.in_(keys))
        connection.execute(statement)


def _index(instance: DagsterInstance) -> set[str]:
    """Returns the names of all workers."""
    keys = {f"{INDEX}/{shard}" for shard in range(SHARDS)}
    parts = instance.run_storage.get_cursor_values(keys)
    return {name for text in parts.values() for name in _load(text)}


def _heartbeats(instance: DagsterInstance, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    keys = {WORKER + name for name in names}
    found = instance.run_storage.get_cursor_values(keys) if keys else {}
    return {key.removeprefix(WORKER): _load(text) for key, text in found.items()}


def time_of(body: dict[str, Any], key: str = "time") -> float:
    """When a report was written, in Unix seconds; 0 where it does not say."""
    try:
        return float(body.get(key, 0.0))
    except (TypeError, ValueError):
        return 0.0


def fleet(instance: DagsterInstance) -> list[dict[str, Any]]:
    """Returns the last report of each worker in the index, by id, in the worker binary's form.

    Workers that ended in good order (``stopped``) are left out, and silent ones whose id has been
    taken over.
    """
    workers = [_worker_of(body["id"], body) for body in reports(instance)]
    return [worker for worker in workers if worker is not None]


def reports(instance: DagsterInstance) -> list[dict[str, Any]]:
    """The same as the workers wrote them, each with its ``id``."""
    beats = _heartbeats(instance, _index(instance))
    newest: dict[str, float] = {}
    for name, body in beats.items():
        worker_id = _id_of(name, body)
        newest[worker_id] = max(newest.get(worker_id, 0.0), time_of(body))
    now = time.time()
    return [
        {**body, "id": _id_of(name, body)}
        for name, body in sorted(beats.items())
        if body.get("state") != STOPPED
        and time_of(body) >= min(newest[_id_of(name, body)], now - STALE_AFTER)
    ]


def report_of(instance: DagsterInstance, owner: dict[str, str]) -> dict[str, Any]:
    """The last report of the worker of a process that announced itself; empty without one."""
    return _heartbeat(instance, owner["id"], owner.get("incarnation"))


def listed_runs(instance: DagsterInstance) -> set[str]:
    """Returns the runs in the reports of live workers; none if the storage has no reports."""
    return {
        str(flight.get("run_id"))
        for body in _heartbeats(instance, _index(instance)).values()
        if body.get("state") != STOPPED and time.time() - time_of(body) < ALIVE
        for flight in body.get("in_flight", ())
        if isinstance(flight, dict) and flight.get("step_key") is None
    }


def _id_of(name: str, body: dict[str, Any]) -> str:
    return str(body.get("id", name))


def _worker_of(name: str, body: dict[str, Any]) -> dict[str, Any] | None:
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
            "steps": {
                "target": int(slots.get("steps", 0)),
                "busy": flights.count(True),
                "range": _range_of(slots.get("range")),
            },
            "runs": {"target": int(slots.get("runs", 0)), "busy": flights.count(False)},
            "queues": [str(queue) for queue in body.get("queues", ())],
            "heartbeat_at": reported.isoformat(),
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        return None  # written by something else, or by a version to come


def _range_of(value: Any) -> dict[str, int] | None:
    """The bounds of slots that follow the load."""
    return None if value is None else {"min": int(value["min"]), "max": int(value["max"])}


def _load(text: str | None) -> dict[str, Any]:
    try:
        value = json.loads(text) if text else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def process_started(pid: int) -> str | None:
    """Returns the start of a process of this host, in clock ticks since boot; None if it does not
    exist.
    """
    try:
        stat = Path("/proc", str(pid), "stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]


def owner_is_gone(
    instance: DagsterInstance,
    owner: dict[str, str] | None,
    seen: float,
    observer: dict[str, str],
) -> bool:
    """Returns whether the announced owner of an attempt has certainly ended.

    ``seen`` is the time of the attempt's newest event, in Unix seconds; ``observer`` is the
    checking worker.
    """
    if owner is None:
        return time.time() - seen > UNKNOWN_OWNER_AFTER
    if "released" in owner or is_here(owner):
        return has_left(owner)
    incarnation = owner.get("incarnation")
    heartbeat = _heartbeat(instance, owner["id"], incarnation)
    if incarnation:
        return (
            heartbeat.get("state") == STOPPED
            or _silence(instance, heartbeat, seen, observer) > STALE_AFTER
        )
    if _silence(instance, heartbeat, 0.0, observer) > STALE_AFTER:
        return True
    # An older worker that was restarted under the same name writes its heartbeat to the old one's
    # key.
    worker_pid = owner.get("worker_pid")
    return worker_pid is not None and str(heartbeat.get("pid", worker_pid)) != worker_pid


def has_left(owner: dict[str, str]) -> bool:
    """Returns whether its worker has recorded its end, or this host has no such process."""
    return "released" in owner or (is_here(owner) and not _is_running(owner))


def silence(
    instance: DagsterInstance,
    owner: dict[str, str],
    seen: float,
    observer: dict[str, str] | None = None,
) -> float:
    """Returns the seconds of silence of a process's worker; 0 if it is on this host.

    ``seen`` and ``observer`` as for ``owner_is_gone``. Without an observer, which may have run for
    a shorter time, it is only a first guess.
    """
    if is_here(owner):
        return 0.0
    heartbeat = _heartbeat(instance, owner["id"], owner.get("incarnation"))
    return _silence(instance, heartbeat, seen, observer)


def _silence(
    instance: DagsterInstance,
    heartbeat: dict[str, Any],
    seen: float,
    observer: dict[str, str] | None,
) -> float:
    """Counts only the time in which the observer's own heartbeats arrived.

    After an outage of the storage all heartbeats are as old as the outage.
    """
    # The first heartbeat may not be written yet when the first step is announced.
    silence = time.time() - (time_of(heartbeat) if heartbeat else seen)
    if observer is None or silence <= STALE_AFTER:
        return silence
    own = _heartbeat(instance, observer["id"], observer.get("incarnation"))
    if time.time() - time_of(own) > STALE_AFTER:
        return 0.0
    return min(silence, time.time() - time_of(own, "since"))


def _heartbeat(
    instance: DagsterInstance, worker_id: str, incarnation: str | None
) -> dict[str, Any]:
    name = name_of(worker_id, incarnation)
    return _heartbeats(instance, {name}).get(name, {})


def is_here(owner: dict[str, str]) -> bool:
    """Returns whether this process can check an announced process.

    Without a usable ``/proc`` nothing can be checked.
    """
    boot = boot_id()
    return (
        bool(boot and owner.get("started"))
        and owner["host"] == socket.gethostname()
        and owner.get("boot") == boot
    )


def _is_running(owner: dict[str, str]) -> bool:
    pid = int(owner["pid"])
    started = process_started(pid)
    if started is None and not Path("/proc", owner["pid"]).exists():
        # Another user's process may be hidden (``hidepid``), but not from a signal.
        try:
            os.kill(pid, 0)
        except PermissionError:
            return True
        except OSError:
            return False
    return started == owner["started"]


def this_process() -> dict[str, str]:
    """Returns the identity of the calling process, as part of an announcement."""
    pid = os.getpid()
    return {
        "host": socket.gethostname(),
        "pid": str(pid),
        "started": process_started(pid) or "",
        "boot": boot_id(),
    }


def is_this_process(owner: dict[str, str]) -> bool:
    """Returns whether an announcement was made by the calling process."""
    return this_process().items() <= owner.items()


def boot_id() -> str:
    """Identifies this boot and process-id namespace: a container has its own pids."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""
