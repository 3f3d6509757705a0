"""A forked child of a host that has loaded the code."""

import os
import signal
from collections.abc import Iterable

from dagster import DagsterInstance

from . import child_main, isolation, linux, stacks
from .children import TASK_ID, Child, Stream
from .frames import Frame
from .inheritance import Inheritance
from .redaction import print_exc


def start(
    frame: Frame,
    instance: DagsterInstance,
    inheritance: Inheritance,
    descriptors: int,
    own_fds: Iterable[int],
) -> Child:
    """Forks a child that runs a task. ``own_fds`` are the host's, which the child closes.

    Raises:
        OSError: the system has no descriptors, memory or processes left.

    """
    pipes: list[tuple[int, int]] = []
    try:
        for _ in range(3):
            pipes.append(os.pipe())
        inheritance.flush()
        host = os.getpid()
        pid = isolation.fork()
    except OSError:
        for pair in pipes:
            for fd in pair:
                os.close(fd)
        raise
    if not pid:
        _be_child(frame, instance, inheritance, descriptors, host, own_fds, pipes)
    for read, write in pipes:
        os.close(write)
        os.set_blocking(read, False)
    event_pipe, out, err = (read for read, _ in pipes)
    return Child(frame["id"], pid, event_pipe, [Stream("stdout", out), Stream("stderr", err)])


def _be_child(
    frame: Frame,
    instance: DagsterInstance,
    inheritance: Inheritance,
    descriptors: int,
    host: int,
    own_fds: Iterable[int],
    pipes: list[tuple[int, int]],
) -> None:
    """Runs everything in the child; does not return."""
    code = 70
    try:
        os.setsid()
        linux.die_with_parent(host, signal.SIGKILL)
        linux.reset_signals()
        os.environ[TASK_ID] = frame["id"]
        # Descriptors that user code opened while it was loaded stay open: closing them would hand
        # their numbers to other files.
        for fd in (*own_fds, *(read for read, _ in pipes)):
            os.close(fd)
        for number in (1, 2):
            inheritance.redirect(number, pipes[number][1])
        for number in (1, 2):
            os.close(pipes[number][1])
        linux.set_descriptor_limit(descriptors)
        inheritance.forget()
        stacks.offer()
        code = child_main.perform(instance, frame, child_main.to_pipe(pipes[0][1]), inheritance)
    except BaseException:
        print_exc()
    finally:
        inheritance.leave(code)
