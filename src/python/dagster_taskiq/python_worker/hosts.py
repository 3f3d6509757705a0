"""The processes that do the work, shared with the ``dagster-taskiq-tui`` worker.

``_dagster_taskiq_host`` contains the delivery rules: claims, the handling of a redelivered message,
the end of a cancelled or dead step. A step host forks a process per step or run; an instance agent
accesses Dagster's storage. Both are other processes that answer frames on a socket, so that neither
user code nor a slow database can stop this one from renewing its leases.
"""

import asyncio
import itertools
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from _dagster_taskiq_host import PROTOCOL
from _dagster_taskiq_host.frames import HEADER
from _dagster_taskiq_host.instance_agent import PULSE
from _dagster_taskiq_host.main import BOOTSTRAP
from _dagster_taskiq_host.redaction import redact

_LOG = logging.getLogger("dagster_taskiq")

Frame = dict[str, Any]

_LIBRARY = str(Path(__file__).parent.parent.parent)
#: Timeout of the start: importing Dagster takes some seconds, on a busy machine many.
_READY_SECONDS = 120.0
#: Timeout of a look-up or report: longer than the busy timeout that Dagster gives SQLite.
_ANSWER_SECONDS = 90.0
#: Timeout of a heartbeat or a query for the status of runs: longer than Dagster tries to connect to
#: a server that refuses, and with a restart short enough that no worker looks lost.
_PULSE_SECONDS = 15.0
_END_SECONDS = 10.0
#: Number of tries for a task that finds its host dead or outdated before it is started; each takes
#: a fresh host.
_TRIES = 3


class HostDied(Exception):
    """The process is gone; ``task_pid`` is the id of the one it had for a task, if it had one."""

    def __init__(self, pid: int, task_pid: int = 0):
        super().__init__(f"the host process {pid} died")
        self.pid, self.task_pid = pid, task_pid


class HostUnusable(Exception):
    """The process cannot do its work; the text contains the reason, secrets hidden."""

    def __init__(self, text: str):
        super().__init__(redact(text))


class _Link:
    """One running process and the socket to it."""

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ):
        self.process = process
        self.answers: dict[str | int, asyncio.Future[Frame]] = {}
        #: Process ids by task.
        self.forked: dict[str, int] = {}
        self.begun: set[str] = set()
        self.is_open = True
        self._writer = writer
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._read(reader))

    @classmethod
    async def open(cls, mode: str) -> "_Link":
        """Start a process and wait until it has opened the DagsterInstance.

        Raises:
            HostUnusable: it does not start, or cannot open the instance.

        """
        ours, theirs = socket.socketpair()
        # The empty first argument leaves the path unchanged: this package is installed there.
        command = [sys.executable, "-c", BOOTSTRAP, "", _LIBRARY, mode, str(os.getpid())]
        with theirs:
            process = subprocess.Popen(command, stdin=theirs.fileno(), start_new_session=True)
        reader, writer = await asyncio.open_connection(sock=ours)
        link = cls(process, reader, writer)
        link.send({"kind": "load", "origin": None, "instance_ref": None})
        try:
            await asyncio.wait_for(asyncio.shield(link._ready), _READY_SECONDS)
        except (asyncio.TimeoutError, HostDied, HostUnusable) as error:
            await link.close()
            raise HostUnusable(f"The {mode} process did not start: {error}") from error
        return link

    def send(self, frame: Frame) -> None:
        if self.is_open:
            # Escaped, a body could be three times as long, and exceed a frame.
            body = json.dumps(frame, ensure_ascii=False).encode("utf-8", "surrogatepass")
            self._writer.write(HEADER.pack(len(body)) + body)

    def expect(self, key: str | int) -> "asyncio.Future[Frame]":
        """The future answer for a key.

        Raises:
            HostDied: the process is gone.

        """
        if not self.is_open:
            raise HostDied(self.process.pid)
        return self.answers.setdefault(key, asyncio.get_running_loop().create_future())

    async def kill(self) -> None:
        """End a process that hangs; its death is reported to the waiting callers."""
        self.process.kill()
        await self._task

    async def close(self) -> None:
        """End the process and all of its tasks."""
        self._writer.close()
        try:
            await asyncio.to_thread(self.process.wait, _END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            await asyncio.to_thread(self.process.wait)
        await self._task

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                (length,) = HEADER.unpack(await reader.readexactly(HEADER.size))
                self._take(json.loads(await reader.readexactly(length)))
        except (asyncio.IncompleteReadError, OSError):
            pass
        self.is_open = False
        died = HostDied(self.process.pid)
        waiting: list[asyncio.Future[Any]] = [self._ready, *self.answers.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(died)
                future.exception()  # reported to waiting callers, of which there may be none
        self.answers.clear()
        await asyncio.to_thread(self.process.wait)

    def _take(self, frame: Frame) -> None:
        kind = frame["kind"]
        if kind == "log":
            _LOG.info("%s: %s", frame["stream"], frame["line"])
        elif kind == "forked":
            self.forked[frame["id"]] = frame["pid"]
        elif kind == "begun":
            self.begun.add(frame["id"])
        elif kind in ("answer", "exit", "stale", "cannot_start"):
            future = self.answers.pop(frame["id"], None)
            if future is not None and not future.done():
                future.set_result(frame)
        elif self._ready.done():
            return
        elif kind == "ready":
            self._ready.set_result(None)
        elif kind == "load_error":
            self._ready.set_exception(HostUnusable(frame["reason"]))
        elif kind == "hello" and frame["protocol"] != PROTOCOL:
            text = f"it speaks protocol {frame['protocol']}, this package {PROTOCOL}"
            self._ready.set_exception(HostUnusable(text))


class _Keeper:
    """Keeps one process of a kind running."""

    mode = ""

    def __init__(self) -> None:
        self._link: _Link | None = None
        self._former: list[_Link] = []
        self._lock = asyncio.Lock()

    async def link(self) -> _Link:
        """The process; a new one if there is none.

        Raises:
            HostUnusable: it cannot be started.

        """
        async with self._lock:
            if self._link is None or not self._link.is_open:
                self._link = await _Link.open(self.mode)
            return self._link

    async def close(self) -> None:
        """End it."""
        async with self._lock:
            links = [*self._former, self._link] if self._link else self._former
            self._link, self._former = None, []
        await asyncio.gather(*(link.close() for link in links))


class InstanceAgent(_Keeper):
    """Reads and writes Dagster's storage."""

    mode = "instance-agent"

    def __init__(self) -> None:
        super().__init__()
        self._numbers = itertools.count(1)
        self._pulse, self._look_ups = asyncio.Lock(), asyncio.Lock()

    async def request(self, kind: str, **fields: Any) -> Any:
        """Send a request. Each checks the state before it writes, so an unanswered one is repeated.

        Heartbeats and the query for cancelled runs do not wait for slow requests. Of the others,
        each waits for its turn before its timeout starts. A process that does not answer in time is
        killed: it, or its connection, hangs.

        Raises:
            HostUnusable: the storage, or the process, does not answer.

        """
        is_pulse = kind in PULSE
        async with self._pulse if is_pulse else self._look_ups:
            return await self._request(
                kind, _PULSE_SECONDS if is_pulse else _ANSWER_SECONDS, fields
            )

    async def _request(self, kind: str, seconds: float, fields: Mapping[str, Any]) -> Any:
        for _ in range(2):
            link = await self.link()
            number = next(self._numbers)
            try:
                answered = link.expect(number)
                link.send({"kind": kind, "id": number, **fields})
                answer = await asyncio.wait_for(answered, seconds)
            except HostDied:
                continue
            except asyncio.TimeoutError:
                _LOG.warning("The instance agent does not answer to %s, and is restarted.", kind)
                await link.kill()
                continue
            if answer.get("error"):
                raise HostUnusable(f"{kind}: {answer['error']}")
            return answer.get("value")
        raise HostUnusable(f"The instance agent died, or did not answer, twice over {kind}.")


class StepHost(_Keeper):
    """Forks a process for each step and run. It has loaded no user code; its children load it."""

    mode = "step"

    async def run(self, frame: Mapping[str, Any]) -> Frame:
        """Execute a ``step`` or ``run`` frame; returns how its process ended.

        Raises:
            HostDied: the host died meanwhile, and the process with it.
            HostUnusable: it cannot be started.

        """
        for _ in range(_TRIES):
            link = await self.link()
            ended = link.expect(frame["id"])
            link.send(dict(frame))
            try:
                answer = await ended
            except HostDied as died:
                if frame["id"] in link.begun:
                    raise HostDied(died.pid, link.forked[frame["id"]]) from died
                continue  # it had not begun
            link.forked.pop(frame["id"], None)
            link.begun.discard(frame["id"])
            if answer["kind"] == "cannot_start":
                raise HostUnusable(answer["reason"])
            if answer["kind"] != "stale":
                return answer
            # Drained: its tasks continue, new work gets a new host.
            if self._link is link:
                self._link = None
                self._former = [*(old for old in self._former if old.is_open), link]
                link.send({"kind": "stop", "drain": True})
        raise HostUnusable(f"The step host ended {_TRIES} times before the task began.")

    def cancel(self, task_id: str, grace: float) -> None:
        """Send SIGINT to a task's processes now, SIGTERM after ``grace`` seconds, then SIGKILL."""
        for link in (self._link, *self._former):
            if link is not None and task_id in link.answers:
                link.send({"kind": "cancel", "id": task_id, "grace_ms": round(grace * 1000)})
