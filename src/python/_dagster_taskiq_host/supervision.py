"""The loop of a step host over its socket, signals and the pipes of its children.

It forwards their messages and output, and reports their ends. A fault of one child does not affect
the others.
"""

import contextlib
import os
import resource
import selectors
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

from . import linux
from .children import Child, Stream, WarmChild
from .frames import Channel, Closed, Frame
from .pool import Pool
from .redaction import print_exc

TICK = 0.25
"""Seconds between looks at compute log files and at signals that are due."""

SHRINK = 30.0
"""Seconds between looks for idle processes."""

CLEANUP = 5.0
"""Seconds spent on ending descendants when the worker is gone."""


class Supervision(ABC):
    """State of the loop."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.children: dict[int, Child] = {}
        """Children outside the pool, which has its own table."""
        self.pool: Pool | None = None
        self.draining = False
        self.terminated = False
        self.wakeup: tuple[int, int] | None = None
        """A pipe that signals are written to."""

    @abstractmethod
    def _serve(self, frame: Frame) -> None:
        """Handles a frame of the worker."""

    def run(self) -> None:
        """Serves until the worker requests the stop or is gone; leaves no process behind."""
        try:
            while not (self.draining and not self._busy() and not self.channel.has_output):
                self._turn()
        except Closed:
            pass
        finally:
            self._end_everything()

    def _busy(self) -> bool:
        return bool(self.children) or (self.pool is not None and self.pool.tasks > 0)

    def _all(self) -> list[Child]:
        warm = [] if self.pool is None else list(self.pool.processes.values())
        return [*self.children.values(), *warm]

    def _turn(self) -> None:
        with selectors.PollSelector() as selector:
            for channel in self._channels():
                writing = selectors.EVENT_WRITE if channel.has_output else 0
                selector.register(channel, selectors.EVENT_READ | writing)
            if self.wakeup is not None:
                selector.register(self.wakeup[0], selectors.EVENT_READ)
            for child in self._all():
                for fd in child.watched():
                    if fd not in selector.get_map():
                        selector.register(fd, selectors.EVENT_READ)
            ready = {key.fd: events for key, events in selector.select(self._timeout())}
        if self.terminated:
            raise Closed("SIGTERM")
        self._serve_socket(ready.get(self.channel.fileno(), 0))
        if self.wakeup is not None and self.wakeup[0] in ready:
            os.read(self.wakeup[0], 4096)
        for child in self._all():
            self._look_after(child, ready)
        self._reap()
        if self.pool is not None:
            self.pool.dismiss() if self.draining else self.pool.shrink()

    def _channels(self) -> list[Channel]:
        warm = [] if self.pool is None else self.pool.processes.values()
        open_ones = [p.channel for p in warm if p.channel and not p.silent and not p.given_up]
        return [self.channel, *open_ones]

    def _timeout(self) -> float | None:
        if self._busy():
            return TICK
        return None if self.pool is None or not self.pool.processes else SHRINK

    def _serve_socket(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self.channel.flush()
        if events & selectors.EVENT_READ:
            for frame in self.channel.receive():
                self._serve(frame)

    def _begun(self, child: Child) -> None:
        self.channel.send({"kind": "forked", "id": child.task, "pid": child.pid})

    def _refuse(self, task: str, reason: str) -> None:
        """Reports that the task has not begun, and will not begin here."""
        self.channel.send({"kind": "cannot_start", "id": task, "reason": reason[:4000]})

    def _own_fds(self) -> list[int]:
        """The host's own descriptors."""
        fds = [self.channel.fileno(), *(self.wakeup or ())]
        for child in self._all():
            fds += child.fds()
        return fds

    def _look_after(self, child: Child, ready: dict[int, int]) -> None:
        """Confines a failure to this child: it is ended, the others continue."""
        try:
            if ready.get(child.event_pipe, 0) & selectors.EVENT_WRITE:
                child.flush()
            if child.event_pipe in ready and not child.given_up:
                self._take_events(child)
            for stream in [] if child.given_up else child.streams:
                if stream.is_file or stream.fd in ready:
                    self._pass_on_lines(child, stream, stream.lines())
            child.signal_due()
        except Closed:
            raise
        except Exception:
            print_exc()
            print(f"process {child.pid} cannot be looked after and is killed", file=sys.stderr)
            child.given_up = True
            child.kill()

    def _take_events(self, child: Child) -> None:
        for item in child.read_events():
            kind = item["kind"]
            if not isinstance(child, WarmChild) or kind not in ("loaded", "load_error", "done"):
                self.channel.send({**item, "id": child.task})
            elif kind == "done":
                self._task_done(child, item)
            elif self.pool is not None:
                if kind == "loaded":
                    self.pool.loaded(child)
                else:
                    self.pool.failed(child, item["reason"])

    def _task_done(self, child: WarmChild, item: Frame) -> None:
        """Handles a pool process that has run its task; its output has arrived."""
        child.usage = item
        if item["leaving"] is not None or child.canceled or child.killed or child.leaving:
            child.dismiss()  # the task ends with its process
            return
        self._pass_on_rest(child)
        self._report_end(child, item["code"])
        child.finish_task()
        if self.pool is not None:
            self.pool.arrange()

    def _pass_on_rest(self, child: Child) -> None:
        for stream in child.streams:
            self._pass_on_lines(child, stream, stream.rest_of_it())

    def _pass_on_lines(self, child: Child, stream: Stream, lines: Iterable[str]) -> None:
        for line in lines:
            if child.task is None:
                print(line, file=sys.stderr if stream.name == "stderr" else sys.stdout, flush=True)
                continue
            self.channel.send(
                {"kind": "log", "id": child.task, "stream": stream.name, "line": line}
            )

    def _reap(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            warm = None if self.pool is None else self.pool.processes.get(pid)
            child = self.children.pop(pid, None) or warm
            # Others are orphans that this subreaper inherited.
            if child is not None:
                self._finish(child, status, usage)
            if warm is not None and self.pool is not None:
                self.pool.ended(warm)

    def _finish(self, child: Child, status: int, usage: resource.struct_rusage) -> None:
        """Reports how a process ended, with all that is known."""
        with _shown():
            if not child.given_up:
                self._take_events(child)
                self._pass_on_rest(child)
        if child.usage is None:
            cpu_ms = round((usage.ru_utime + usage.ru_stime) * 1000)
            child.usage = {"cpu_ms": cpu_ms, "max_rss_kib": usage.ru_maxrss}
        if child.task is not None:
            self._report_end(child, os.waitstatus_to_exitcode(status))
        with _shown():
            child.clean_up()

    def _report_end(self, child: Child, code: int) -> None:
        outcome = child.outcome
        if outcome is not None and outcome["outcome"] == "stale":
            self.channel.send({"kind": "stale", "id": child.task, "reason": outcome["reason"]})
            return
        usage = child.usage or {}
        self.channel.send(
            {
                "kind": "exit",
                "id": child.task,
                "pid": child.pid,
                "code": code if code >= 0 else None,
                "signal": -code if code < 0 else None,
                "outcome": outcome,
                "retry": child.retry,
                "begun": child.begun,
                "canceled": child.canceled,
                "killed": child.killed,
                "cpu_ms": usage["cpu_ms"],
                "max_rss_kib": usage["max_rss_kib"],
                "skipped": sum(stream.skipped for stream in child.streams),
                "dropped": self.channel.dropped,
            }
        )

    def _end_everything(self) -> None:
        for child in self._all():
            child.kill()
        deadline = time.monotonic() + CLEANUP
        while linux.AVAILABLE and time.monotonic() < deadline:
            left = [
                pid for pid in linux.descendants(os.getpid()) if linux.send(pid, signal.SIGKILL)
            ]
            if not left:
                return
            with contextlib.suppress(ChildProcessError):
                os.wait4(-1, os.WNOHANG)
            time.sleep(0.01)


@contextlib.contextmanager
def _shown() -> Iterator[None]:
    """Continues after an exception that concerns a single child."""
    try:
        yield
    except Closed:
        raise
    except Exception:
        print_exc()
