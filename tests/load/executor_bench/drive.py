"""Executes runs in one warm process and prints what they took.

Reads a JSON object a line from standard input: ``{"job": NAME, "runs": N}`` executes a job, N runs
at once in forked processes where N is above 1, ``{"launch": NAME}`` launches one through the
instance's run launcher. Answers each with a JSON object on the descriptor that was standard output;
what Dagster prints goes to standard error.
"""

import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dagster import DagsterEventType, DagsterInstance, execute_job
from dagster._cli.job import _create_run
from dagster._core.code_pointer import FileCodePointer
from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import PythonFileTarget

#: How long a launched run may take to its first step, in seconds.
PATIENCE = 120.0

STARTS = {DagsterEventType.STEP_START, DagsterEventType.STEP_RESTARTED}


def job_named(location: Path, name: str) -> ReconstructableJob:
    """A job of the code location, in a form that other processes can load."""
    pointer = FileCodePointer(str(location), "defs", str(location.parent))
    return ReconstructableJob(ReconstructableRepository(pointer), name)


def execute(location: Path, name: str, instance: DagsterInstance) -> str:
    """Execute a job to its end; returns the id of its run."""
    with execute_job(job_named(location, name), instance) as result:
        if not result.success:
            raise RuntimeError(f"run {result.run_id} of {name} failed")
        return result.run_id


def cpu(which: int) -> float:
    """Processor seconds of this process, or of its children that have ended."""
    used = resource.getrusage(which)
    return used.ru_utime + used.ru_stime


def steps_of(instance: DagsterInstance, run_id: str) -> dict[str, Any]:
    """When each step of a run started and ended, and the processes that ran them."""
    started: dict[str, float] = {}
    ended: dict[str, float] = {}
    pids: set[int] = set()
    for entry in instance.all_logs(run_id):
        event = entry.dagster_event
        if event is None or entry.step_key is None:
            continue
        if event.event_type in STARTS:
            started[entry.step_key] = entry.timestamp
            if event.pid is not None:
                pids.add(event.pid)
        elif event.event_type == DagsterEventType.STEP_SUCCESS:
            ended[entry.step_key] = entry.timestamp
    return {"started": started, "ended": ended, "pids": sorted(pids)}


def one_run(location: Path, name: str, instance: DagsterInstance) -> dict[str, Any]:
    """Execute a job in this process."""
    own, children = cpu(resource.RUSAGE_SELF), cpu(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    run_id = execute(location, name, instance)
    wall = time.monotonic() - began
    return {
        "wall": wall,
        "executor_cpu": cpu(resource.RUSAGE_SELF) - own,
        "children_cpu": cpu(resource.RUSAGE_CHILDREN) - children,
        "runs": [steps_of(instance, run_id)],
    }


def many_runs(location: Path, name: str, count: int) -> dict[str, Any]:
    """Execute a job in ``count`` processes at once, forked from this one, which is warm."""
    reads = []
    began = time.monotonic()
    for _ in range(count):
        read, write = os.pipe()
        if os.fork() == 0:
            os.close(read)
            _in_child(location, name, write)
        os.close(write)
        reads.append(read)
    answers = [json.loads(_read_all(read) or '{"error": "it died"}') for read in reads]
    wall = time.monotonic() - began
    for _ in range(count):
        os.wait()
    errors = [answer["error"] for answer in answers if "error" in answer]
    if errors:
        raise RuntimeError(errors[0])
    with DagsterInstance.get() as instance:
        runs = [steps_of(instance, answer["run_id"]) for answer in answers]
    return {
        "wall": wall,
        "executor_cpu": sum(answer["own"] for answer in answers),
        "children_cpu": sum(answer["children"] for answer in answers),
        "runs": runs,
    }


def _read_all(descriptor: int) -> str:
    with os.fdopen(descriptor) as file:
        return file.read()


def _in_child(location: Path, name: str, write: int) -> None:
    """Execute one of several runs, write what it took, and end this process."""
    own = cpu(resource.RUSAGE_SELF)
    try:
        with DagsterInstance.get() as instance:
            answer: dict[str, Any] = {"run_id": execute(location, name, instance)}
        answer["own"] = cpu(resource.RUSAGE_SELF) - own
        answer["children"] = cpu(resource.RUSAGE_CHILDREN)
    except BaseException:
        answer = {"error": traceback.format_exc()}
    os.write(write, json.dumps(answer).encode())
    os._exit(0)


class Launcher:
    """Launches runs as the webserver does: of a code location that a server of its own serves."""

    def __init__(self, location: Path, instance: DagsterInstance):
        self._instance = instance
        target = PythonFileTarget(
            python_file=str(location),
            attribute="defs",
            working_directory=str(location.parent),
            location_name="bench",
        )
        self._process = WorkspaceProcessContext(instance, target).__enter__()
        self._workspace = self._process.create_request_context()

    def launch(self, name: str) -> dict[str, Any]:
        """Launch a job; seconds from the call to the start of its first step."""
        location = self._workspace.get_code_location("bench")
        repository = next(iter(location.get_repositories().values()))
        job = repository.get_full_job(name)
        run = _create_run(self._instance, location, repository, job, {}, None, None, None)
        began = time.time()
        self._instance.launch_run(run.run_id, self._workspace)
        called = time.time()
        deadline = time.monotonic() + PATIENCE
        while True:
            record = self._instance.get_run_by_id(run.run_id)
            if record is not None and record.is_finished:
                break
            if time.monotonic() > deadline:
                raise RuntimeError(f"run {run.run_id} has not ended within {PATIENCE:.0f} s")
            time.sleep(0.1)
        started = steps_of(self._instance, run.run_id)["started"].values()
        if not started:
            raise RuntimeError(f"no step of run {run.run_id} has started")
        return {"call": called - began, "first_step": min(started) - began}

    def close(self) -> None:
        """End the server of the code location."""
        self._process.__exit__(None, None, None)


@contextmanager
def answers() -> Iterator[Any]:
    """Standard output for answers alone; prints of Dagster and of steps go to standard error."""
    with os.fdopen(os.dup(1), "w", buffering=1) as out:
        os.dup2(2, 1)
        yield out


def main() -> None:
    location = Path(sys.argv[1])
    launcher: Launcher | None = None
    with answers() as out, DagsterInstance.get() as instance:
        job_named(location, sys.argv[2]).get_definition()
        print(json.dumps({"ready": os.getpid()}), file=out)
        for line in sys.stdin:
            asked = json.loads(line)
            try:
                if "launch" in asked:
                    launcher = launcher or Launcher(location, instance)
                    answer = launcher.launch(asked["launch"])
                elif asked["runs"] > 1:
                    answer = many_runs(location, asked["job"], asked["runs"])
                else:
                    answer = one_run(location, asked["job"], instance)
            except Exception:
                answer = {"error": traceback.format_exc()}
            print(json.dumps(answer), file=out)
        if launcher is not None:
            launcher.close()


if __name__ == "__main__":
    main()
