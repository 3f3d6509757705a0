"""Following a run's event log."""

import os
import time
from collections.abc import Sequence

from dagster import DagsterEventType, DagsterInstance, EventLogRecord
from dagster._core.event_api import EventLogCursor

#: Waiting time between two looks at the log, in seconds.
MIN_WAIT = 0.05
MAX_WAIT = 1.0
#: How often the stretch before the cursor is read again where ids can become visible late.
_LATE_SWEEP_SECONDS = 1.0


class LogTail:
    """Reads a run's Dagster events in the order of their ids, each once.

    On Postgres an event with a lower id can become visible after one with a higher id. There the
    stretch before the cursor, as long as the storage advises, is read again once a second; reading
    it at each look, as Dagster's own executor does, costs too much at a short interval.
    """

    def __init__(self, instance: DagsterInstance, run_id: str):
        self._instance = instance
        self._run_id = run_id
        self._limit = int(os.environ.get("DAGSTER_EXECUTOR_POP_EVENTS_LIMIT", "1000"))
        advised = instance.event_log_storage.default_run_scoped_event_tailer_offset()
        self._offset = int(os.environ.get("DAGSTER_EXECUTOR_POP_EVENTS_OFFSET", advised))
        self._head = 0
        self._seen: set[int] = set()
        self._swept_at = time.monotonic()
        self._active_at = time.monotonic()

    def read_to_end(self) -> list[EventLogRecord]:
        """Everything that is new, however many pages it takes."""
        found: list[EventLogRecord] = []
        if self._offset and time.monotonic() - self._swept_at >= _LATE_SWEEP_SECONDS:
            self._swept_at = time.monotonic()
            found.extend(self._pages(max(0, self._head - self._offset)))
        else:
            found.extend(self._pages(self._head))
        if found:
            self._active_at = time.monotonic()
        return found

    def touch(self) -> None:
        """Something was sent: look often again."""
        self._active_at = time.monotonic()

    def wait_seconds(self) -> float:
        """How long to wait before the next look: a tenth of the quiet time, within limits."""
        quiet = time.monotonic() - self._active_at
        return min(MAX_WAIT, max(MIN_WAIT, quiet / 10))

    def _pages(self, after: int) -> list[EventLogRecord]:
        found: list[EventLogRecord] = []
        while True:
            records = self._page(after)
            found.extend(record for record in records if record.storage_id not in self._seen)
            if records:
                after = max(record.storage_id for record in records)
                self._remember(records, after)
            if len(records) < self._limit:
                return found

    def _page(self, after: int) -> Sequence[EventLogRecord]:
        cursor = EventLogCursor.from_storage_id(after).to_string()
        return self._instance.get_records_for_run(
            self._run_id, cursor, of_type=set(DagsterEventType), limit=self._limit
        ).records

    def _remember(self, records: Sequence[EventLogRecord], last: int) -> None:
        self._head = max(self._head, last)
        if self._offset:
            self._seen.update(record.storage_id for record in records)
            if len(self._seen) > 4 * self._offset + 4 * self._limit:
                self._seen = {i for i in self._seen if i > self._head - self._offset}
