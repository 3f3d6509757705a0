"""One step's entries of a run's event log, by one query on the log's index of step keys.

Dagster's own interface reads whole runs: in a run of thousands of steps each retried one would cost
a read of tens of thousands of events. ``test_contract`` checks the assumptions about the tables; it
is not used with ``DAGSTER_TASKIQ_PLAIN_DAGSTER=1`` or with storages other than SQL.
"""

import os
from collections.abc import Collection
from typing import Any

from dagster import DagsterEventType, DagsterInstance
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._serdes import deserialize_value

from .connections import PLAIN
from .instances import event_storage


def entries(
    instance: DagsterInstance,
    run_id: str,
    step_key: str,
    of_type: Collection[DagsterEventType] | None,
) -> list[EventLogEntry] | None:
    """Returns the entries of these types (None: all of Dagster's events), oldest first; None if the
    storage cannot be queried that way.
    """
    storage = _storage(instance)
    if storage is None:
        return None
    import sqlalchemy

    table = SqlEventLogStorageTable.c
    query = (
        sqlalchemy.select(table.event)
        .where(table.run_id == run_id)
        .where(table.step_key == step_key)
        .order_by(table.id)
    )
    if of_type is None:
        query = query.where(table.dagster_event_type.is_not(None))
    else:
        names = sorted(kind.value for kind in of_type)
        query = query.where(table.dagster_event_type.in_(names))
    with storage.run_connection(run_id) as connection:
        texts = connection.execute(query).scalars().all()
    return [deserialize_value(text, EventLogEntry) for text in texts]


def _storage(instance: DagsterInstance) -> Any:
    if os.environ.get(PLAIN):
        return None
    storage = event_storage(instance)
    return storage if isinstance(storage, SqlEventLogStorage) else None
