"""Keeps a process's database connections open between two uses.

Dagster opens one for every event and every query, and closes it afterwards: on SQLite each of these
closes checkpoints the file, on Postgres and MySQL each is a new session. A process that runs a step
or a run keeps one for each database instead, and holds its claim on it (see ``claims``).
A process that forks others must not do so, because two processes cannot share a connection.

This replaces private attributes of Dagster's storages, which ``test_contract`` checks;
``DAGSTER_TASKIQ_PLAIN_DAGSTER=1`` leaves Dagster as it is.
"""

import contextlib
import functools
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy.event
from dagster import DagsterInstance
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from sqlalchemy.engine import Engine
from sqlalchemy.pool import NullPool, QueuePool
from sqlalchemy.util import queue

from . import storage_away

PLAIN = "DAGSTER_TASKIQ_PLAIN_DAGSTER"
"""Environment variable that disables every change to Dagster's internals for speed."""

_SQLITE_MODULES = (sqlite_event_log, sqlite_run_storage)
"""Modules whose storages create an engine for each use, by their global ``create_engine``."""

ANSWER = 60
"""Seconds of a server's silence before its connection is given up. Slow queries are not affected:
the server's kernel answers keepalives meanwhile.
"""

MOST = 8
"""Maximum number of open SQLite files: each run has one, and a process may run steps of many runs.
"""

CLAIM = "dagster_taskiq_claim"
"""Key in the ``info`` of a connection that holds a claim: it is the one to keep."""

_create_engine = sqlite_event_log.create_engine
_kept: dict[str, Engine] = {}
_pooled_engines: list[Engine] = []
_active = False
_impatient = threading.local()
_check: "Callable[[Any], None] | None" = None
"""Called with each connection before it is used."""
_template: Engine | None = None
"""An engine of a SQLite file whose compiled statements later engines share."""


def keep(instance: DagsterInstance) -> None:
    """Keeps connections from now on, in this process only: forked processes have their own."""
    global _active
    if os.environ.get(PLAIN) or _active:
        return
    _active = True
    limit(instance)
    for module in _SQLITE_MODULES:
        module.create_engine = _kept_engine
    pools: dict[str, QueuePool] = {}
    for engine in _server_engines(instance):
        url = engine.url.render_as_string(hide_password=False)
        key = f"{url} {engine.dialect.name} {engine.get_execution_options()}"
        if key not in pools:
            pools[key] = _pool(engine)
        engine.pool = pools[key]
        _pooled_engines.append(engine)
        if not sqlalchemy.event.contains(engine, "engine_connect", _checked):
            sqlalchemy.event.listen(engine, "engine_connect", _checked)
    _forget_in_children()


@contextlib.contextmanager
def kept(instance: DagsterInstance) -> Iterator[None]:
    """Keeps connections within a block, in a process that does other work afterwards."""
    if _active or os.environ.get(PLAIN):
        yield
        return
    before = {engine: engine.pool for engine in _server_engines(instance)}
    keep(instance)
    try:
        yield
    finally:
        _release(before)


def is_kept(engine: Any) -> bool:
    """Returns whether an engine of a server keeps its connection in this process."""
    return engine in _pooled_engines


def check_with(check: "Callable[[Any], None] | None") -> None:
    """Sets what is called with each connection before it is used.

    The server may have dropped the one that held the process's claim, and the claim with it: what
    is repeated on another would be written without a claim.
    """
    global _check
    _check = check


def _checked(connection: Any, *_older: Any) -> None:
    if _check is not None:
        _check(connection)


@contextlib.contextmanager
def without_patience() -> Iterator[None]:
    """Lets new connections of this thread fail at once where a server is away."""
    _impatient.on = True
    try:
        yield
    finally:
        _impatient.on = False


def share_compiled(instance: DagsterInstance) -> None:
    """Lets later engines of SQLite files use what those of an instance in memory compile."""
    global _template
    _template, *others = _server_engines(instance)
    for engine in others:
        _use_template(engine)


def _use_template(engine: Engine) -> None:
    if _template is not None:
        engine.dialect = engine.pool._dialect = _template.dialect
        engine._compiled_cache = _template._compiled_cache


def _release(before: "dict[Engine, Any]") -> None:
    global _active
    _active = False
    for module in _SQLITE_MODULES:
        module.create_engine = _create_engine
    for engine in _kept.values():
        engine.pool.dispose()
    _kept.clear()
    for engine, pool in before.items():
        if engine.pool is not pool:
            engine.pool.dispose()
            engine.pool = pool
    _pooled_engines.clear()


def _kept_engine(url: str, **options: Any) -> Engine:
    """Replaces ``create_engine`` where a storage creates an engine for each use."""
    if options.get("poolclass") is not NullPool:
        return _create_engine(url, **options)
    engine = _kept.pop(url, None)
    if engine is None:
        if len(_kept) >= MOST:
            _kept.pop(next(iter(_kept))).pool.dispose()
        engine = _create_engine(url, **_pooled(options))
        _use_template(engine)
        # The storage disposes of the engine after each use.
        engine.dispose = lambda close=True: None  # type: ignore[method-assign]
    # The most recently used one is the last to be closed.
    _kept[url] = engine
    return engine


def _pooled(options: dict[str, Any]) -> dict[str, Any]:
    return {**options, "poolclass": QueuePool, "pool_size": 1, "max_overflow": -1}


def _server_engines(instance: DagsterInstance) -> list[Engine]:
    """Returns the engines that live as long as their storage: all but those of SQLite files."""
    storages = (instance.run_storage, instance.event_log_storage, instance.schedule_storage)
    found = []
    for storage in storages:
        composite = getattr(storage, "_storage", None)
        inner = (
            [storage]
            if composite is None
            else [
                getattr(composite, name, None)
                for name in ("run_storage", "event_log_storage", "schedule_storage")
            ]
        )
        engines = [getattr(one, "_engine", None) for one in inner]
        found += [e for e in engines if isinstance(e, Engine) and e not in found]
    return [engine for engine in found if isinstance(engine.pool, NullPool)]


def _pool(engine: Engine) -> QueuePool:
    """Copies the engine's pool as ``Pool.recreate`` would, but keeps a connection.

    A connection is tested before each use, because the server may have been restarted since. If
    none is available, this waits here, where nothing has been sent to the storage yet. That holds
    for Dagster's own calls and for user code.
    """
    plain = engine.pool
    connect = plain._invoke_creator

    def creator(connection_record: Any = None) -> Any:
        if getattr(_impatient, "on", False):
            return connect(connection_record)
        return storage_away.patiently(lambda: connect(connection_record))

    pool = _ClaimPool(
        creator,
        pool_size=1,
        max_overflow=-1,
        pre_ping=True,
        reset_on_return=plain._reset_on_return,
        _dispatch=plain.dispatch,
        dialect=plain._dialect,
    )
    if not sqlalchemy.event.contains(pool, "close", _forget_claim):
        sqlalchemy.event.listen(pool, "close", _forget_claim)
    return pool


class _ClaimPool(QueuePool):
    """Keeps one connection: where several were in use at once, the one that holds a claim."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._returning = threading.Lock()

    def _do_return_conn(self, record: Any) -> None:
        with self._returning:
            if CLAIM in record.info:
                with contextlib.suppress(queue.Empty):
                    other = self._pool.get(False)
                    self._pool.put(record, False)
                    record = other
            super()._do_return_conn(record)


def _forget_claim(_connection: Any, record: Any) -> None:
    record.info.pop(CLAIM, None)


def limit(instance: DagsterInstance) -> None:
    """Makes unanswered connections to servers fail instead of hanging for hours."""
    for engine in _server_engines(instance):
        if not sqlalchemy.event.contains(engine, "do_connect", _limit):
            sqlalchemy.event.listen(engine, "do_connect", _limit)
            sqlalchemy.event.listen(engine, "connect", _watch)


def _limit(dialect: Any, _record: Any, _args: Any, arguments: dict[str, Any]) -> None:
    for name, value in connect_arguments(dialect.driver).items():
        arguments.setdefault(name, value)


def connect_arguments(driver: str) -> dict[str, Any]:
    """Returns settings with which a driver of SQLAlchemy notices a missing server.

    MySQL's driver has no setting for keepalives, see ``watch``.
    """
    if driver == "psycopg2":
        return {
            "connect_timeout": storage_away.CONNECT,
            "keepalives": 1,
            "keepalives_idle": 15,
            "keepalives_interval": 15,
            "keepalives_count": 3,
            **_user_timeout(),
        }
    return {"connection_timeout": storage_away.CONNECT} if driver == "mysqlconnector" else {}


def _watch(connection: Any, _record: Any) -> None:
    watch(connection, ANSWER)


def watch(connection: Any, seconds: int) -> None:
    """Makes the kernel give up a MySQL connection whose server has been silent for so long.

    By default it resends unacknowledged data at longer and longer intervals, for a quarter of an
    hour, and waits for an answer forever. The driver's compiled form hides its socket, and is left
    as it is.
    """
    sock = getattr(getattr(connection, "_socket", None), "sock", None)
    if not isinstance(sock, socket.socket) or sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds // 3)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, seconds // 3)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, seconds * 1000)


@functools.cache
def _user_timeout() -> dict[str, int]:
    """Returns the setting of libpq (from version 12) in milliseconds for unacknowledged data."""
    from psycopg2.extensions import libpq_version

    return {"tcp_user_timeout": ANSWER * 1000} if libpq_version() >= 120_000 else {}


@functools.cache
def _forget_in_children() -> None:
    os.register_at_fork(after_in_child=_forget)


def _forget() -> None:
    """Drops open connections in a forked process: they and the claim belong to its parent."""
    check_with(None)
    for engine in [*_kept.values(), *_pooled_engines]:
        engine.pool = engine.pool.recreate()
    _kept.clear()
