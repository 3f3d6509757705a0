"""One child process of a step host: its pipes, its output, how it is being stopped."""

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from . import linux
from .redaction import redact

LINE = 2000
"""Characters of an output line that are passed on; the compute log keeps the whole."""

READ = 64 * 1024
"""Bytes taken from one stream of one child per turn, so that none starves the others."""

BEHIND = 256 * 1024
"""Bytes that may wait in a compute log file before what is older is skipped (and counted)."""

AFTER_TERM = 5.0
"""Seconds between SIGTERM and SIGKILL."""

TASK_ID = "DAGSTER_TASKIQ_TASK_ID"
"""Variable that a child and all that it starts have: Taskiq's task id."""

AFTER_OUTCOME = 60.0
"""Seconds a child may take to exit once its outcome is known."""


@dataclass
class Stream:
    """Output of a child: a pipe, or the compute log file it was redirected to."""

    name: str
    fd: int
    is_file: bool = False
    ended: bool = False
    """Whether nobody writes to the pipe any more."""
    rest: bytes = b""
    skipped: int = 0

    def lines(self) -> Iterator[str]:
        """The lines that have arrived since the last call."""
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
            # Half a secret, at the cut, has no form to be recognised by.
            yield text if len(text) <= LINE else redact(text)[:LINE]

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

    task: str
    pid: int
    news: int
    streams: list[Stream]
    outcome: dict[str, Any] | None = None
    retry: dict[str, Any] | None = None
    silent: bool = False
    """Whether the news pipe was closed at the other end."""
    killed: bool = False
    canceled: bool = False
    plan: list[tuple[float, int]] = field(default_factory=list)
    """When (monotonic seconds) which signal is due."""
    strays: set[int] = field(default_factory=set)
    """Descendants that were seen when the child was being stopped."""
    _rest: bytes = b""

    def fds(self) -> list[int]:
        return [self.news, *(stream.fd for stream in self.streams)]

    def watched(self) -> list[int]:
        """Descriptors that tell when there is something to read."""
        pipes = [s.fd for s in self.streams if not s.is_file and not s.ended]
        return pipes if self.silent else [self.news, *pipes]

    def read_news(self) -> list[dict[str, Any]]:
        """Events and the like; outcome and retry policy are kept here instead."""
        passed_on = []
        while True:
            try:
                data = os.read(self.news, READ)
            except BlockingIOError:
                break
            if not data:
                self.silent = True
                break
            *whole, self._rest = (self._rest + data).split(b"\n")
            for line in whole:
                item = json.loads(line)
                if not self._keep(item):
                    passed_on.append(item)
        return passed_on

    def _keep(self, item: dict[str, Any]) -> bool:
        kind = item.pop("kind")
        if kind == "outcome":
            self.outcome = item
            self.plan.append((time.monotonic() + AFTER_OUTCOME, signal.SIGKILL))
        elif kind == "retry":
            self.retry = item
        elif kind == "log_file":
            self._follow(*next(iter(item.items())))
        else:
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
        """SIGINT to the group now, SIGTERM after ``grace`` seconds, then SIGKILL."""
        if self.canceled:
            return
        self.canceled = True
        self._note_strays()
        linux.send_group(self.pid, signal.SIGINT)
        later = time.monotonic() + grace
        self.plan += [(later, signal.SIGTERM), (later + AFTER_TERM, signal.SIGKILL)]

    def kill(self) -> None:
        """SIGKILL to the group and to every descendant outside of it."""
        self.killed = True
        self._note_strays()
        linux.send_group(self.pid, signal.SIGKILL)
        for pid in self.strays:
            linux.send(pid, signal.SIGKILL)

    def _note_strays(self) -> None:
        self.strays.update(linux.descendants(self.pid))

    def signal_due(self) -> None:
        """Sends what the plan says is due by now."""
        now = time.monotonic()
        due = [signum for when, signum in self.plan if when <= now]
        self.plan = [item for item in self.plan if item[0] > now]
        for signum in due:
            if signum == signal.SIGKILL:
                self.kill()
            else:
                self._note_strays()
                linux.send_group(self.pid, signum)

    def _end_orphans(self) -> None:
        """Ends descendants that moved to another session: the next attempt must not meet them.

        Orphans have become children of this subreaper. They are told by having been seen below
        the child, or by the variable they inherited; any other process is not one of ours.
        """
        for pid, parent in linux.parents().items():
            if parent != os.getpid():
                continue
            if pid in self.strays or linux.has_variable(pid, TASK_ID, self.task):
                for descendant in [pid, *linux.descendants(pid)]:
                    linux.send(descendant, signal.SIGKILL)

    def clean_up(self) -> None:
        """After the child was reaped: ends what it left behind and closes its pipes."""
        linux.send_group(self.pid, signal.SIGKILL)
        if self.canceled or self.killed or self.outcome is None:
            self._end_orphans()
        for fd in self.fds():
            os.close(fd)
