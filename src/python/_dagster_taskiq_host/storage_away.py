"""Waits while Dagster's storage does not answer: a restart, a failover, too many connections.

Such an outage is not a failure of a run or step. :func:`be_patient` wraps the storages of an
instance once, for Dagster's own calls and for ours. Only processes that run a step or a run wait.
The others (instance agent, step host) have many things to do and answer with the error.
"""

import functools
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import sqlalchemy.exc
from dagster import DagsterInstance
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.event_log.sqlite import SqliteEventLogStorage
from dagster._serdes import serialize_value
from dagster._utils.interrupts import check_captured_interrupt

from .redaction import redact

T = TypeVar("T")

VARIABLE = "DAGSTER_TASKIQ_STORAGE_PATIENCE"
"""Environment variable: seconds to wait for a storage that does not answer."""

DEFAULT_LIMIT = 600.0
"""Its default. Failovers take up to two minutes, and waiting costs next to nothing."""

CONNECT = 10
"""Seconds within which a server must have answered a new connection."""

LONGEST_PAUSE = 3.0
"""Maximum seconds between two tries; the first pause is a tenth of that."""

SKEW = 600.0
"""Seconds by which the clocks of hosts that write into one run's log may differ."""

_WRAPPERS = frozenset({"DagsterPostgresException", "DagsterMySQLException"})
"""Exceptions of Dagster after its own tries to connect failed."""

_DATABASE_ERRORS = frozenset(
    {
        "ConnectionTimeoutError",
        "InterfaceError",
        "OperationalError",
        "PoolError",
        "ReadTimeoutError",
        "WriteTimeoutError",
    }
)
"""Exceptions of Python's database drivers: the connection, the server, its resources. Timeouts of
MySQL's driver have their own names.
"""

_MYSQL_PASSING = frozenset(
    {1040, 1045, 1053, 1152, 1203, 1226, 1290, 1836, 2002, 2003, 2006, 2013, 2055, 4031}
)
"""Transient error numbers of MySQL, some of which its driver classifies as mistakes of the
statement: too many connections, refused credentials, shutting down, read-only, not there, gone.
"""

_POSTGRES_PASSING = frozenset({"25006"})
"""Transient error codes of PostgreSQL: read-only, as the former primary is after a failover."""

_READS = ("get_", "has_", "fetch_", "can_", "all_", "check_concurrency_claim")
"""Name prefixes of storage methods that only read."""

_WRITES = frozenset(
    {
        "add_execution_plan_snapshot",
        "add_job_snapshot",
        "add_run_tags",
        "claim_concurrency_slot",
        "free_concurrency_slot_for_step",
        "free_concurrency_slots_for_run",
        "handle_run_event",
        "initialize_concurrency_limit_to_default",
        "set_cursor_values",
        "update_asset_cached_status_data",
    }
)
"""Idempotent methods that write."""

_WRAPPED = "_dagster_taskiq_is_patient"


class StorageGaveUp(Exception):
    """The storage did not answer within the patience; the text contains the reason."""


class _Process:
    """State of this process."""

    limit: float | None = None
    gave_up: str | None = None


def be_patient(instance: DagsterInstance) -> None:
    """Makes this process wait for the instance's storage from now on."""
    _Process.limit = _seconds()
    _Process.gave_up = None
    wrap(instance)


def wrap(instance: DagsterInstance) -> None:
    """Wraps the storages of an instance; nothing is waited for before ``be_patient``."""
    for storage in (instance.run_storage, instance.event_log_storage):
        if _WRAPPED in vars(storage):
            continue
        setattr(storage, _WRAPPED, True)
        for name in dir(type(storage)):
            is_safe = name in _WRITES or name.startswith(_READS)
            if is_safe and callable(getattr(type(storage), name, None)):
                _wrap(storage, name)
        if hasattr(storage, "store_event"):
            _wrap_store(storage)


def gave_up() -> str | None:
    """Returns why this process has stopped waiting; None if it has not.

    After that it no longer accesses the storage: Dagster would write that the run failed, and only
    the storage has.
    """
    return _Process.gave_up


def give_up(why: BaseException) -> None:
    """Makes every later call of this process fail at once."""
    if _Process.gave_up is None:
        _Process.gave_up = _line(why)


def patiently(call: Callable[[], T], again: Callable[[], T] | None = None) -> T:
    """Makes a call; while the storage does not answer, waits and repeats it.

    ``again`` is called from the second time on, if a call whose answer was lost may have taken
    effect and must not simply be repeated.

    Raises:
        StorageGaveUp: it was waited for long enough.
        DagsterExecutionInterruptedError: this process was interrupted meanwhile.

    """
    tries = 0
    began = time.monotonic()
    while True:
        if _Process.gave_up is not None:
            raise StorageGaveUp(_Process.gave_up)
        try:
            return call()
        except Exception as error:
            if _Process.limit is None or not is_away(error):
                raise
            if time.monotonic() - began > _Process.limit:
                give_up(error)
                raise StorageGaveUp(_line(error)) from error
            tries += 1
            _pause(tries, error)
        call = again or call


def is_away(error: BaseException) -> bool:
    """Returns whether an exception means that the storage does not answer, now or as it should.

    The first error of a database in its chain of causes decides. Refused statements (a violated
    constraint, a missing table) do not count.
    """
    for link in _chain(error):
        if isinstance(link, StorageGaveUp):
            return False
        verdict = _verdict(link)
        if verdict is not None:
            return verdict
    return False


def innermost(error: BaseException) -> BaseException:
    """Returns the exception at the end of the chain of causes."""
    *_, last = _chain(error)
    return last


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _verdict(error: BaseException) -> bool | None:
    """Returns the verdict on one exception of a chain; None if it is not an error of a database."""
    names = {cls.__name__ for cls in type(error).__mro__}
    if names & _WRAPPERS or isinstance(error, sqlalchemy.exc.TimeoutError):
        return True
    if isinstance(error, sqlalchemy.exc.DBAPIError):
        return bool(error.connection_invalidated) or bool(error.orig and _verdict(error.orig))
    if not names & (_DATABASE_ERRORS | {"DatabaseError"}):
        return None
    module = type(error).__module__
    if module.startswith("sqlite3"):
        text = str(error)
        return any(word in text for word in ("locked", "busy", "database or disk is full"))
    code = getattr(error, "errno", None)
    if code in _MYSQL_PASSING or getattr(error, "pgcode", None) in _POSTGRES_PASSING:
        return True
    return bool(names & _DATABASE_ERRORS)


def _pause(tries: int, error: BaseException) -> None:
    if tries == 1:
        text = f"Dagster's storage does not answer, it is waited for: {_line(error)}"
        print(text, file=sys.stderr, flush=True)
    longest = LONGEST_PAUSE * min(1.0, 0.1 * 2 ** min(tries - 1, 10))
    until = time.monotonic() + longest * (1 - 0.5 * random.random())
    # Where Dagster captures interrupts, nothing ends a sleep early.
    while (left := until - time.monotonic()) > 0:
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and check_captured_interrupt():
            raise DagsterExecutionInterruptedError() from error
        time.sleep(min(left, 0.2))


def _line(error: BaseException) -> str:
    return redact(f"{type(error).__name__}: {' '.join(str(error).split())}")[:500]


def _seconds() -> float:
    try:
        return float(os.environ[VARIABLE])
    except (KeyError, ValueError):
        return DEFAULT_LIMIT


def _wrap(storage: Any, name: str) -> None:
    method = getattr(storage, name)

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        return patiently(lambda: method(*args, **kwargs))

    setattr(storage, name, call)


def _wrap_store(storage: Any) -> None:
    """Wraps events: one whose answer was lost is looked for before it is written again.

    A second end of an attempt breaks a run, so no event of any kind is ever written twice.
    """
    store = storage.store_event
    store_batch = storage.store_event_batch

    def store_event(event: EventLogEntry) -> None:
        def again() -> None:
            if not _is_stored(storage, event):
                store(event)

        patiently(lambda: store(event), again)

    def store_event_batch(events: Any) -> None:
        def one_by_one() -> None:
            for event in events:
                if not _is_stored(storage, event):
                    store(event)

        patiently(lambda: store_batch(events), one_by_one)

    storage.store_event = store_event
    storage.store_event_batch = store_event_batch


def _is_stored(storage: Any, event: EventLogEntry) -> bool:
    """Returns whether an event is in its run's log; then Dagster's accompanying data is written
    too.
    """
    cursor = None
    kind = {event.dagster_event_type} if event.dagster_event_type else None
    while True:
        page = storage.get_records_for_run(
            event.run_id, cursor, of_type=kind, limit=200, ascending=False
        )
        for record in page.records:
            if record.timestamp == event.timestamp and serialize_value(
                record.event_log_entry
            ) == serialize_value(event):
                return _complete(storage, event, record.storage_id)
        oldest = page.records[-1].timestamp if page.records else 0.0
        if not page.has_more or oldest < event.timestamp - SKEW:
            return False
        cursor = page.cursor


def _complete(storage: Any, event: EventLogEntry, storage_id: int) -> bool:
    """Writes the index of assets and checks for a stored event, which is idempotent.

    SQLite keeps it in a separate file, with a copy of the event. There the event is written again
    (false), because a materialization that is reported twice does less harm than a missing one.
    """
    inner = getattr(storage, "_storage", None)
    inner = storage if inner is None else inner.event_log_storage
    kind = event.dagster_event_type
    if kind not in ASSET_EVENTS and kind not in ASSET_CHECK_EVENTS:
        return True
    if isinstance(inner, SqliteEventLogStorage) or not isinstance(inner, SqlEventLogStorage):
        return False
    if kind in ASSET_EVENTS and event.get_dagster_event().asset_key:
        inner.store_asset_event_tags([event], [storage_id])
        inner.store_asset_event(event, storage_id)
    if kind in ASSET_CHECK_EVENTS:
        inner.store_asset_check_event(event, storage_id)
    return True
