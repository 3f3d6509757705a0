"""The warm process of one code location.

It loads the user's definitions once, and executes every step and run in a separate process: a
forked child, or one of a pool that loaded the same code. It has one loop over socket, signals and
pipes.
"""

import contextlib
import gc
import os
import signal
import sys
import threading
import time

from dagster import DagsterInstance

from . import child_main, forks, isolation, linux, memo, rehearsal
from .frames import Channel, Closed, Frame
from .inheritance import Inheritance
from .instances import open_instance, storage_kind
from .isolation import AUTO, FORK, FRESH, REUSE
from .locations import last_line
from .pool import Pool
from .redaction import print_exc, redact
from .source_watcher import Sources
from .supervision import Supervision

EXECUTOR = "dagster_taskiq.executor"
"""Imported by code whose run workers send steps."""


class StepHost(Supervision):
    """The step host: assigns tasks to processes."""

    def __init__(self, channel: Channel, bootstrap: list[str], descriptors: int) -> None:
        super().__init__(channel)
        self.bootstrap = bootstrap
        self.descriptors = descriptors
        """Limit of open files for user code, as at the start of the worker."""
        self.instance: DagsterInstance | None = None
        self.inheritance = Inheritance()
        self.mode = AUTO
        """Default isolation mode of tasks."""
        self.decides = True
        """Whether this process chooses the mode."""
        self.threads = 0
        self.touched: set[str] = set()
        self.has_code = False
        """Whether this process has loaded a code location; otherwise each of its children does."""
        self.sources: Sources | None = None

    def _serve(self, frame: Frame) -> None:
        kind = frame["kind"]
        if kind == "load":
            self._load(frame)
        elif kind in ("step", "run"):
            self._start(frame)
        elif kind == "ping":
            self.channel.send({"kind": "pong"})
        elif kind == "stop":
            self.draining = True
            if not frame["drain"]:
                raise Closed("stop")
        else:
            self._stop_task(frame)

    def _stop_task(self, frame: Frame) -> None:
        task, grace = frame["id"], frame.get("grace_ms", 0) / 1000
        kills = frame["kind"] == "kill"
        for child in self._all():
            if child.task == task:
                child.kill() if kills else child.cancel(grace)
        if self.pool is not None:
            self.pool.kill(task) if kills else self.pool.cancel(task, grace)

    def _load(self, frame: Frame) -> None:
        started = time.monotonic()
        wanted = frame.get("isolation", AUTO)
        limits = {
            "kind": "load",
            "origin": frame["origin"],
            "instance_ref": frame["instance_ref"],
            "descriptors": frame.get("descriptors") or self.descriptors,
            "max_steps": frame.get("max_steps", 1),
            "max_memory_mib": frame.get("max_memory_mib", 0),
        }
        self.descriptors = limits["descriptors"]
        self.pool = Pool(self.bootstrap, limits, self._begun, self._refuse)
        opened = False
        try:
            memo.install()
            self.instance = open_instance(frame["instance_ref"])
            opened = True
            with self.inheritance.generators.watched():
                child_main.load(self.instance, frame["origin"])
            self.has_code = frame["origin"] is not None
            if wanted in (AUTO, FORK):
                rehearsal.rehearse(self.instance)
                if EXECUTOR in sys.modules:
                    _warm_up_for_runs()
        except BaseException as error:
            print_exc()
            # Without Dagster's storage nothing is known about the code.
            self.channel.send(
                {"kind": "load_error", "reason": last_line(error)[:4000], "passing": not opened}
            )
            self.draining = True
            return
        self.inheritance.take()
        self._take_signals()
        why = self._decide(wanted)
        gc.collect()
        gc.freeze()
        taken = round((time.monotonic() - started) * 1000)
        self.channel.send({"kind": "ready", "load_ms": taken, "isolation": self.mode, "why": why})
        if self.mode != FORK:
            self.pool.arrange()

    def _decide(self, wanted: str) -> str:
        """Sets the mode; returns the reason for it, in a sentence."""
        found = isolation.objections(self.inheritance, frozenset(self._own_fds()))
        self.threads = threading.active_count()
        self.decides = wanted == AUTO
        if wanted != AUTO and (wanted != FORK or linux.AVAILABLE):
            self.mode = wanted
            although = f", although loading the code left {', '.join(found)}" if found else ""
            return f"configured{although if wanted == FORK else ''}"
        self.mode = REUSE if found else FORK
        if not found:
            return "loading the code left nothing that forked processes must not share"
        return (
            f"loading the code left {', '.join(found)}: made in a resource or in the step instead, "
            "it would let steps be forked, which is faster"
        )

    def _decide_again(self) -> None:
        """Decides again: user code may start threads after it was loaded."""
        if self.decides and self.mode == FORK and threading.active_count() != self.threads:
            why = self._decide(AUTO)
            if self.mode != FORK:
                self.channel.send({"kind": "isolation", "isolation": self.mode, "why": why})

    def _take_signals(self) -> None:
        """Takes signals back from user code."""
        read, write = os.pipe()
        os.set_blocking(read, False)
        os.set_blocking(write, False)
        self.wakeup = (read, write)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._terminate)
        # From now on there may be children to clean up after, which SIGKILL would not allow.
        linux.die_with_parent(os.getppid(), signal.SIGTERM)
        self.sources = Sources()

    def _terminate(self, *_: object) -> None:
        self.terminated = True

    def _start(self, frame: Frame) -> None:
        changed = self.sources is not None and self.sources.changed()
        if changed and not frame.get("outdated"):
            self.channel.send({"kind": "stale", "id": frame["id"], "reason": None})
            return
        assert self.instance is not None and self.pool is not None
        self._decide_again()
        wanted = frame.get("isolation") or self.mode
        if wanted == AUTO:
            wanted = self.mode
        if wanted != FORK or not linux.AVAILABLE:
            # A run keeps its process for long, and loads what it wants: its process runs nothing
            # else.
            self.pool.submit(frame, alone=wanted == FRESH or frame["kind"] == "run")
            return
        self._touch_database(frame["run_id"])
        if frame["kind"] == "step" and self.has_code:
            memo.prepare(self.instance, frame["run_id"])
        own = self._own_fds()
        try:
            child = forks.start(frame, self.instance, self.inheritance, self.descriptors, own)
        except OSError as error:
            self._refuse(frame["id"], f"no process can be forked: {error}")
            return
        self.children[child.pid] = child
        self._begun(child)

    def _touch_database(self, run_id: str) -> None:
        """Opens the run's own SQLite file once, which spares every child its schema check."""
        if self.instance is None or run_id in self.touched:
            return
        self.touched.add(run_id)
        if storage_kind(self.instance) == "sqlite":
            try:
                self.instance.get_run_step_stats(run_id, step_keys=[""])
            except Exception as error:
                text = redact(f"{type(error).__name__}: {error}")
                print(f"run {run_id}: {text}", file=sys.stderr)


def _warm_up_for_runs() -> None:
    """Loads modules that run workers need: they are forked from here and would otherwise each load
    them.

    The library is the user's. In another version the modules are elsewhere, and are not preloaded.
    """
    with contextlib.suppress(ImportError, AttributeError):
        import dagster_taskiq.run_loop  # noqa: F401
        from dagster_taskiq import aws

        aws.warm_up()
