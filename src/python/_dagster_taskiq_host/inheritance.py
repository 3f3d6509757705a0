"""State that loading left in this process, and its reset in a forked child.

A child finds itself in the state of a process that has just loaded the same code.
"""

import contextlib
import gc
import io
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

from . import cpython, linux
from .generators import Generators

TAKEN = (signal.SIGCHLD, signal.SIGTERM)
"""Signals that the host handles itself. A child has the handlers that user code set for them."""

Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None


class Inheritance:
    """State found once after loading: in a child the collector no longer shows frozen objects."""

    def __init__(self) -> None:
        self.generators = Generators()
        self.executors: list[ThreadPoolExecutor] = []
        self.aliases: dict[int, list[int]] = {1: [], 2: []}
        """Copies of descriptors 1 and 2 through which user code writes."""
        self.hung_up: list[int] = []
        """Connections that are already closed by their other end in a child."""
        self._loops: list[cpython.Loop] = []
        self._files: list[io.IOBase] = []
        self._handlers: dict[signal.Signals, Handler] = {}

    def take(self) -> None:
        """Finds the relevant objects, and flushes buffered output."""
        objects = gc.get_objects()
        # The type is checked, not the object: proxies answer ``isinstance`` for the object they
        # wrap, or raise an exception.
        for found in objects:
            kind = type(found)
            if issubclass(kind, ThreadPoolExecutor):
                self.executors.append(found)
            elif issubclass(kind, cpython.Loop):
                self._loops.append(found)
            elif issubclass(kind, (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)):
                self._files.append(found)
        self.generators.take(objects)
        self._handlers = {signum: signal.getsignal(signum) for signum in TAKEN}
        self.aliases = {fd: linux.aliases(fd) for fd in (1, 2)}
        self.flush()

    def flush(self) -> None:
        """Flushes buffered output: otherwise each child would write it again."""
        flush_all((sys.stdout, sys.stderr, *self._files))

    def flush_open_files(self) -> None:
        """Flushes files that user code still holds open."""
        opened = [found for found in gc.get_objects() if type(found) in _BUFFERED]
        flush_all((*opened, *self._files))

    def redirect(self, fd: int, target: int) -> None:
        """Redirects ``fd``, and user code's copies of it, to ``target``."""
        for number in (fd, *self.aliases[fd]):
            os.dup2(target, number, inheritable=number <= 2)

    def forget(self) -> None:
        """Resets a child before anything of the task runs."""
        for signum, handler in self._handlers.items():
            if handler is not None:
                signal.signal(signum, handler)
        cpython.forget_exit_handlers()
        cpython.forget_processes()
        cpython.forget_executor_threads()
        for executor in self.executors:
            cpython.revive_executor(executor)
        for loop in self._loops:
            cpython.revive_loop(loop)
        for fd in self.hung_up:
            own, other = socket.socketpair()
            other.close()
            os.dup2(own.detach(), fd, inheritable=False)
        self.generators.renew()

    def leave(self, code: int) -> None:
        """Ends a forked child. Files that user code still holds open are flushed, as when they are
        freed.
        """
        with _shown():
            finish_reporting()
        try:
            with _shown():
                self.flush_open_files()
        finally:
            cpython.end(code, lambda: flush_all((sys.stdout, sys.stderr)))


_BUFFERED = {io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom}


def flush_all(streams: Any) -> None:
    """Flushes what can be flushed: user code may have replaced a stream by any object."""
    for stream in streams:
        with contextlib.suppress(Exception):
            stream.flush()


def finish_reporting(milliseconds: int = 3000) -> None:
    """Makes libraries that report in the background send a step's reports.

    In a separate process their exit handlers do that; here those belong to the host.
    """
    sentry = sys.modules.get("sentry_sdk")
    if sentry is not None:
        sentry.flush(timeout=milliseconds / 1000)
    for module, getter in (
        ("opentelemetry.trace", "get_tracer_provider"),
        ("opentelemetry.metrics", "get_meter_provider"),
        ("opentelemetry._logs", "get_logger_provider"),
    ):
        api = sys.modules.get(module)
        flush = getattr(getattr(api, getter)(), "force_flush", None) if api is not None else None
        if flush is not None:
            flush(milliseconds)


@contextlib.contextmanager
def _shown() -> Iterator[None]:
    try:
        yield
    except BaseException:
        sys.excepthook(*sys.exc_info())
