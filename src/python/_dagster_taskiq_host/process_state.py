"""The state of a process that a step may change by accident for the next one.

It is saved once the code is loaded, and restored before each step that the process runs.
"""

import asyncio
import contextlib
import gc
import locale
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import warnings
from typing import Any

from . import cpython

STREAMS = ("stdin", "stdout", "stderr", "excepthook", "displayhook", "unraisablehook")


class ProcessState:
    """Saved state of the process."""

    def __init__(self) -> None:
        self._folder = os.open(".", os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_DIRECTORY", 0))
        self._environment = dict(os.environ)
        self._path = list(sys.path)
        self._arguments = list(sys.argv)
        self._streams = {name: getattr(sys, name) for name in STREAMS}
        self._umask = _umask()
        self._signals = {signum: signal.getsignal(signum) for signum in signal.valid_signals()}
        self._locale = locale.setlocale(locale.LC_ALL)
        self._filters = list(warnings.filters)
        self._show_warning = warnings.showwarning
        self._recursion = sys.getrecursionlimit()
        self._switch = sys.getswitchinterval()
        self._timeout = socket.getdefaulttimeout()
        self._temporary = tempfile.tempdir
        self._collects = gc.isenabled()
        self._thread_hook = threading.excepthook
        self._loggers = {name: _LoggerState(logger) for name, logger in _loggers().items()}
        self._logging_disabled = logging.root.manager.disable
        self._policy = asyncio.get_event_loop_policy()
        self._loop = cpython.loop_of_policy(self._policy)

    def restore(self) -> None:
        """Restores everything; state that cannot be restored is left, since the step must run."""
        for part in (
            self._restore_surroundings,
            self._restore_interpreter,
            self._restore_signals,
            self._restore_warnings,
            self._restore_logging,
            self._restore_loop_policy,
        ):
            with contextlib.suppress(Exception):
                part()

    def _restore_surroundings(self) -> None:
        os.umask(self._umask)
        for name in os.environ.keys() - self._environment.keys():
            del os.environ[name]
        for name, value in self._environment.items():
            if os.environ.get(name) != value:
                os.environ[name] = value
        if locale.setlocale(locale.LC_ALL) != self._locale:
            locale.setlocale(locale.LC_ALL, self._locale)
        os.fchdir(self._folder)

    def _restore_interpreter(self) -> None:
        sys.path[:] = self._path
        sys.argv[:] = self._arguments
        for name, value in self._streams.items():
            setattr(sys, name, value)
        sys.settrace(None)
        sys.setprofile(None)
        sys.setrecursionlimit(self._recursion)
        sys.setswitchinterval(self._switch)
        socket.setdefaulttimeout(self._timeout)
        tempfile.tempdir = self._temporary
        threading.excepthook = self._thread_hook
        (gc.enable if self._collects else gc.disable)()

    def _restore_signals(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        for signum, handler in self._signals.items():
            # None: not set from Python, and must not be set from there.
            if handler is not None and signal.getsignal(signum) != handler:
                signal.signal(signum, handler)

    def _restore_warnings(self) -> None:
        warnings.showwarning = self._show_warning
        if warnings.filters != self._filters:
            # Any change through the public functions makes modules forget their decisions.
            warnings.simplefilter("default", append=True)
            warnings.filters[:] = self._filters  # type: ignore[index]

    def _restore_logging(self) -> None:
        logging.disable(self._logging_disabled)
        for name, logger in _loggers().items():
            state = self._loggers.get(name)
            if state is not None:
                state.restore(logger)

    def _restore_loop_policy(self) -> None:
        policy = asyncio.get_event_loop_policy()
        if policy is not self._policy:
            asyncio.set_event_loop_policy(self._policy)
        elif type(policy) is asyncio.DefaultEventLoopPolicy:
            # ``asyncio.run`` leaves it without a loop, and unwilling to create one.
            self._policy = asyncio.DefaultEventLoopPolicy()
            asyncio.set_event_loop_policy(self._policy)
            if self._loop is not None:
                asyncio.set_event_loop(self._loop)


class _LoggerState:
    def __init__(self, logger: logging.Logger) -> None:
        self._level = logger.level
        self._handlers = list(logger.handlers)
        self._filters = list(logger.filters)
        self._propagate = logger.propagate
        self._disabled = logger.disabled

    def restore(self, logger: logging.Logger) -> None:
        if logger.level != self._level:
            logger.setLevel(self._level)
        logger.handlers[:] = self._handlers
        logger.filters[:] = self._filters
        logger.propagate = self._propagate
        logger.disabled = self._disabled


def _loggers() -> dict[str, logging.Logger]:
    named: dict[str, Any] = dict(logging.root.manager.loggerDict)
    found = {name: logger for name, logger in named.items() if isinstance(logger, logging.Logger)}
    return {"": logging.root, **found}


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
