"""Stores events of a step that follow each other at once in one transaction.

A step without inputs writes nine events, each a transaction that waits for the disk or for the
server. Some are followed by the next without any user code between them. Those are held back until
the next one, and both are stored together: nothing waits for longer than Dagster itself takes to
get there. If the process dies in between, they are missing, as if it had died a moment earlier.

``DAGSTER_TASKIQ_PLAIN_DAGSTER=1`` stores each on its own.
"""

import inspect
import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from dagster import DagsterEventType, DagsterInstance
from dagster._core.definitions.decorators.op_decorator import DecoratedOpFunction
from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

from .connections import PLAIN
from .instances import event_storage

_HELD = frozenset(
    {
        DagsterEventType.STEP_WORKER_STARTED,
        DagsterEventType.RESOURCE_INIT_SUCCESS,
        DagsterEventType.LOGS_CAPTURED,
    }
)
"""Events that another of Dagster's own follows before any code of the step runs."""

_STORED_ALONE = (
    frozenset(kind for kind in DagsterEventType if kind.value.startswith(("PIPELINE_", "RUN_")))
    | ASSET_EVENTS
    | ASSET_CHECK_EVENTS
)
"""Events that storages keep in other tables too."""

Store = Callable[..., None]


class EventGroups:
    """Groups the events of the step that this process runs; those of a run are stored singly."""

    def __init__(self, instance: DagsterInstance, store: Store, *, is_step: bool) -> None:
        self._storage = instance.event_log_storage
        self._store = store
        self._is_active = is_step and _can_group(instance)
        self._held: deque[EventLogEntry] = deque()
        self._kinds: frozenset[DagsterEventType] = _HELD

    def step_runs(self, definition: Any) -> None:
        """Adjusts the groups to the step's op.

        After its outputs a function has returned, whereas a generator goes on. A plain function
        that returns a generator is not recognised: what it does after an output may delay the
        event about that output.
        """
        function = getattr(definition, "compute_fn", None)
        if not isinstance(function, DecoratedOpFunction):
            return
        body = inspect.unwrap(function.decorated_fn)
        if inspect.isfunction(body) and not (
            inspect.isgeneratorfunction(body) or inspect.isasyncgenfunction(body)
        ):
            self._kinds = _HELD | {DagsterEventType.HANDLED_OUTPUT}

    def store(self, event: EventLogEntry, *, batch_metadata: Any = None) -> None:
        """Stores an event and those that were held back before it, or holds it back.

        ``batch_metadata`` marks events that Dagster itself stores in batches.
        """
        kind = event.dagster_event.event_type if event.dagster_event else None
        if batch_metadata is not None or kind in _STORED_ALONE:
            self.flush()
            self._store(event, batch_metadata=batch_metadata)
            return
        self._held.append(event)
        if not self._is_active or kind not in self._kinds:
            self.flush()

    def flush(self) -> None:
        """Stores what is held back."""
        events = []
        # Threads of user code may store events as well.
        while self._held:
            events.append(self._held.popleft())
        if len(events) == 1:
            self._store(events[0])
        elif events:
            self._storage.store_event_batch(events)


def _can_group(instance: DagsterInstance) -> bool:
    return not os.environ.get(PLAIN) and isinstance(event_storage(instance), SqlEventLogStorage)


def install(instance: DagsterInstance) -> None:
    """Lets the storage write a batch of plain events by one statement.

    Dagster's own batches are for asset events of PostgreSQL alone.
    """
    inner = event_storage(instance)
    storage: Any = instance.event_log_storage
    if not _can_group(instance) or "store_event_batch" in vars(storage):
        return
    others = storage.store_event_batch

    def store_event_batch(events: Sequence[EventLogEntry]) -> None:
        kinds = {event.dagster_event.event_type for event in events if event.dagster_event}
        if kinds & _STORED_ALONE:
            others(events)
            return
        rows = [inner._event_to_row(event) for event in events]
        with inner.run_connection(events[0].run_id) as connection:
            connection.execute(SqlEventLogStorageTable.insert(), rows)

    storage.store_event_batch = store_event_batch
