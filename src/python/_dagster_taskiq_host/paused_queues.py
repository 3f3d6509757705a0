"""The queues that operators have paused for the whole deployment, in Dagster's key-value store.

Each worker reads them with its heartbeat, so that a pause outlives the workers that knew of it. A
queue's entry has who paused it (``by``), when (``at``, ISO 8601) and why (``reason``, or None).
"""

from datetime import datetime, timezone
from typing import Any

from dagster import DagsterInstance

from . import shared_value

KEY = "dagster-taskiq/paused-queues"

Paused = dict[str, dict[str, Any]]
"""The pauses by the queue's name."""


def read(instance: DagsterInstance) -> Paused:
    """Returns the paused queues."""
    return load(instance.run_storage.get_cursor_values({KEY}).get(KEY))


def load(text: str | None) -> Paused:
    """The paused queues in a stored text; entries of another form are left out."""
    entries = shared_value.load(text).items()
    return {name: entry for name, entry in entries if isinstance(entry, dict) and "at" in entry}


def pause(instance: DagsterInstance, queue: str, by: str, reason: str | None) -> Paused:
    """Pauses a queue; returns all that are paused. An earlier pause keeps its time."""
    with shared_value.changed(instance, KEY, "the list of paused queues") as paused:
        known = paused.get(queue)
        at = known.get("at") if isinstance(known, dict) else None
        at = at or datetime.now(timezone.utc).isoformat()
        paused[queue] = {"by": by, "at": at, "reason": reason}
    return read(instance)


def resume(instance: DagsterInstance, queue: str) -> Paused:
    """Ends a queue's pause; returns those that are paused still."""
    with shared_value.changed(instance, KEY, "the list of paused queues") as paused:
        paused.pop(queue, None)
    return read(instance)
