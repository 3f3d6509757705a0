"""Claims on attempts: a claim is held by the process that runs the step, for as long as it runs.

The kind follows Dagster's storage: SQLite an fcntl lock on a file in the instance's local folder,
Postgres an advisory lock, MySQL ``GET_LOCK``. All three end with the process that holds them.

A lock of a server belongs to a session. The process of a step or a run takes it on the connection
that it keeps for Dagster's storage: one session less on the server, and what it writes fails where
the server has dropped session and claim.
"""

import contextlib
import enum
import fcntl
import hashlib
import os
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from dagster import DagsterInstance
from sqlalchemy.engine import Engine

from . import connections, instances, storage_away

CLAIM_URL = "DAGSTER_TASKIQ_CLAIM_URL"
"""Database URL for claims, if the storage's own goes through a transaction-mode pooler."""

KEEPALIVE = {
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 15_000,
}
"""Settings of libpq: this process notices a dead server within 15 s. The server notices nothing."""

SERVER_KEEPALIVE = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "2",
    "tcp_user_timeout": "15000",
}
"""Session settings of PostgreSQL: the server notices a vanished host within 15 s instead of two
hours. They are set by a statement, because poolers refuse them as options of the connection.
"""


class Standing(enum.Enum):
    """State of a claim when its holder looks at it again."""

    HELD = "held"
    """It was held all the time."""
    RETAKEN = "retaken"
    """The server had dropped it, and it was taken again. Another process may have held it in
    between.
    """
    LOST = "lost"
    """Another process holds it."""


class NotEnded(Exception):
    """The holder of a claim could not be ended; the text contains the reason."""


ENDING = 5.0
"""Seconds within which a session is gone after the server was ordered to end it."""

NO_SUCH_SESSION = 1094
"""Error of MySQL's ``KILL``: the session has ended by itself."""

Session = tuple[Any, Any]
"""Session of a database server: a number that is reused, and a value that distinguishes its users.
"""


class Claim(ABC):
    """A name that at most one process holds."""

    definite = False
    """Whether a free claim proves that its former holder is gone."""
    shares_connection = False
    """Whether it is held on a connection that this process keeps for other uses."""

    @abstractmethod
    def acquire(self) -> bool:
        """Takes the claim without waiting; false when another process holds it."""

    @abstractmethod
    def ensure(self, connection: Any = None) -> Standing:
        """Checks whether the claim is still held, and takes it again if the database dropped it.

        ``connection``: one that replaces the connection that held it, to hold it from now on.
        """

    def is_on_connection(self) -> bool:
        """Returns whether an open connection that this process keeps holds the claim."""
        return False

    @abstractmethod
    def release(self) -> None:
        """Gives the claim up."""

    def end_holder(self, idle: float = 0.0) -> None:
        """Ends the database session that holds the claim, for a holder that has long been silent.

        ``idle``: seconds for which the session must have sent nothing to the server.

        Raises:
            NotEnded: this kind of claim has no such session, or the server refuses.

        """
        raise NotEnded("claims of this storage cannot be taken from a living process")


class FileClaim(Claim):
    """An fcntl lock. It belongs to the process: a forked child does not inherit it."""

    definite = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def acquire(self) -> bool:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                os.close(fd)
                return False
            if self._is_current(fd):
                self._fd = fd
                return True
            # The former holder removed the file between our open and our lock.
            os.close(fd)

    def _is_current(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), os.stat(self._path))
        except FileNotFoundError:
            return False

    def ensure(self, connection: Any = None) -> Standing:
        return Standing.HELD if self._fd is not None else Standing.LOST

    def release(self) -> None:
        if self._fd is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = None


class SqlClaim(Claim):
    """A lock of the database server, on the connection that an engine keeps or on its own."""

    def __init__(self, url: str, name: str, kept: Engine | None = None) -> None:
        self._url = url
        self._digest = hashlib.sha256(name.encode()).digest()
        self._kept = kept
        self.shares_connection = kept is not None
        self._connection: Any = None
        """The claim's own connection, while it holds the claim."""
        self._info: dict[Any, Any] = {}
        """What belongs to the kept connection that holds the claim: it is marked there."""
        self._session: Session | None = None

    def acquire(self) -> bool:
        return storage_away.patiently(self._take)

    def _take(self) -> bool:
        connection = self._connect()
        try:
            return self._is_on(connection) or self._take_on(connection)
        finally:
            if self._connection is not connection:
                connection.close()

    def _take_on(self, connection: Any) -> bool:
        self._prepare(connection)
        if not (self._try_lock(connection) or self._is_freed(connection)):
            return False
        self._session = self._session_of(connection)
        if self._kept is None:
            self._connection = connection
        else:
            self._info = connection.info
            self._info[connections.CLAIM] = self
        return True

    def _connect(self) -> Any:
        if self._kept is not None:
            return self._kept.connect()
        from sqlalchemy import create_engine
        from sqlalchemy.pool import NullPool

        engine = create_engine(
            self._url,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args=self._connect_args(),
        )
        return engine.connect()

    def _is_freed(self, connection: Any) -> bool:
        """Takes the claim from this process's own former session, if that holds it.

        Its connection broke, and the server may not have noticed yet.
        """
        if self._session is None or not self._end(connection, self._session):
            return False
        deadline = time.monotonic() + ENDING
        while time.monotonic() < deadline:
            if self._try_lock(connection):
                return True
            time.sleep(0.05)
        return False

    def ensure(self, connection: Any = None) -> Standing:
        if connection is not None and self._kept is not None:
            if self.is_on_connection():
                return Standing.HELD
            taken = self._take_on(connection)
            if connection.in_transaction():
                # SQLAlchemy began one with the statements above; the caller begins its own.
                connection.commit()
            return Standing.RETAKEN if taken else Standing.LOST
        if self._is_kept() or (self._connection is not None and self._answers(self._connection)):
            return Standing.HELD
        if self._connection is not None:
            # Nothing more is sent to the server on it: the server might never answer.
            with contextlib.suppress(Exception):
                self._connection.invalidate()
                self._connection.close()
        self._connection = None
        return Standing.RETAKEN if self.acquire() else Standing.LOST

    def _is_on(self, connection: Any) -> bool:
        return connection.info.get(connections.CLAIM) is self

    def is_on_connection(self) -> bool:
        return self._info.get(connections.CLAIM) is self

    def _is_kept(self) -> bool:
        """Returns whether the kept connection still holds the claim."""
        if not self.is_on_connection():
            return False
        try:
            # A kept connection is tested before each use; the mark goes when it is closed. If
            # another thread is using it, this is a new one, and that thread notices.
            self._connect().close()
        except Exception as error:
            if not storage_away.is_away(error):
                raise
            return False
        return self.is_on_connection()

    def end_holder(self, idle: float = 0.0) -> None:
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with self._connect() as connection:
                self._end_holder(connection, idle)
        except SQLAlchemyError as error:
            raise NotEnded(" ".join(str(error).split())) from error

    def _answers(self, connection: Any) -> bool:
        from sqlalchemy import text
        from sqlalchemy.exc import SQLAlchemyError

        try:
            connection.execute(text("SELECT 1"))
        except SQLAlchemyError:
            return False
        return True

    def release(self) -> None:
        if self.is_on_connection():
            # If the server is away, the session has ended and the claim with it.
            with contextlib.suppress(Exception), connections.without_patience():
                self._release_kept()
        self._session = None
        connection, self._connection = self._connection, None
        if connection is not None:
            # A broken connection cannot always be closed, and holds nothing.
            with contextlib.suppress(Exception):
                connection.close()

    def _release_kept(self) -> None:
        with self._connect() as connection:
            if self._is_on(connection):
                self._unlock(connection)
                del connection.info[connections.CLAIM]

    def _prepare(self, connection: Any) -> None:
        """Sets up the server's checks of a new connection."""

    @abstractmethod
    def _connect_args(self) -> dict[str, Any]: ...

    @abstractmethod
    def _try_lock(self, connection: Any) -> bool: ...

    @abstractmethod
    def _unlock(self, connection: Any) -> None: ...

    @abstractmethod
    def _end_holder(self, connection: Any, idle: float) -> None: ...

    @abstractmethod
    def _session_of(self, connection: Any) -> Session | None:
        """Returns the server's own name of a connection."""

    @abstractmethod
    def _end(self, connection: Any, session: Session) -> bool:
        """Ends a session of this user on the server, if exactly that session still exists."""


class PostgresClaim(SqlClaim):
    """A session-level advisory lock; the key is 63 bits of the name's hash."""

    def _connect_args(self) -> dict[str, Any]:
        return {**KEEPALIVE, "connect_timeout": storage_away.CONNECT}

    def _prepare(self, connection: Any) -> None:
        from sqlalchemy import text
        from sqlalchemy.exc import SQLAlchemyError

        # Other servers that speak PostgreSQL's protocol may know none of these.
        with contextlib.suppress(SQLAlchemyError):
            settings = (f"set_config('{name}', :{name}, false)" for name in SERVER_KEEPALIVE)
            connection.execute(text(f"SELECT {', '.join(settings)}"), SERVER_KEEPALIVE)

    @property
    def _key(self) -> int:
        return int.from_bytes(self._digest[:8], "big") >> 1

    def _try_lock(self, connection: Any) -> bool:
        from sqlalchemy import text

        statement = text("SELECT pg_try_advisory_lock(:key)")
        return bool(connection.execute(statement, {"key": self._key}).scalar())

    def _unlock(self, connection: Any) -> None:
        from sqlalchemy import text

        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": self._key})

    def _end_holder(self, connection: Any, idle: float) -> None:
        from sqlalchemy import text

        statement = text(
            "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)"
            " WHERE locktype = 'advisory' AND granted AND objsubid = 1"
            " AND classid::bigint = :high AND objid::bigint = :low"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            # Unknown with `track_activities = off`: then only a silent holder's session is ended.
            " AND (:idle = 0 OR state_change <= clock_timestamp() - make_interval(secs => :idle))"
        )
        key = {"high": self._key >> 32, "low": self._key & 0xFFFFFFFF}
        connection.execute(statement, {**key, "idle": idle})

    def _session_of(self, connection: Any) -> Session | None:
        return _one(
            connection,
            "SELECT pid, CAST(backend_start AS text) FROM pg_stat_activity"
            " WHERE pid = pg_backend_pid()",
        )

    def _end(self, connection: Any, session: Session) -> bool:
        pid, start = session
        ended = _one(
            connection,
            "SELECT pg_terminate_backend(pid), 1 FROM pg_stat_activity"
            " WHERE pid = :pid AND CAST(backend_start AS text) = :start",
            pid=pid,
            start=start,
        )
        return ended is not None


class MySqlClaim(SqlClaim):
    """``GET_LOCK``, whose names have at most 64 characters."""

    def _connect_args(self) -> dict[str, Any]:
        return {"connection_timeout": storage_away.CONNECT} if "mysqlconnector" in self._url else {}

    def _prepare(self, connection: Any) -> None:
        connections.watch(connection.connection.dbapi_connection, 15)

    @property
    def _name(self) -> str:
        return f"dagster-taskiq:{self._digest.hex()[:40]}"

    def _try_lock(self, connection: Any) -> bool:
        from sqlalchemy import text

        statement = text("SELECT GET_LOCK(:name, 0)")
        return connection.execute(statement, {"name": self._name}).scalar() == 1

    def _unlock(self, connection: Any) -> None:
        from sqlalchemy import text

        connection.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": self._name})

    def _end_holder(self, connection: Any, idle: float) -> None:
        from sqlalchemy import text

        statement = text(
            "SELECT ID FROM information_schema.PROCESSLIST"
            " WHERE ID = IS_USED_LOCK(:name) AND TIME >= :idle"
        )
        holder = connection.execute(statement, {"name": self._name, "idle": idle})
        session = holder.scalar()
        if session is not None:
            self._kill(connection, session)

    def _session_of(self, connection: Any) -> Session | None:
        return _one(
            connection,
            "SELECT ID, HOST FROM information_schema.PROCESSLIST WHERE ID = CONNECTION_ID()",
        )

    def _end(self, connection: Any, session: Session) -> bool:
        number, host = session
        found = _one(
            connection,
            "SELECT ID, HOST FROM information_schema.PROCESSLIST WHERE ID = :id AND HOST = :host",
            id=number,
            host=host,
        )
        if found is not None:
            self._kill(connection, number)
        return found is not None

    def _kill(self, connection: Any, session: Any) -> None:
        from sqlalchemy import text
        from sqlalchemy.exc import DBAPIError

        try:
            connection.execute(text(f"KILL {int(session)}"))
        except DBAPIError as error:
            if getattr(error.orig, "errno", None) != NO_SUCH_SESSION:
                raise


def _one(connection: Any, statement: str, **parameters: Any) -> Session | None:
    from sqlalchemy import text

    row = connection.execute(text(statement), parameters).fetchone()
    return None if row is None else (row[0], row[1])


def claim(
    instance: DagsterInstance,
    run_id: str,
    step_key: str | None,
    attempt: int,
    *,
    of_process: bool = False,
) -> Claim:
    """Returns the claim for one attempt of a step, or for a run when there is no step.

    ``of_process``: it is what this process is there for, and is held on the connection it keeps. A
    session may take a lock that it holds once more, so that no second claim must be held there.
    """
    name = f"{run_id}/{step_key}/{attempt}" if step_key is not None else run_id
    kind = instances.storage_kind(instance)
    if kind in ("postgresql", "mysql"):
        kept = _kept_engine(instance) if of_process else None
        url = os.environ.get(CLAIM_URL) or instances.storage_url(instance)
        server_claim = PostgresClaim if kind == "postgresql" else MySqlClaim
        return server_claim(url, name, kept)
    digest = hashlib.sha256(name.encode()).hexdigest()[:32]
    return FileClaim(instances.claims_folder(instance) / f"{digest}.lock")


def _kept_engine(instance: DagsterInstance) -> Engine | None:
    """Returns the engine whose connection this process keeps and a claim can use, if any."""
    engine = getattr(instances.event_storage(instance), "_engine", None)
    return engine if connections.is_kept(engine) and not os.environ.get(CLAIM_URL) else None
