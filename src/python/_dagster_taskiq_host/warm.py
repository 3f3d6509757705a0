"""A newly started process that has loaded the code and runs one task after the other.

Each task finds the state of a separate process.
"""

import contextvars
import gc
import json
import os
import resource
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from dagster import DagsterInstance

from . import child_main, cpython, linux, stacks
from .children import TASK_ID
from .frames import HEADER, Frame, encode
from .inheritance import Inheritance, flush_all
from .instances import open_instance
from .locations import last_line
from .process_state import ProcessState
from .redaction import print_exc

ENDING = 0.2
"""Seconds within which the threads of an unreferenced executor end by themselves."""

DAEMONS = 20
"""Maximum number of leftover threads beyond those after the first step."""


class Connection:
    """The host's socket, with blocking reads and writes."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(True)
        self._sock = sock

    def notify(self, frame: Frame) -> None:
        body = encode(frame)
        self._sock.sendall(HEADER.pack(len(body)) + body)

    def receive(self) -> Frame | None:
        """Returns the next frame; None when the host no longer needs this process."""
        header = self._exactly(HEADER.size)
        if header is None:
            return None
        body = self._exactly(HEADER.unpack(header)[0])
        return None if body is None else json.loads(body)

    def _exactly(self, count: int) -> bytes | None:
        data = bytearray()
        while len(data) < count:
            chunk = self._sock.recv(count - len(data))
            if not chunk:
                return None
            data += chunk
        return bytes(data)


def serve(sock: socket.socket) -> int:
    """Loads, then runs the host's tasks. Returns the exit code of the last task."""
    connection = Connection(sock)
    request = connection.receive()
    if request is None:
        return 0
    linux.set_descriptor_limit(request["descriptors"])
    inheritance = Inheritance()
    try:
        instance = open_instance(request["instance_ref"])
        with inheritance.generators.watched():
            child_main.load(instance, request["origin"])
    except BaseException as error:
        print_exc()
        connection.notify({"kind": "load_error", "reason": last_line(error)[:4000]})
        return 1
    inheritance.take()
    # Until Dagster captures it: an early cancellation must not end this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    stacks.offer()
    connection.notify({"kind": "loaded"})
    code = _Process(instance, inheritance, connection, request).run()
    # Frozen objects would not be finalized with the process.
    gc.unfreeze()
    inheritance.flush_open_files()
    return code


class _Process:
    def __init__(
        self,
        instance: DagsterInstance,
        inheritance: Inheritance,
        connection: Connection,
        limits: Frame,
    ) -> None:
        self._instance = instance
        self._inheritance = inheritance
        self._connection = connection
        self._max_steps: int = limits["max_steps"]
        self._max_memory_kib: int = limits["max_memory_mib"] * 1024
        self._state = ProcessState()
        self._served = 0
        self._threads: set[threading.Thread] = set()
        self._usual_threads: int | None = None

    def run(self) -> int:
        while (frame := self._connection.receive()) is not None:
            if self._served:
                self._state.restore()
                self._inheritance.generators.renew()
            self._served += 1
            code, leaving = self._serve(frame)
            if leaving is not None:
                return code
        return 0

    def _serve(self, frame: Frame) -> tuple[int, str | None]:
        os.environ[TASK_ID] = frame["id"]
        self._threads = set(threading.enumerate())
        _forget_peak()
        before = _cpu()
        code = 70
        perform = (self._instance, frame, self._connection.notify, self._inheritance)
        try:
            code = contextvars.copy_context().run(child_main.perform, *perform)
        except BaseException:
            print_exc()
        used = _cpu() - before
        gc.collect()
        leaving = "it failed" if code == 70 else self._why_to_end(frame)
        flush_all((sys.stdout, sys.stderr))
        self._connection.notify(
            {
                "kind": "done",
                "code": code,
                "cpu_ms": round(used * 1000),
                "max_rss_kib": _memory("VmHWM"),
                "leaving": leaving,
            }
        )
        return code, leaving

    def _why_to_end(self, frame: Frame) -> str | None:
        """Returns why this process runs no further task; None if it does."""
        if frame["last"] or self._served >= self._max_steps:
            return "it has run its last step"
        left = self._left_threads()
        if left:
            return f"the step left the thread {left[0].name!r} running"
        if [pid for pid in linux.group_members(os.getpid()) if pid != os.getpid()]:
            return "the step left processes running"
        if 0 < self._max_memory_kib < _memory("VmRSS"):
            return "it uses more than max_memory_per_process"
        return None

    def _left_threads(self) -> list[threading.Thread]:
        deadline = time.monotonic() + ENDING
        while True:
            new = [thread for thread in threading.enumerate() if thread not in self._threads]
            idle = cpython.idle_executor_threads(self._inheritance.executors)
            left = [thread for thread in new if not thread.daemon and thread not in idle]
            if not left or time.monotonic() > deadline:
                break
            left[0].join(0.01)
        if self._usual_threads is None:
            self._usual_threads = threading.active_count()
        if threading.active_count() > self._usual_threads + DAEMONS:
            return new
        return left


def _cpu() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _forget_peak() -> None:
    """Makes the kernel measure the largest resident set from now on."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _memory(name: str) -> int:
    """Returns a line of the process's memory status, in KiB."""
    try:
        lines: list[Any] = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)
