"""What a child process does from its first instruction to its exit code."""

import atexit
import json
import os
import sys
import threading
from typing import Any

from dagster import DagsterInstance
from dagster._utils.interrupts import capture_interrupts

from . import connections, memo, outcomes
from .compute_logs import use_direct_logs
from .messages import Undecodable, unpack
from .runs import run_run
from .steps import run_step

EXIT_RAISED = 1


def perform(instance: DagsterInstance, frame: dict[str, Any], news: int) -> int:
    """Runs the task of a ``step`` or ``run`` frame; ``news`` is the pipe to the host.

    Returns the exit code. The outcome is told before: what user code does at exit no longer
    changes it.
    """
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]

    def tell(item: dict[str, Any]) -> None:
        # The host reads all the time and never blocks, so this cannot wait for long.
        _write_all(news, json.dumps(item, default=str).encode() + b"\n")

    connections.keep(instance)
    memo.install()
    use_direct_logs(instance, lambda stream, path: tell({"kind": "log_file", stream: path}))
    try:
        task = unpack(frame)
    except Undecodable as error:
        tell({"kind": "outcome", **outcomes.unrunnable(str(error))})
        return 0
    body = run_step if task.is_step else run_run
    # As in ``dagster api``: interrupts are raised where Dagster is prepared for them.
    with capture_interrupts():
        outcome = body(instance, task, tell)
    tell({"kind": "outcome", **outcome})
    return EXIT_RAISED if outcome["outcome"] == "raised" else 0


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def leave(code: int) -> None:
    """Ends a forked child as an ordinary Python process ends: threads, exit handlers, streams.

    ``sys.exit`` is not used: it would unwind through the host's frames.
    """
    try:
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)
