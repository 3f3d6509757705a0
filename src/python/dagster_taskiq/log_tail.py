"""Following a run's event log without missing an event."""

import os
import time
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from dagster import DagsterEventType, DagsterInstance, EventLogRecord
from dagster._core.event_api import EventLogCursor
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.event_log.sqlite import SqliteEventLogStorage

#: Seconds between two looks at the log.
MIN_WAIT = 0.05
MAX_WAIT = 1.0
#: Seconds for which an event with a lower id may become visible after one with a higher id: the
#: maximum wait for a commit.
WINDOW = 60.0
#: Seconds between searches of a quiet log for late events.
SWEEP = 1.0
#: Seconds for which a stretch is not read again after its count differed or was unknown, and it
#: held nothing new.
_PUZZLED = 10.0

_TYPES = set(DagsterEventType)


class Log(Protocol):
    """The source of a tail: the events of one run, each with its own id."""

    #: Whether ids become visible in order, so that no event can appear before the newest.
    is_ordered: bool

    def page(self, after: int, limit: int) -> Sequence[EventLogRecord]:
        """Up to ``limit`` events whose ids are above ``after``, in the order of their ids."""

    def count(self, after: int, until: int) -> int | None:
        """Number of events with ids above ``after`` and up to ``until``; None if unknown."""


class LogTail:
    """Reads a run's Dagster events, each once, and an event of one process after its earlier ones.

    A database assigns ids before the events become visible, so an event may appear before others
    that were already read. After each read, and every second, the events of the last minute are
    counted; if there are more than were seen, they are read again. A process writes its events one
    after the other, so when its last one is read, the earlier ones are counted.
    """

    def __init__(self, log: Log, clock: Callable[[], float] = time.monotonic):
        self._log = log
        self._clock = clock
        self._limit = int(os.environ.get("DAGSTER_EXECUTOR_POP_EVENTS_LIMIT", "1000"))
        self._head = 0
        #: Ids above ``_low``, in order: those that were read within the window.
        self._seen: list[int] = []
        self._low = 0
        self._heads: deque[tuple[float, int]] = deque()
        self._swept_at = clock()
        self._puzzled_until = 0.0
        self._active_at = clock()

    @classmethod
    def of(cls, instance: DagsterInstance, run_id: str) -> "LogTail":
        """The tail of a run."""
        return cls(RunLog(instance, run_id))

    def read_to_end(self) -> list[EventLogRecord]:
        """Return all new events, however many pages they take.

        An exception leaves the tail unchanged: the next call reads the same again.
        """
        found = self._pages(self._head)
        now = self._clock()
        if not self._log.is_ordered and (found or now - self._swept_at >= SWEEP):
            found = self._with_late_ones(found, now)
            self._swept_at = now
        self._commit(found, now)
        return found

    def touch(self) -> None:
        """Look often again: something was sent."""
        self._active_at = self._clock()

    def wait_seconds(self) -> float:
        """Seconds to wait before the next look: a tenth of the quiet time, within limits."""
        quiet = self._clock() - self._active_at
        return min(MAX_WAIT, max(MIN_WAIT, quiet / 10))

    def _pages(self, after: int) -> list[EventLogRecord]:
        found: list[EventLogRecord] = []
        while True:
            records = self._log.page(after, self._limit)
            found.extend(records)
            if len(records) < self._limit:
                return found
            after = records[-1].storage_id

    def _with_late_ones(self, found: list[EventLogRecord], now: float) -> list[EventLogRecord]:
        newest = found[-1].storage_id if found else self._head
        known = len(self._seen) + len(found)
        if self._log.count(self._low, newest) == known or now < self._puzzled_until:
            return found
        seen = set(self._seen)
        again = [record for record in self._pages(self._low) if record.storage_id not in seen]
        if len(again) == len(found):
            # Counted and read numbers differ, for any reason: not at each look.
            self._puzzled_until = now + _PUZZLED
        return again

    def _commit(self, found: list[EventLogRecord], now: float) -> None:
        if found:
            self._active_at = now
            self._head = max(self._head, found[-1].storage_id)
        if self._log.is_ordered:
            return
        for record in found:
            insort(self._seen, record.storage_id)
        if found:
            self._heads.append((now, self._head))
        while self._heads and now - self._heads[0][0] > WINDOW:
            self._low = self._heads.popleft()[1]
        del self._seen[: bisect_right(self._seen, self._low)]


class RunLog:
    """The log of a run in Dagster's storage."""

    def __init__(self, instance: DagsterInstance, run_id: str):
        self._instance = instance
        self._run_id = run_id
        storage = instance.event_log_storage
        inner = getattr(storage, "_storage", None)
        self._storage = storage if inner is None else inner.event_log_storage
        #: SQLite has one writer at a time.
        self.is_ordered = isinstance(self._storage, SqliteEventLogStorage)

    def page(self, after: int, limit: int) -> Sequence[EventLogRecord]:
        """As :meth:`Log.page`."""
        cursor = EventLogCursor.from_storage_id(after).to_string()
        return self._instance.get_records_for_run(
            self._run_id, cursor, of_type=_TYPES, limit=limit
        ).records

    def count(self, after: int, until: int) -> int | None:
        """As :meth:`Log.count`; storages other than SQL are read again every ten seconds."""
        if not isinstance(self._storage, SqlEventLogStorage):
            return None
        import sqlalchemy

        table = SqlEventLogStorageTable
        query = (
            sqlalchemy.select(sqlalchemy.func.count())
            .select_from(table)
            .where(table.c.run_id == self._run_id)
            .where(table.c.id > after)
            .where(table.c.id <= until)
            .where(table.c.dagster_event_type.is_not(None))
        )
        with self._storage.run_connection(self._run_id) as connection:
            return int(connection.execute(query).scalar_one())
