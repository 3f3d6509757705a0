"""One fresh process per step or run, interrupted when the run is cancelled."""

import asyncio
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping
from typing import Any

from dagster_taskiq.tags import TASK_EXECUTE_STEP

_LOG = logging.getLogger("dagster_taskiq")

_STATUS_INTERVAL = 2.0
_GRACE_SECONDS = 10.0
_STOPPED = {"CANCELING", "CANCELED", "FAILURE"}


async def run_in_process(task: str, packed: dict[str, Any], labels: Mapping[str, Any]) -> int:
    """Do a message's work; returns the process's exit code, negative for a signal."""
    order = {"task": task, "packed": packed, "attempt": int(labels.get("attempt") or 0)}
    run_id = str(packed.get("pipeline_run_id", ""))
    process = await _start(order)
    watch = asyncio.create_task(_stop_when_cancelled(process, run_id))
    try:
        code = await process.wait()
    finally:
        watch.cancel()
    if task == TASK_EXECUTE_STEP:
        reason = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        where = f"host {socket.gethostname()}, pid {process.pid}"
        report = {**order, "task": "report", "reason": f"{reason}, {where}"}
        if code != 0:
            await (await _start(report)).wait()
    if code != 0:
        _LOG.warning("The process for %s of run %s ended with %s.", task, run_id, code)
    return code


async def _start(order: dict[str, Any]) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "dagster_taskiq.python_worker.child",
        stdin=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    stdin = process.stdin
    if stdin is not None:
        try:
            stdin.write(json.dumps(order).encode())
            await stdin.drain()
            stdin.close()
        except (BrokenPipeError, ConnectionResetError):
            _LOG.warning("A worker process ended before it was told what to do.")
    return process


async def _stop_when_cancelled(process: asyncio.subprocess.Process, run_id: str) -> None:
    from dagster import DagsterInstance

    instance = await asyncio.to_thread(DagsterInstance.get)
    while True:
        await asyncio.sleep(_STATUS_INTERVAL)
        try:
            run = await asyncio.to_thread(instance.get_run_by_id, run_id)
        except Exception as error:
            _LOG.warning("Asking for the status of run %s failed: %s", run_id, error)
            continue
        if run is None or run.status.value in _STOPPED:
            break
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            return
        os.killpg(process.pid, number)
        await asyncio.sleep(_GRACE_SECONDS)
