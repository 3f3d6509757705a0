"""Direct compute logs: the step's output goes straight into the files that the stock
``LocalComputeLogManager`` reads, instead of through two ``tail`` processes and their two watchers
for every capture. Managers of any other class keep their own behaviour.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dagster import DagsterInstance
from dagster._core.storage.compute_log_manager import CapturedLogContext
from dagster._core.storage.local_compute_log_manager import (
    IO_TYPE_EXTENSION,
    ComputeIOType,
    LocalComputeLogManager,
)

from .inheritance import flush_all

Redirect = Callable[[int, int], None]
"""Makes one descriptor, and every copy of it, point to the target of another."""


def use_direct_logs(
    instance: DagsterInstance, notify: Callable[[str, str], None], redirect: Redirect
) -> None:
    """Makes the instance's manager capture directly; ``notify`` gets each stream and its file."""
    manager = instance.compute_log_manager
    if type(manager) is not LocalComputeLogManager:
        return

    @contextmanager
    def capture_logs(log_key: Sequence[str]) -> Iterator[CapturedLogContext]:
        paths = [
            manager.get_captured_local_path(log_key, IO_TYPE_EXTENSION[kind])
            for kind in (ComputeIOType.STDOUT, ComputeIOType.STDERR)
        ]
        with _redirected(1, paths[0], redirect), _redirected(2, paths[1], redirect):
            for stream, path in zip(("stdout", "stderr"), paths, strict=True):
                notify(stream, path)
            yield CapturedLogContext(log_key)
        # The empty file that marks the capture as complete for readers.
        with open(manager.complete_artifact_path(log_key), "ab"):
            pass

    manager.capture_logs = capture_logs  # type: ignore[method-assign]


def whereabouts(instance: DagsterInstance, run_id: str, file_key: str) -> dict[str, Any]:
    """Returns the files of a capture, or the class of a manager that keeps them elsewhere."""
    manager = instance.compute_log_manager
    if not isinstance(manager, LocalComputeLogManager):
        return {"elsewhere": type(manager).__name__}
    log_key = [run_id, "compute_logs", file_key]
    kinds = {"stdout": ComputeIOType.STDOUT, "stderr": ComputeIOType.STDERR}
    paths = {
        stream: manager.get_captured_local_path(log_key, IO_TYPE_EXTENSION[kind])
        for stream, kind in kinds.items()
    }
    return {"files": paths}


@contextmanager
def _redirected(fd: int, path: str, redirect: Redirect) -> Iterator[None]:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    saved = os.dup(fd)
    flush_all((sys.stdout, sys.stderr))
    redirect(fd, target)
    os.close(target)
    try:
        yield
    finally:
        flush_all((sys.stdout, sys.stderr))
        redirect(fd, saved)
        os.close(saved)
