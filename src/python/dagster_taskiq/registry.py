"""The fleet's workers, as they report themselves in Dagster's key-value store.

Each worker writes ``dagster-taskiq/worker/<id>/<incarnation>`` every 5 seconds, a JSON object::

    {"id": "etl-1",                 its name; a worker restarted under the same name keeps it
     "incarnation": "5f0c...",      of this process alone, even if others have the same name
     "time": 1764000000.1,          of this report, Unix seconds by the worker's clock
     "host": "ip-10-0-0-7",         the host's own name
     "pid": 4711,                   of the worker process
     "version": "0.1.0",            of the binary
     "state": "running",            or paused, draining, stopped, ...
     "slots": {"steps": 8, "runs": 4},
     "queues": ["dagster-tasks"],   names of the queues it receives from
     "in_flight": [                 its current work
       {"task_id": "...", "run_id": "...", "step_key": "load" or null for a whole run,
        "receive_count": 1}]}

``dagster-taskiq/workers/<n>`` are the parts of the index; ``n`` is the CRC-32 of the id, modulo 64.
Each is an object of ``<id>/<incarnation>``, with the time it was last put there (at most once a
minute; 24 h later it is dropped, and an hour after its last report if another process has the
name). Older workers have no incarnation. This module only reads.

Every run in progress looks at the workers. If each read all reports, the rows read would grow with
runs times workers, so :func:`some_workers` and :func:`workers_named` read only what is needed.
"""

import json
import random
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from dagster import DagsterInstance

INDEX_KEY = "dagster-taskiq/workers"
SHARDS = 64
#: Parts of the index, and reports, that :func:`some_workers` reads first.
_A_FEW = 8
WORKER_KEY_PREFIX = "dagster-taskiq/worker/"
#: Age in seconds of the last report beyond which a worker may be gone.
ALIVE_SECONDS = 30.0
#: State of a worker that ended in good order.
STOPPED = "stopped"


@dataclass(frozen=True)
class Worker:
    """One worker's last report.

    Attributes:
        reported_at: seconds since the epoch, by the worker's clock.
        state: one word, empty if it is not reported.
        queues: names of the queues it serves; empty if they are not reported.
        incarnation: of its process; empty if it is not reported.
        in_flight: run id and step key (None for a whole run) of each current task.

    """

    id: str
    reported_at: float
    incarnation: str = ""
    host: str = ""
    pid: int | None = None
    version: str = ""
    state: str = ""
    queues: frozenset[str] = frozenset()
    in_flight: tuple[tuple[str, str | None], ...] = ()

    @property
    def name(self) -> str:
        """Name of its report."""
        return f"{self.id}/{self.incarnation}" if self.incarnation else self.id

    @property
    def age(self) -> float:
        """Seconds since the last report."""
        return time.time() - self.reported_at

    @property
    def is_alive(self) -> bool:
        """Whether it has reported lately, and has not reported its end."""
        return self.state != STOPPED and self.age <= ALIVE_SECONDS

    def holds(self, run_id: str, step_key: str | None) -> bool:
        """Whether it has reported that it works on this step (or, with None, on this run)."""
        return (run_id, step_key) in self.in_flight


def workers(instance: DagsterInstance) -> list[Worker]:
    """All workers that have reported; none if the storage has no key-value store."""
    return workers_named(instance, _names(instance, range(SHARDS)))


def some_workers(instance: DagsterInstance) -> Iterator[Worker]:
    """The same, in no particular order, for a search that may soon end: first a few, then twice as
    many with each query.
    """
    shards = random.sample(range(SHARDS), SHARDS)
    count = _A_FEW
    while shards:
        names = list(_names(instance, shards[:count]))
        del shards[:count]
        random.shuffle(names)
        while names:
            yield from workers_named(instance, names[:count])
            del names[:count]
            count *= 2
        count *= 2


def workers_named(instance: DagsterInstance, names: Collection[str]) -> list[Worker]:
    """Those that have reported of these workers, each named ``<id>/<incarnation>``."""
    keys = {WORKER_KEY_PREFIX + name for name in names}
    found = _values(instance, keys)
    parsed = (_parse(key.removeprefix(WORKER_KEY_PREFIX), text) for key, text in found.items())
    return [worker for worker in parsed if worker is not None]


def _values(instance: DagsterInstance, keys: set[str]) -> dict[str, str]:
    if not keys:
        return {}
    try:
        return dict(instance.run_storage.get_cursor_values(keys))
    except NotImplementedError:
        return {}


def _names(instance: DagsterInstance, shards: Iterable[int]) -> set[str]:
    """Names of the workers in these parts of the index."""
    parts = _values(instance, {f"{INDEX_KEY}/{shard}" for shard in shards})
    return {name for text in parts.values() for name in _listed(text)}


def _listed(text: str) -> Iterable[str]:
    try:
        value = json.loads(text)
    except ValueError:
        return []
    return [str(item) for item in value] if isinstance(value, (list, dict)) else []


def _parse(name: str, text: str) -> Worker | None:
    try:
        value = json.loads(text)
        reported_at = float(value["time"])
    except (KeyError, TypeError, ValueError):
        return None
    in_flight = value.get("in_flight")
    pid = value.get("pid")
    return Worker(
        id=str(value.get("id", name)),
        reported_at=reported_at,
        incarnation=str(value.get("incarnation", "")),
        host=str(value.get("host", "")),
        pid=pid if isinstance(pid, int) else None,
        version=str(value.get("version", "")),
        state=str(value.get("state", "")),
        queues=frozenset(str(name) for name in value.get("queues") or ()),
        in_flight=tuple(_tasks(in_flight)) if isinstance(in_flight, list) else (),
    )


def _tasks(items: list[Any]) -> Iterable[tuple[str, str | None]]:
    for item in items:
        if isinstance(item, dict) and item.get("run_id"):
            yield str(item["run_id"]), (str(item["step_key"]) if item.get("step_key") else None)
        elif isinstance(item, (list, tuple)) and item:
            yield str(item[0]), (str(item[1]) if len(item) > 1 and item[1] else None)
