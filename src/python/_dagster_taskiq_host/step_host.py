"""The warm process of one code location: loads the user's definitions once and gives every step
and run a forked child of its own. Single-threaded; one loop over socket, signals and pipes.
"""

import contextlib
import gc
import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import time

from dagster import DagsterInstance
from dagster._utils.hosted_user_process import recon_repository_from_origin

from . import linux, memo, work
from .children import TASK_ID, Child, Stream
from .frames import Channel, Closed, Frame
from .instances import open_instance, storage_kind
from .locations import last_line
from .messages import unpack_origin
from .redaction import print_exc, redact
from .sources import Sources

TICK = 0.25
"""Seconds between looks at compute log files and at signals that are due."""

CLEANUP = 5.0
"""Seconds in which descendants are hunted down when the worker is gone."""


class StepHost:
    """State of the loop."""

    def __init__(self, channel: Channel, bootstrap: list[str]) -> None:
        self.channel = channel
        self.bootstrap = bootstrap
        self.children: dict[int, Child] = {}
        self.instance: DagsterInstance | None = None
        self.instance_ref: str | None = None
        self.draining = False
        self.terminated = False
        self.forks = linux.AVAILABLE
        self.touched: set[str] = set()
        self.sources: Sources | None = None
        self.wakeup: tuple[int, int] | None = None

    def run(self) -> None:
        """Serves until the worker asks to stop or is gone; leaves no process behind."""
        try:
            while not (self.draining and not self.children and not self.channel.wants_write):
                self._turn()
        except Closed:
            pass
        finally:
            self._end_everything()

    def _turn(self) -> None:
        with selectors.PollSelector() as selector:
            writing = selectors.EVENT_WRITE if self.channel.wants_write else 0
            selector.register(self.channel, selectors.EVENT_READ | writing)
            if self.wakeup is not None:
                selector.register(self.wakeup[0], selectors.EVENT_READ)
            for child in self.children.values():
                for fd in child.watched():
                    selector.register(fd, selectors.EVENT_READ)
            ready = {key.fd: events for key, events in selector.select(self._timeout())}
        if self.terminated:
            raise Closed("SIGTERM")
        self._serve_socket(ready.get(self.channel.fileno(), 0))
        if self.wakeup is not None and self.wakeup[0] in ready:
            os.read(self.wakeup[0], 4096)
        for child in list(self.children.values()):
            self._pass_on(child, ready)
            child.signal_due()
        self._reap()

    def _timeout(self) -> float | None:
        return TICK if self.children else None

    def _serve_socket(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self.channel.flush()
        if events & selectors.EVENT_READ:
            for frame in self.channel.receive():
                self._serve(frame)

    def _serve(self, frame: Frame) -> None:
        kind = frame["kind"]
        if kind == "load":
            self._load(frame)
        elif kind in ("step", "run"):
            self._start(frame)
        elif kind == "stop":
            self.draining = True
            if not frame["drain"]:
                raise Closed("stop")
        else:
            for child in self.children.values():
                if child.task == frame["id"]:
                    child.kill() if kind == "kill" else child.cancel(frame["grace_ms"] / 1000)

    def _load(self, frame: Frame) -> None:
        started = time.monotonic()
        self.instance_ref = frame["instance_ref"]
        try:
            self.instance = open_instance(self.instance_ref)
            # None: no code is kept loaded, each process loads its own.
            if frame["origin"] is not None:
                origin = unpack_origin(frame["origin"])
                # As Dagster's code servers do. What is for one location of the workspace alone is
                # set with its runs: which one this is, only they say.
                self.instance.inject_env_vars(None)
                recon_repository_from_origin(origin).get_definition()
        except BaseException as error:
            print_exc()
            self.channel.send({"kind": "load_error", "reason": last_line(error)})
            self.draining = True
            return
        self._after_load()
        threads = linux.thread_names()[1:]
        if threads:
            self.forks = False
        self.channel.send(
            {
                "kind": "ready",
                "load_ms": round((time.monotonic() - started) * 1000),
                "threads": threads,
                "forks": self.forks,
            }
        )

    def _after_load(self) -> None:
        """Takes signals back from user code, and makes memory cheap to share with children."""
        read, write = os.pipe()
        os.set_blocking(read, False)
        os.set_blocking(write, False)
        self.wakeup = (read, write)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._terminate)
        # From here on there may be children to clean up after, which SIGKILL would not let us.
        linux.die_with_parent(os.getppid(), signal.SIGTERM)
        self.sources = Sources()
        gc.collect()
        gc.freeze()

    def _terminate(self, *_: object) -> None:
        self.terminated = True

    def _start(self, frame: Frame) -> None:
        if self.sources is not None and self.sources.changed():
            self.channel.send({"kind": "stale", "id": frame["id"]})
            return
        self._touch_database(frame)
        if self.forks and len(linux.thread_names()) > 1:
            self.forks = False
        pipes = [os.pipe() for _ in range(3)]
        child = self._fork(frame, pipes) if self.forks else self._spawn(frame, pipes)
        for read, write in pipes:
            os.close(write)
            os.set_blocking(read, False)
        self.children[child.pid] = child
        self.channel.send({"kind": "forked", "id": child.task, "pid": child.pid})

    def _touch_database(self, frame: Frame) -> None:
        """Opens the run's own SQLite file once, which spares every child its schema check."""
        run_id = frame["run_id"]
        if self.instance is None or run_id in self.touched:
            return
        self.touched.add(run_id)
        if frame["kind"] == "step" and self.forks:
            memo.prepare(self.instance, run_id)
        if storage_kind(self.instance) == "sqlite":
            try:
                self.instance.get_run_step_stats(run_id, step_keys=[""])
            except Exception as error:
                text = redact(f"{type(error).__name__}: {error}")
                print(f"run {run_id}: {text}", file=sys.stderr)

    def _fork(self, frame: Frame, pipes: list[tuple[int, int]]) -> Child:
        sys.stdout.flush()
        sys.stderr.flush()
        host = os.getpid()
        pid = os.fork()
        if pid:
            return _child(frame, pid, pipes)
        code = 70
        try:
            os.setsid()
            linux.die_with_parent(host, signal.SIGKILL)
            linux.reset_signals()
            os.environ[TASK_ID] = frame["id"]
            self._close_own(pipes)
            os.dup2(pipes[1][1], 1)
            os.dup2(pipes[2][1], 2)
            linux.reseed()
            assert self.instance is not None
            code = work.perform(self.instance, frame, pipes[0][1])
        except BaseException:
            print_exc()
        finally:
            work.leave(code)
        raise AssertionError("unreachable")

    def _close_own(self, pipes: list[tuple[int, int]]) -> None:
        """Closes the host's own descriptors in a child. Those that user code opened while it was
        imported stay: closing them would hand their numbers to other files.
        """
        self.channel.close()
        for fd in (*(self.wakeup or ()), *(read for read, _ in pipes)):
            os.close(fd)
        for child in self.children.values():
            for fd in child.fds():
                os.close(fd)

    def _spawn(self, frame: Frame, pipes: list[tuple[int, int]]) -> Child:
        """A fresh process instead of a fork, for code that runs threads once it is imported."""
        job = {"frame": frame, "instance_ref": self.instance_ref, "parent": os.getpid()}
        body = os.memfd_create("job") if linux.AVAILABLE else _temporary()
        os.write(body, json.dumps(job).encode())
        os.lseek(body, 0, os.SEEK_SET)
        news = pipes[0][1]
        process = subprocess.Popen(
            [*self.bootstrap, "one", str(news)],
            stdin=body,
            stdout=pipes[1][1],
            stderr=pipes[2][1],
            pass_fds=[news],
            env={**os.environ, TASK_ID: frame["id"]},
            start_new_session=True,
        )
        os.close(body)
        # Reaped by our own loop; Popen must not warn about it or wait for it.
        process.returncode = 0
        return _child(frame, process.pid, pipes)

    def _pass_on(self, child: Child, ready: dict[int, int]) -> None:
        if child.news in ready:
            for item in child.read_news():
                self.channel.send({**item, "id": child.task})
        for stream in child.streams:
            if stream.is_file or stream.fd in ready:
                self._pass_on_lines(child, stream)

    def _pass_on_lines(self, child: Child, stream: Stream) -> None:
        for line in stream.lines():
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
            child = self.children.pop(pid, None)
            # Others are orphans that this subreaper inherited.
            if child is not None:
                self._finish(child, status, usage)

    def _finish(self, child: Child, status: int, usage: resource.struct_rusage) -> None:
        for item in child.read_news():
            self.channel.send({**item, "id": child.task})
        for stream in child.streams:
            self._pass_on_lines(child, stream)
        code = os.waitstatus_to_exitcode(status)
        self.channel.send(
            {
                "kind": "exit",
                "id": child.task,
                "pid": child.pid,
                "code": code if code >= 0 else None,
                "signal": -code if code < 0 else None,
                "outcome": child.outcome,
                "retry": child.retry,
                "canceled": child.canceled,
                "killed": child.killed,
                "cpu_ms": round((usage.ru_utime + usage.ru_stime) * 1000),
                "max_rss_kib": usage.ru_maxrss,
                "skipped": sum(stream.skipped for stream in child.streams),
                "dropped": self.channel.dropped,
            }
        )
        child.clean_up()

    def _end_everything(self) -> None:
        for child in self.children.values():
            child.kill()
        deadline = time.monotonic() + CLEANUP
        while linux.AVAILABLE and time.monotonic() < deadline:
            left = linux.descendants(os.getpid())
            if not left:
                return
            for pid in left:
                linux.send(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.wait4(-1, os.WNOHANG)
            time.sleep(0.01)


def _child(frame: Frame, pid: int, pipes: list[tuple[int, int]]) -> Child:
    news, out, err = (read for read, _ in pipes)
    return Child(frame["id"], pid, news, [Stream("stdout", out), Stream("stderr", err)])


def _temporary() -> int:
    import tempfile

    fd, path = tempfile.mkstemp()
    os.unlink(path)
    return fd
