"""A step host for tests: the real process, spoken to over its socket."""

import json
import os
import select
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.code_pointer import FileCodePointer
from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository
from dagster._core.execution.plan.state import KnownExecutionState
from dagster._core.execution.retries import RetryMode
from dagster._grpc.types import ExecuteStepArgs
from dagster._serdes import pack_value

from _dagster_taskiq_host.frames import Channel, Closed
from _dagster_taskiq_host.main import BOOTSTRAP

HERE = Path(__file__).parent
SOURCE = HERE.parent.parent / "src" / "python"
PATIENCE = 90.0


def fresh_home(folder: Path) -> Path:
    """A new ``DAGSTER_HOME``."""
    folder.mkdir(parents=True)
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return folder


@dataclass
class Ended:
    """How a step ended, and what was told before."""

    frame: dict[str, Any]
    pid: int | None = None
    lines: list[str] = field(default_factory=list)

    @property
    def status(self) -> str | None:
        return (self.frame.get("outcome") or {}).get("status")


class StepHostProcess:
    """One host with one code location loaded."""

    def __init__(self, home: Path, file: str, **load: Any) -> None:
        self.file = file
        self.instance = DagsterInstance.from_config(str(home))
        ours, theirs = socket.socketpair()
        self.process = subprocess.Popen(
            [sys.executable, "-c", BOOTSTRAP, str(SOURCE), str(SOURCE), "step", str(os.getpid())],
            stdin=theirs,
            env={**os.environ, "DAGSTER_HOME": str(home)},
            start_new_session=True,
        )
        theirs.close()
        self.channel = Channel(ours)
        self.tasks: dict[str, Ended] = {}
        self.frames: list[dict[str, Any]] = []
        self.runs: dict[str, str] = {}
        origin = pack_value(self._repository().get_python_origin())
        self.channel.send({"kind": "load", "origin": origin, "instance_ref": None, **load})
        self.ready = self.wait(lambda: self._first("ready", "load_error"), "the host is ready")

    def _repository(self) -> ReconstructableRepository:
        pointer = FileCodePointer(str(HERE / self.file), "defs", str(HERE))
        return ReconstructableRepository(pointer)

    def _first(self, *kinds: str) -> dict[str, Any] | None:
        return next((frame for frame in self.frames if frame["kind"] in kinds), None)

    def create_run(self, check: str, **more: Any) -> DagsterRun:
        """Creates a run of the step that makes a check."""
        job = ReconstructableJob(self._repository(), "checks")
        return self.instance.create_run_for_job(
            _definition(self.file),
            run_config={"ops": {"check": {"config": check}}},
            status=DagsterRunStatus.STARTED,
            job_code_origin=job.get_python_origin(),
            **more,
        )

    def start(self, check: str, run: DagsterRun | None = None, **more: Any) -> str:
        """Starts the step that makes a check, in a run of its own; returns the task's id."""
        run = run or self.create_run(check)
        job = ReconstructableJob(self._repository(), "checks")
        args = ExecuteStepArgs(
            job_origin=job.get_python_origin(),
            run_id=run.run_id,
            step_keys_to_execute=["check"],
            instance_ref=self.instance.get_ref(),
            retry_mode=RetryMode.DEFERRED,
            known_state=KnownExecutionState(),
        )
        task = uuid.uuid4().hex
        self.runs[task] = run.run_id
        self.channel.send(
            {
                "kind": "step",
                "id": task,
                "task": "execute_plan",
                "run_id": run.run_id,
                "kwargs": {"execute_step_args_packed": pack_value(args)},
                "attempt": 1,
                "receive_count": 1,
                "message_id": "message-1",
                "queue": "dagster-tasks",
                "worker": {"id": "test", "hostname": "test-host", "pid": str(os.getpid())},
                "lost": {"policy": "retry", "max": 2},
                "max_deliveries": 10,
                "policy": {"allow_locations": [], "trusts_message": False},
                **more,
            }
        )
        self.tasks[task] = Ended({})
        return task

    def finish(self, task: str) -> Ended:
        """Waits for the end of a step."""
        return self.wait(lambda: self.tasks[task].frame and self.tasks[task], f"{task} ends")

    def run(self, check: str, **more: Any) -> Ended:
        """Makes a check in a step of its own."""
        return self.finish(self.start(check, **more))

    def value(self, check: str, **more: Any) -> Any:
        """What a check found."""
        task = self.start(check, **more)
        ended = self.finish(task)
        assert ended.status == "STEP_SUCCESS", (ended.frame, ended.lines)
        events = self.instance.all_logs(self.runs[task])
        for entry in events:
            data = entry.dagster_event and entry.dagster_event.event_specific_data
            for label, metadata in (getattr(data, "metadata", None) or {}).items():
                if label == "found":
                    return json.loads(metadata.value)
        pytest.fail(f"{check} says nothing")

    def output(self, task: str) -> str:
        """What the compute log has of a step's standard output and error."""
        run = self.runs[task]
        for entry in self.instance.all_logs(run):
            data = entry.dagster_event and entry.dagster_event.event_specific_data
            if hasattr(data, "file_key"):
                key = [run, "compute_logs", data.file_key]
                logs = self.instance.compute_log_manager.get_log_data(key)
                return ((logs.stdout or b"") + (logs.stderr or b"")).decode()
        pytest.fail("nothing was captured")

    def wait(self, condition: Any, what: str) -> Any:
        """Reads until a condition holds."""
        deadline = time.monotonic() + PATIENCE
        while not (found := condition()):
            assert time.monotonic() < deadline, f"waited in vain: {what}"
            if select.select([self.channel], [], [], 0.1)[0]:
                for frame in self.channel.receive():
                    self._take(frame)
            self.channel.flush()
        return found

    def _take(self, frame: dict[str, Any]) -> None:
        self.frames.append(frame)
        task = self.tasks.get(frame.get("id", ""))
        if task is None:
            return
        if frame["kind"] == "forked":
            task.pid = frame["pid"]
        elif frame["kind"] == "log":
            task.lines.append(frame["line"])
        elif frame["kind"] in ("exit", "stale", "cannot_start"):
            task.frame = frame

    def close(self) -> None:
        """Has the host end and waits for it."""
        try:
            self.channel.send({"kind": "stop", "drain": True})
            self.process.wait(30)
        except (Closed, subprocess.TimeoutExpired):
            self.process.kill()
        self.process.wait(30)
        self.channel.close()


def _definition(file: str) -> Any:
    # Only the job's shape is needed here: the code under test is loaded by the host alone.
    from isolation_shape import checks

    return checks


@contextmanager
def step_host(home: Path, file: str, **load: Any) -> Iterator[StepHostProcess]:
    """A host that ends with the test."""
    host = StepHostProcess(home, file, **load)
    try:
        yield host
    finally:
        host.close()
