"""The Python stacks of a process, for a worker that asks for them.

The handler is written in C: it needs neither the interpreter nor its lock, so it also answers in a
process that hangs in C code. It writes to a file in memory, which the worker finds in ``/proc`` by
its name, and writes nothing anywhere else.
"""

import contextlib
import faulthandler
import fcntl
import os
import signal

from . import linux

FILE = "dagster-taskiq-stacks"
"""Name of the file in memory. ``worker::stack`` has the same."""

SIGNAL = signal.SIGURG
"""Ignored by a process that has no handler for it. The handler has SA_RESTART, and Python repeats
what is interrupted all the same (PEP 475)."""


def offer() -> None:
    """Registers the handler; where that is not possible, this process has no stacks to show."""
    with contextlib.suppress(OSError, ValueError, RuntimeError, AttributeError):
        fd = linux.memory_file(FILE)
        # At its end, wherever that is: the reader empties the file.
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
        faulthandler.register(SIGNAL, file=fd, all_threads=True, chain=False)
