"""One process per step or run, interrupted when the run is cancelled."""

import asyncio
import itertools
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
#: Code of a process whose forge died: nobody can say how it ended.
_UNKNOWN_END = 255


class Processes:
    """Does the work of messages, each in a process that one forge forks."""

    def __init__(self) -> None:
        self._forge: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._ids = itertools.count()
        self._started: dict[int, asyncio.Future[int]] = {}
        self._ended: dict[int, asyncio.Future[int]] = {}
        self._lock = asyncio.Lock()

    async def run(self, task: str, packed: dict[str, Any], labels: Mapping[str, Any]) -> int:
        """Do a message's work; returns the process's exit code, negative for a signal."""
        order = {"task": task, "packed": packed, "attempt": int(labels.get("attempt") or 0)}
        run_id = str(packed.get("pipeline_run_id", ""))
        pid, ended = await self._start(order)
        watch = asyncio.create_task(_stop_when_cancelled(pid, ended, run_id))
        try:
            code = await asyncio.shield(ended)
        finally:
            watch.cancel()
        if code != 0:
            _LOG.warning("The process for %s of run %s ended with %s.", task, run_id, code)
        if code != 0 and task == TASK_EXECUTE_STEP:
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            reason = f"{how}, host {socket.gethostname()}, pid {pid}"
            _, reported = await self._start({**order, "task": "report", "reason": reason})
            await reported
        return code

    async def close(self) -> None:
        """End the forge, and with it whatever still runs."""
        if self._forge is not None and self._forge.stdin is not None:
            self._forge.stdin.close()
            await self._forge.wait()

    async def _start(self, order: dict[str, Any]) -> "tuple[int, asyncio.Future[int]]":
        loop = asyncio.get_running_loop()
        number = next(self._ids)
        started: asyncio.Future[int] = loop.create_future()
        ended: asyncio.Future[int] = loop.create_future()
        async with self._lock:
            forge = await self._running_forge()
            self._started[number], self._ended[number] = started, ended
            if forge.stdin is None:
                raise RuntimeError("The forge has no standard input.")
            forge.stdin.write(json.dumps({**order, "id": number}).encode() + b"\n")
            await forge.stdin.drain()
        return await started, ended

    async def _running_forge(self) -> asyncio.subprocess.Process:
        if self._forge is None or self._forge.returncode is not None:
            self._forge = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "dagster_taskiq.python_worker.forge",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
            self._reader = asyncio.create_task(self._read(self._forge))
        return self._forge

    async def _read(self, forge: asyncio.subprocess.Process) -> None:
        while forge.stdout is not None:
            line = await forge.stdout.readline()
            if not line:
                break
            answer = json.loads(line)
            table = self._ended if "code" in answer else self._started
            future = table.pop(answer["id"], None)
            if future is not None and not future.done():
                future.set_result(answer.get("code", answer.get("pid")))
        for future in [*self._started.values(), *self._ended.values()]:
            if not future.done():
                future.set_result(_UNKNOWN_END)
        self._started.clear()
        self._ended.clear()


async def _stop_when_cancelled(pid: int, ended: "asyncio.Future[int]", run_id: str) -> None:
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
        if ended.done():
            return
        try:
            os.killpg(pid, number)
        except ProcessLookupError:
            return
        await asyncio.sleep(_GRACE_SECONDS)
