"""Properties of this process: versions, the instance's parts, and whether a claim can be taken."""

import contextlib
import sys
import uuid
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from dagster import DagsterInstance

from . import claims, instances, tested


def installed_library() -> str | None:
    """Version of the ``dagster_taskiq`` that user code imports, if it is installed."""
    if find_spec("dagster_taskiq") is not None:
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version("dagster-taskiq-tui")
    return None


def describe(instance: DagsterInstance) -> dict[str, Any]:
    """Describes the process for the worker's operator; takes an unused claim and gives it back."""
    claim = claims.claim(instance, f"doctor-{uuid.uuid4().hex}", None, 1)
    taken = claim.acquire()
    claim.release()
    return {
        "python": sys.version.split()[0],
        "dagster": metadata.version("dagster"),
        "dagster_warning": tested.installed_warning(),
        "dagster_taskiq": installed_library(),
        "storage": instances.storage_kind(instance),
        "run_launcher": type(instance.run_launcher).__name__,
        "claims": taken,
    }
