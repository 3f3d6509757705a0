"""Properties of this process: versions, the instance's parts, and whether a claim can be taken."""

import contextlib
import sys
import uuid
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from dagster import DagsterInstance
from dagster._core.errors import DagsterInvalidConfigError
from dagster._core.execution.retries import RetryMode
from dagster._core.launcher.base import RunLauncher

from . import claims, instances, tested
from .redaction import redact

_LONGEST = 300
"""Maximum number of characters of an error's text."""


def installed_library() -> str | None:
    """Version of the ``dagster_taskiq`` that user code imports, if it is installed."""
    if find_spec("dagster_taskiq") is not None:
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version("dagster-taskiq-tui")
    return None


def run_launcher(instance: DagsterInstance) -> tuple[str, RunLauncher | None, str | None]:
    """Make the run launcher of dagster.yaml: the name of its class, and it or the problem."""
    try:
        launcher = instance.run_launcher
    # It may be anybody's class, in a module that anybody wrote.
    except Exception as error:
        data = instance.get_ref().run_launcher_data
        name = "the run launcher" if data is None else data.class_name
        if isinstance(error, DagsterInvalidConfigError):
            # Its text begins with the whole schema.
            errors = enumerate(error.errors, 1)
            text = " ".join(f"Error {number}: {one.message}" for number, one in errors)
        else:
            text = f"{type(error).__name__}: {error}"
        text = redact(" ".join(text.split()))[:_LONGEST]
        return name, None, f"dagster.yaml, run_launcher: {text}"
    return type(launcher).__name__, launcher, None


def senders(instance: DagsterInstance) -> list[dict[str, Any]]:
    """Make what sends steps and runs as dagster.yaml and the environment have it; sends nothing.

    Each has the name of the base queue it would send to (``Ok``), or else the problem (``Err``).
    """
    from dagster_taskiq import TaskiqRunLauncher
    from dagster_taskiq.config import DEFAULT_QUEUE_NAME, queue_name, resolve
    from dagster_taskiq.errors import ConfigurationError
    from dagster_taskiq.executor import TaskiqExecutor

    configs = {"taskiq_executor": TaskiqExecutor({}, RetryMode.ENABLED).config}
    found = []
    name, launcher, problem = run_launcher(instance)
    if problem is not None:
        found.append({"name": name, "queue": {"Err": problem}})
    elif isinstance(launcher, TaskiqRunLauncher):
        configs[name] = launcher.config
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
        "run_launcher": run_launcher(instance)[0],
        "claims": taken,
        "senders": senders(instance),
    }
