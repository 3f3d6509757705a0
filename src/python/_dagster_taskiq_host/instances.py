"""Opens the DagsterInstance that this worker serves.

It comes from the worker's own ``DAGSTER_HOME``. The instance in a message (classes, a storage
configuration) is only compared, and used under ``trust_message_instance`` alone.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dagster import DagsterInstance
from dagster._core.instance import InstanceRef
from dagster._serdes import unpack_value

from . import connections, storage_away
from .redaction import redact

_LONGEST_REASON = 300
"""Maximum number of characters of the reason beneath an error."""


class InstanceUnusable(Exception):
    """No DagsterInstance can be opened; the text contains the reason and the remedy."""


def open_instance(packed_ref: str | None) -> DagsterInstance:
    """Opens the instance of ``DAGSTER_HOME``, or of a packed reference (JSON) if one is given."""
    with _limited_connects():
        instance = _open(packed_ref)
    connections.limit(instance)
    return instance


@contextlib.contextmanager
def _limited_connects() -> Iterator[None]:
    """Limits the time of connecting while storages are created, because they connect at once.

    The limit applies only then: user code's connections may need longer.
    """
    if "PGCONNECT_TIMEOUT" in os.environ:
        yield
        return
    os.environ["PGCONNECT_TIMEOUT"] = str(storage_away.CONNECT)
    try:
        yield
    finally:
        del os.environ["PGCONNECT_TIMEOUT"]


def _open(packed_ref: str | None) -> DagsterInstance:
    if packed_ref is not None:
        return DagsterInstance.from_ref(unpack_value(json.loads(packed_ref), as_type=InstanceRef))
    home = os.environ.get("DAGSTER_HOME")
    if not home:
        raise InstanceUnusable("DAGSTER_HOME is not set; set it to the folder of dagster.yaml")
    if not Path(home).is_dir():
        raise InstanceUnusable(f"DAGSTER_HOME names {home}, which is not a folder")
    try:
        with _alone_with_new_databases(home):
            return DagsterInstance.get()
    except Exception as error:
        text = redact(" ".join(str(error).split()))
        root = storage_away.innermost(error)
        if root is not error:
            # Dagster's own says "too many retries", and not that a password is wrong.
            reason = redact(" ".join(str(root).split()))[:_LONGEST_REASON]
            text += f" ({type(root).__name__}: {reason})"
        if "more than one head" in text:
            text += (
                " Two processes created these SQLite databases at the same time. If the home is"
                " new, stop what uses it, remove its folders history and schedules, and start again"
            )
        raise InstanceUnusable(
            f"dagster.yaml of {home} does not load: {type(error).__name__}: {text}"
        ) from error


@contextlib.contextmanager
def _alone_with_new_databases(home: str) -> Iterator[None]:
    """Lets one process of this program at a time open an instance whose storage is SQLite.

    Dagster 1.12 and 1.13 look for tables, create them and stamp their revision, without a lock. A
    second process that finds the tables before the stamp adds another revision; from then on no
    process can open the instance.
    """
    run_storage = InstanceRef.from_dir(home).run_storage_data
    if run_storage is None or "sqlite" not in run_storage.class_name.lower():
        yield
        return
    folder = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Not every file system of other hosts has locks; there it is as with Dagster alone.
        with contextlib.suppress(OSError):
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def difference(instance: DagsterInstance, ref: InstanceRef | None) -> str | None:
    """Describes how a message's storage differs from ours, in class names only: values may be
    secret.
    """
    if ref is None:
        return None
    own = instance.get_ref()

    def classes(of: InstanceRef) -> list[Any]:
        return [
            data.class_name if data is not None else None
            for data in (of.run_storage_data, of.event_storage_data)
        ]

    if classes(own) != classes(ref):
        return f"the message's instance uses {classes(ref)}, this worker's {classes(own)}"
    if own.run_storage_data != ref.run_storage_data:
        return "the message's instance has another storage configuration than this worker's"
    return None


def event_storage(instance: DagsterInstance) -> Any:
    """Returns the event log storage itself, even if Dagster wraps it in a
    ``LegacyEventLogStorage``.
    """
    storage = instance.event_log_storage
    inner = getattr(storage, "_storage", None)
    return inner.event_log_storage if inner is not None else storage


def storage_kind(instance: DagsterInstance) -> str:
    """Returns ``sqlite``, ``postgresql``, ``mysql`` or ``other``: decides the kind of claim."""
    for cls in type(event_storage(instance)).__mro__:
        name = cls.__name__.lower()
        if "postgres" in name:
            return "postgresql"
        for kind in ("sqlite", "mysql"):
            if kind in name:
                return kind
    return "other"


def storage_url(instance: DagsterInstance) -> str:
    """Returns the SQLAlchemy URL of a Postgres or MySQL event log storage."""
    storage = event_storage(instance)
    url = getattr(storage, "postgres_url", None) or getattr(storage, "mysql_url", None)
    if url is None:
        raise InstanceUnusable(f"{type(storage).__name__} does not tell its database URL")
    return str(url)


def claims_folder(instance: DagsterInstance) -> Path:
    """Returns the folder of claim files: the instance's local storage, shared by the workers of a
    host.
    """
    return Path(instance.storage_directory()) / ".dagster-taskiq" / "claims"
