"""One child process of a step host: its pipes, its output, its cancellation."""

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from . import linux
from .frames import Channel, Closed, Frame
from .redaction import redact

LINE = 2000
"""Maximum number of characters of a forwarded output line; the compute log keeps the whole."""

READ = 64 * 1024
"""Bytes read from one stream of one child per turn, so that none starves the others."""

BEHIND = 256 * 1024
"""Maximum backlog in a compute log file, in bytes; older output is skipped and counted."""

AFTER_TERM = 5.0
"""Seconds between SIGTERM and SIGKILL."""

TASK_ID = "DAGSTER_TASKIQ_TASK_ID"
"""Environment variable of a child and all its descendants: Taskiq's task id."""

BEFORE_BEGIN = 900.0
"""Maximum seconds until a child's task has begun: longer than it waits for Dagster's storage by
itself. A child that hangs over a dead connection would hold its slot and its message for hours.
"""

AFTER_OUTCOME = 60.0
"""Maximum seconds for a child to exit once its outcome is known."""


@dataclass
class Stream:
    """Output stream of a child: a pipe, or the compute log file it was redirected to."""

    name: str
    fd: int
    is_file: bool = False
    ended: bool = False
    """Whether the pipe has no writer any more."""
    rest: bytes = b""
    skipped: int = 0

    def lines(self) -> Iterator[str]:
        """Returns the lines that have arrived since the last call."""
        if self.is_file:
            self._skip()
        try:
            data = os.read(self.fd, READ)
        except BlockingIOError:
            return
        self.ended = not data and not self.is_file
        *whole, self.rest = (self.rest + data).split(b"\n")
        if len(self.rest) > LINE:
            whole.append(self.rest)
            self.rest = b""
        for line in whole:
            text = line.decode("utf-8", "replace")
            # Half a secret, at the cut, has no form that can be recognised.
            yield text if len(text) <= LINE else redact(text)[:LINE]

    def rest_of_it(self) -> Iterator[str]:
        """Returns all available lines, including an incomplete last one."""
        # A grandchild that keeps writing must not keep the host here.
        for _ in range(BEHIND // READ + 1):
            position = self.skipped, self.rest
            lines = list(self.lines())
            yield from lines
            if not lines and (self.skipped, self.rest) == position:
                break
        if self.rest:
            yield self.rest[:LINE].decode("utf-8", "replace")
            self.rest = b""

    def _skip(self) -> None:
        position = os.lseek(self.fd, 0, os.SEEK_CUR)
        behind = os.fstat(self.fd).st_size - position
        if behind > BEHIND:
            os.lseek(self.fd, behind - READ, os.SEEK_CUR)
            self.skipped += behind - READ
            self.rest = b""


@dataclass
class Child:
    """A process that runs one step or run."""

    task: str | None
    pid: int
    event_pipe: int
    streams: list[Stream]
    outcome: dict[str, Any] | None = None
    retry: dict[str, Any] | None = None
    begun: bool = False
    """Whether the task's claim is held and its attempt announced."""
    due: float = field(default_factory=lambda: time.monotonic() + BEFORE_BEGIN)
    """Deadline (monotonic seconds) by which the task must have begun."""
    silent: bool = False
    """Whether the other end closed the event pipe."""
    killed: bool = False
    canceled: bool = False
    plan: list[tuple[float, int]] = field(default_factory=list)
    """Due times (monotonic seconds) of signals."""
    strays: set[int] = field(default_factory=set)
    """Descendants that were seen while the child was being stopped."""
    usage: dict[str, Any] | None = None
    """Resource usage of the task, once it is known."""
    given_up: bool = False
    """Whether its supervision failed: it is killed, and only its end is awaited."""
    _rest: bytes = b""

    def fds(self) -> list[int]:
        return [self.event_pipe, *(stream.fd for stream in self.streams)]

    def watched(self) -> list[int]:
        """Returns the descriptors to wait for."""
        if self.given_up:
            return []
        pipes = [s.fd for s in self.streams if not s.is_file and not s.ended]
        return pipes if self.silent else [self.event_pipe, *pipes]

    def flush(self) -> None:
        """Sends queued bytes to the child."""

    def read_events(self) -> list[Frame]:
        """Reads events from the pipe; the outcome and the retry policy are kept here instead."""
        return [item for item in self._arrived() if not self._keep(item)]

    def _arrived(self) -> Iterator[Frame]:
        while True:
            try:
                data = os.read(self.event_pipe, READ)
            except BlockingIOError:
                return
            if not data:
                self.silent = True
                return
            *whole, self._rest = (self._rest + data).split(b"\n")
            yield from map(json.loads, whole)

    def _keep(self, item: Frame) -> bool:
        kind = item.pop("kind")
        if kind == "outcome":
            self.outcome = item
            self.plan.append((time.monotonic() + AFTER_OUTCOME, signal.SIGKILL))
        elif kind == "retry":
            self.retry = item
        elif kind == "log_file":
            self._follow(*next(iter(item.items())))
        else:
            self.begun = self.begun or kind == "begun"
            item["kind"] = kind
            return False
        return True

    def _follow(self, name: str, path: str) -> None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return  # only the live view lacks it
        self.streams.append(Stream(name, fd, is_file=True))

    def cancel(self, grace: float) -> None:
        """Sends SIGINT to the group now, SIGTERM after ``grace`` seconds, then SIGKILL."""
        if self.canceled:
            return
        self.canceled = True
        self._note_strays()
        linux.send_group(self.pid, signal.SIGINT)
        later = time.monotonic() + grace
        self.plan += [(later, signal.SIGTERM), (later + AFTER_TERM, signal.SIGKILL)]

    def kill(self) -> None:
        """Sends SIGKILL to the group and to every descendant outside of it."""
        self.killed = True
        self._note_strays()
        linux.send_group(self.pid, signal.SIGKILL)
        for pid in self.strays:
            if not linux.send(pid, signal.SIGKILL):
                print(f"process {pid} belongs to another user: it stays", file=sys.stderr)

    def _note_strays(self) -> None:
        self.strays.update(linux.descendants(self.pid))

    def signal_due(self) -> None:
        """Sends the signals that are due by now."""
        now = time.monotonic()
        waits = self.task is not None and not (self.begun or self.outcome or self.killed)
        if waits and now > self.due:
            print(f"process {self.pid} does not begin its task: it is killed", file=sys.stderr)
            self.kill()
        due = [signum for when, signum in self.plan if when <= now]
        self.plan = [item for item in self.plan if item[0] > now]
        for signum in due:
            if signum == signal.SIGKILL:
                self.kill()
            else:
                self._note_strays()
                linux.send_group(self.pid, signum)

    def _end_orphans(self) -> None:
        """Ends descendants that moved to another session, so that the next attempt does not meet
        them.

        Orphans have become children of this subreaper. They are recognised because they were seen
        below the child, or by the variable they inherited. Any other process is not ours.
        """
        for pid, parent in linux.parents().items():
            if parent != os.getpid():
                continue
            own = self.task is not None and linux.has_variable(pid, TASK_ID, self.task)
            if pid in self.strays or own:
                for descendant in [pid, *linux.descendants(pid)]:
                    linux.send(descendant, signal.SIGKILL)

    def clean_up(self) -> None:
        """Ends the remaining processes of a reaped child and closes its pipes."""
        linux.send_group(self.pid, signal.SIGKILL)
        if self.canceled or self.killed or self.outcome is None:
            self._end_orphans()
        self.close()

    def close(self) -> None:
        """Closes the host's ends of the child's pipes."""
        for fd in self.fds():
            os.close(fd)


@dataclass
class WarmChild(Child):
    """A process that has loaded the code (or is loading it) and runs one task after the other."""

    channel: Channel | None = None
    loaded: bool = False
    leaving: bool = False
    """Whether it gets no more tasks."""
    served: int = 0
    last: bool = False
    """Whether its current task is the last one it may run."""
    idle_since: float = 0.0

    @property
    def is_idle(self) -> bool:
        return self.loaded and not self.leaving and self.task is None

    def _arrived(self) -> Iterator[Frame]:
        assert self.channel is not None
        try:
            while frames := self.channel.receive():
                yield from frames
        except Closed:
            self.silent = True

    def flush(self) -> None:
        if self.channel is not None:
            with contextlib.suppress(Closed):  # its end is reaped
                self.channel.flush()

    def give(self, frame: Frame, *, last: bool) -> None:
        """Assigns a task to it."""
        assert self.channel is not None
        self.task = frame["id"]
        self.due = time.monotonic() + BEFORE_BEGIN
        self.served += 1
        self.last = last
        self.channel.send({**frame, "last": last})

    def finish_task(self) -> None:
        """Clears the task it has run."""
        files = [stream for stream in self.streams if stream.is_file]
        self.streams = [stream for stream in self.streams if not stream.is_file]
        for stream in files:
            os.close(stream.fd)
        self.task = self.outcome = self.retry = self.usage = None
        self.begun = False
        self.plan.clear()
        self.strays.clear()
        for stream in self.streams:
            stream.skipped = 0
        self.idle_since = time.monotonic()

    def dismiss(self) -> None:
        """Lets it end when its task has ended."""
        self.leaving = True
        if not self.silent and self.channel is not None:
            self.channel.end()

    def close(self) -> None:
        for stream in self.streams:
            os.close(stream.fd)
        if self.channel is not None:
            self.channel.close()
