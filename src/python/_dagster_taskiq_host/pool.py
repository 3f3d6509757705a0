"""The warm processes of a step host: their number, and the task of each.

As many are kept as tasks have run at once, which the worker's slots bound. A process that takes no
further task is replaced before it is needed.
"""

import os
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from .children import Stream, WarmChild
from .frames import Channel, Closed, Frame

IDLE = 300.0
"""Seconds after which an idle process is ended, if there is another one."""

RETRY = 5.0
"""Seconds after a process failed to load before another is started without need."""


@dataclass
class Waiting:
    """A task that has no process yet."""

    frame: Frame
    alone: bool
    """Whether its process runs only this task."""
    grace: float | None = None
    """Set once it is cancelled; the process gets the cancellation when it is assigned."""


class Pool:
    """Decides; the host's loop reads, writes and reaps."""

    def __init__(
        self,
        bootstrap: list[str],
        load: Frame,
        begun: Callable[[WarmChild], None],
        refused: Callable[[str, str], None],
    ) -> None:
        self.processes: dict[int, WarmChild] = {}
        self.waiting: deque[Waiting] = deque()
        self._bootstrap = bootstrap
        self._load = load
        self._begun = begun
        """Called with a process that got a task."""
        self._refused = refused
        """Called with the id of a task that gets no process, and the reason."""
        self._peak = 1
        self._alone = False
        self._closing = False
        self._failed_at = -RETRY
        self._limit = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2

    @property
    def tasks(self) -> int:
        return len(self.waiting) + sum(1 for p in self.processes.values() if p.task is not None)

    def submit(self, frame: Frame, *, alone: bool) -> None:
        """Runs the task in a process, as soon as there is one."""
        self.waiting.append(Waiting(frame, alone))
        self._alone = alone
        self._peak = max(self._peak, self.tasks)
        self.arrange()

    def arrange(self) -> None:
        """Assigns tasks to idle processes, and starts the processes that will be needed."""
        for waiting in list(self.waiting):
            process = self._idle(alone=waiting.alone)
            if process is None:
                continue
            self.waiting.remove(waiting)
            self._give(process, waiting)
        self._start_missing()

    def _idle(self, *, alone: bool) -> WarmChild | None:
        idle = [process for process in self.processes.values() if process.is_idle]
        if alone:
            idle = [process for process in idle if process.served == 0]
        # The most used first: unused ones are kept for tasks that need a process of their own.
        return max(idle, key=lambda process: process.served, default=None)

    def _give(self, process: WarmChild, waiting: Waiting) -> None:
        last = waiting.alone or process.served + 1 >= self._load["max_steps"]
        try:
            process.give(waiting.frame, last=last)
        except Closed:
            # It has ended meanwhile; the task has not begun.
            process.task = None
            process.dismiss()
            self.waiting.appendleft(waiting)
            return
        self._begun(process)
        if waiting.grace is not None:
            process.cancel(waiting.grace)

    def _start_missing(self) -> None:
        processes = self.processes.values()
        loading = sum(1 for process in processes if not process.loaded and not process.leaving)
        idle = sum(1 for process in processes if process.is_idle)
        coming = sum(1 for p in processes if p.task is not None and not p.last and not p.leaving)
        # A process for each step: half as many again as run at once wait for their turn.
        wanted = (self._peak + 1) // 2 if self._alone else self._peak - coming
        unused = sum(1 for process in processes if process.is_idle and process.served == 0)
        ready = unused if self._alone else idle
        missing = max(wanted, len(self.waiting)) - ready - loading
        # Used processes are no use to a task that needs one of its own.
        alone = sum(1 for waiting in self.waiting if waiting.alone)
        missing = max(missing, alone - unused - loading)
        failed = time.monotonic() - self._failed_at < RETRY
        if (failed or self._closing) and not self.waiting:
            return
        try:
            # More at once would only compete for the processors.
            for _ in range(min(missing, self._limit - loading)):
                self._start()
        except OSError as error:
            self._give_up(f"no process can be started: {error}")

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        pipes: list[tuple[int, int]] = []
        try:
            for _ in range(2):
                pipes.append(os.pipe())
            process = subprocess.Popen(
                [*self._bootstrap, "warm", str(os.getpid())],
                stdin=theirs.fileno(),
                stdout=pipes[0][1],
                stderr=pipes[1][1],
                start_new_session=True,
            )
        except OSError:
            ours.close()
            for read, _ in pipes:
                os.close(read)
            raise
        finally:
            theirs.close()
            for _, write in pipes:
                os.close(write)
        # Reaped by the host's loop; Popen must not warn about it or wait for it.
        process.returncode = 0
        for read, _ in pipes:
            os.set_blocking(read, False)
        streams = [Stream("stdout", pipes[0][0]), Stream("stderr", pipes[1][0])]
        channel = Channel(ours)
        child = WarmChild(None, process.pid, channel.fileno(), streams, channel=channel)
        channel.send(self._load)
        self.processes[child.pid] = child

    def loaded(self, process: WarmChild) -> None:
        """Handles a process that has loaded the code."""
        process.loaded = True
        process.idle_since = time.monotonic()
        self.arrange()

    def failed(self, process: WarmChild, reason: str) -> None:
        """Handles a process that could not load the code."""
        process.leaving = True
        self._failed_at = time.monotonic()
        print(f"a process for steps cannot be used: {reason}", file=sys.stderr)
        self._give_up(reason)

    def _give_up(self, reason: str) -> None:
        """Refuses waiting tasks, unless some process will become free."""
        if any(not process.leaving for process in self.processes.values()):
            return
        for waiting in self.waiting:
            self._refused(waiting.frame["id"], reason)
        self.waiting.clear()

    def ended(self, process: WarmChild) -> None:
        """Handles a reaped process."""
        self.processes.pop(process.pid, None)
        if not process.loaded and not process.leaving:
            self.failed(process, "it ended while it loaded the code")
        self.arrange()

    def cancel(self, task: str, grace: float) -> None:
        """Interrupts a waiting task as soon as it has a process."""
        for waiting in self.waiting:
            if waiting.frame["id"] == task and waiting.grace is None:
                waiting.grace = grace

    def kill(self, task: str) -> None:
        """Gives a waiting task back."""
        for waiting in list(self.waiting):
            if waiting.frame["id"] == task:
                self.waiting.remove(waiting)
                self._refused(task, "it was stopped before it began")

    def shrink(self) -> None:
        """Ends a process that has been idle for long, if it is not the only one."""
        idle = [process for process in self.processes.values() if process.is_idle]
        if len(self.processes) < 2 or not idle:
            return
        longest = min(idle, key=lambda process: process.idle_since)
        if time.monotonic() - longest.idle_since > IDLE:
            self._peak = max(1, self._peak - 1)
            longest.dismiss()

    def dismiss(self) -> None:
        """Ends the idle processes: no more tasks will come."""
        self._closing = True
        if self.waiting:
            return
        for process in self.processes.values():
            if process.task is None and not process.leaving:
                process.dismiss()
