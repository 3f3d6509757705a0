"""Properties of this process: versions, the instance's parts, and whether a claim can be taken."""

import contextlib
import sys
import uuid
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from dagster import DagsterInstance
from dagster._core.execution.retries import RetryMode

from . import claims, instances, tested
from .redaction import redact


def installed_library() -> str | None:
    """Version of the ``dagster_taskiq`` that user code imports, if it is installed."""
    if find_spec("dagster_taskiq") is not None:
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version("dagster-taskiq-tui")
    return None


def senders(instance: DagsterInstance) -> list[dict[str, Any]]:
    """Make what sends steps and runs as dagster.yaml and the environment have it; sends nothing.

    Each has the name of the base queue it would send to (``Ok``), or else the problem (``Err``).
    """
    from dagster_taskiq import TaskiqRunLauncher
    from dagster_taskiq.config import DEFAULT_QUEUE_NAME, queue_name, resolve
    from dagster_taskiq.errors import ConfigurationError
    from dagster_taskiq.executor import TaskiqExecutor

    configs = {"taskiq_executor": TaskiqExecutor({}, RetryMode.ENABLED).config}
    if isinstance(instance.run_launcher, TaskiqRunLauncher):
        configs["TaskiqRunLauncher"] = instance.run_launcher.config
    found = []
    for name, config in configs.items():
        try:
            queue = {"Ok": queue_name(resolve(config).queue_url or DEFAULT_QUEUE_NAME)}
        except ConfigurationError as error:
            queue = {"Err": redact(str(error))}
        found.append({"name": name, "queue": queue})
    return found


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
        "senders": senders(instance),
    }
