"""One real worker, broker and Dagster project for all the tests of semantics.

The worker is the binary under test; runs are executed in the test's own process, or launched
through the queue. Storage is SQLite, or what ``DTQ_TEST_STORAGE`` names (``postgres`` or
``mysql``), on a real server.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, DagsterRun, execute_job, serialize_value
from dagster._grpc.types import ExecuteRunArgs

from _dagster_taskiq_host.event_log import OWNER_KEY
from conftest import (
    HERE,
    SOURCE,
    Queue,
    broker,
    counted,
    fresh_queue,
    job_named,
    make_queue,
    own_binary,
    stop,
)
from mysql_server import MySql
from postgres import Postgres
from servers import NoServer, Server

#: What two executors may say differently of a step: which process runs it, and where its output is.
OWN = {
    "ENGINE_EVENT",
    "LOGS_CAPTURED",
    "STEP_WORKER_STARTING",
    "STEP_WORKER_STARTED",
    "RESOURCE_INIT_STARTED",
    "RESOURCE_INIT_SUCCESS",
}

YAML = """\
telemetry: {{enabled: false}}
run_launcher:
  module: dagster_taskiq
  class: TaskiqRunLauncher
run_coordinator:
  module: dagster
  class: QueuedRunCoordinator
  config: {{dequeue_interval_seconds: 1}}
concurrency:
  runs: {{max_concurrent_runs: 10}}
  pools: {{granularity: op}}
secrets:
  custom: {{module: variables, class: Variables}}
{storage}
"""


@dataclass
class Fleet:
    """The project, and what runs for it."""

    folder: Path
    instance: DagsterInstance
    queue: Queue
    gpu: Queue
    environment: dict[str, str]
    server: Server | None
    processes: "list[subprocess.Popen[Any]]" = field(default_factory=list)

    def execute(self, name: str, location: str = "semantics.py", **kwargs: Any) -> DagsterRun:
        """Execute a job from this process; its steps go to the worker."""
        job = job_named(name, location)
        with execute_job(job, self.instance, **kwargs) as result:
            found = self.instance.get_run_by_id(result.run_id)
        assert found is not None
        return found

    def both(self, name: str, **kwargs: Any) -> DagsterRun:
        """Execute a job on the worker and in process; the two must end alike. Returns the first."""
        run = self.execute(name, raise_on_error=False, **kwargs)
        plain = self.execute(f"{name}_plain", raise_on_error=False, **kwargs)
        assert run.status == plain.status
        assert self.shape(run) == self.shape(plain)
        return run

    def shape(self, run: DagsterRun) -> dict[str, Counter[str]]:
        """For each step, how often each type of event is in the log."""
        found: dict[str, Counter[str]] = {}
        for entry in self.instance.all_logs(run.run_id):
            event = entry.dagster_event
            if event and event.step_key and event.event_type_value not in OWN:
                found.setdefault(event.step_key, Counter())[event.event_type_value] += 1
        return found

    def start(self, command: list[str], name: str) -> "subprocess.Popen[Any]":
        """Start a process of the project; it ends with the fleet."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=HERE,
                env=self.environment,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def stop_all(self) -> None:
        """End what was started, the newest first."""
        while self.processes:
            stop(self.processes.pop(), 60)

    @staticmethod
    def id_of(name: str) -> str:
        """The worker's id: tests of other processes run on the same host."""
        return f"{name}-{os.getpid()}"

    def worker(self, name: str, *arguments: str) -> "subprocess.Popen[Any]":
        """Start a worker and wait until it is ready."""
        worker = self.id_of(name)
        command = [own_binary(), "worker", "start", "--name", worker, "--python", sys.executable]
        command += ["-y", str(self.folder / "worker.yaml"), "--log-dir", str(self.folder / name)]
        process = self.start([*command, *arguments], name)
        log = self.folder / f"{name}.log"
        deadline = time.monotonic() + 60
        while f"worker {worker} ready" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        return process

    def begin(self, name: str, location: str = "second.py", config: Any = None) -> "Begun":
        """Execute a job in a process of its own, which may outlive a database's restart."""
        job = job_named(name, location)
        run = self.instance.create_run_for_job(
            job.get_definition(), run_config=config, job_code_origin=job.get_python_origin()
        )
        packed = serialize_value(ExecuteRunArgs(job.get_python_origin(), run.run_id, None))
        command = [sys.executable, "-m", "dagster", "api", "execute_run", packed]
        process = self.start(command, f"run-{run.run_id}")
        return Begun(self, run.run_id, process)

    def run_command(self, *arguments: str) -> str:
        """``python -m <arguments>`` in the project; its output."""
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            env=self.environment,
            cwd=HERE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=180,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def log_of(self, name: str) -> str:
        """What a process of the project has printed."""
        return (self.folder / f"{name}.log").read_text()


@dataclass
class Begun:
    """A run that is executed in a process of its own."""

    fleet: Fleet
    run_id: str
    process: "subprocess.Popen[Any]"

    def count(self, kind: str) -> Counter[str]:
        """How often the log has an event of this type, by step key."""
        return counted(self.fleet.instance, self.run_id, kind)

    def count_of_owners(self) -> Counter[str]:
        """How often each process has announced itself for a step, by its id."""
        return Counter(
            str(event.engine_event_data.metadata["pid"].value)
            for entry in self.fleet.instance.all_logs(self.run_id)
            if (event := entry.dagster_event)
            and event.event_type_value == "ENGINE_EVENT"
            and OWNER_KEY in event.engine_event_data.metadata
        )

    def finish(self, seconds: float = 120.0) -> DagsterRun:
        """The run, when its process has ended."""
        self.process.wait(seconds)
        run = self.fleet.instance.get_run_by_id(self.run_id)
        assert run is not None
        assert run.is_finished, self.fleet.log_of(f"run-{self.run_id}")
        return run


@contextmanager
def running(folder: Path, *, storage: str = "", visibility: int = 60) -> Iterator[Fleet]:
    """A project in a folder, with a broker and no worker yet.

    ``visibility`` is the workers' visibility timeout in seconds.
    """
    # Data of a server are not kept below pytest's folder: each new session of pytest closes that to
    # other users, and the server may have to run as one.
    with (
        tempfile.TemporaryDirectory(prefix="dtq-", ignore_cleanup_errors=True) as data,
        pytest.MonkeyPatch.context() as patch,
        broker(own_binary(), folder / "broker") as served,
    ):
        endpoint, _ = served
        queue = fresh_queue(endpoint, patch)
        gpu = make_queue(queue.client, f"{queue.name}-gpu")
        home = folder / "home"
        home.mkdir()
        server = _serve(storage, Path(data) / "database")
        try:
            text = server.dagster_storage if server else ""
            (home / "dagster.yaml").write_text(YAML.format(storage=text))
            (folder / "worker.yaml").write_text(
                f"queues: {{gpu: '{gpu.url}'}}\nworkers: 3\nrun_slots: 2\n"
                f"visibility_timeout: {visibility}\n"
            )
            patch.setenv("DAGSTER_HOME", str(home))
            patch.setenv("PYTHONPATH", f"{SOURCE}{os.pathsep}{HERE}")
            patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
            patch.setenv("AWS_ACCESS_KEY_ID", "test")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
            with DagsterInstance.get() as instance:
                fleet = Fleet(folder, instance, queue, gpu, dict(os.environ), server)
                try:
                    yield fleet
                finally:
                    fleet.stop_all()
        finally:
            if server:
                server.stop()


def _serve(storage: str, folder: Path) -> Server | None:
    """A database server for the storage of this name; none for SQLite."""
    servers = {"postgres": Postgres, "mysql": MySql}
    return servers[storage].start(folder) if storage else None


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """The project of the whole session, with one worker."""
    folder = tmp_path_factory.mktemp("fleet")
    try:
        with running(folder, storage=os.environ.get("DTQ_TEST_STORAGE", "")) as found:
            found.worker("first")
            yield found
    except NoServer as error:
        pytest.skip(f"the storage was not tested on a real server: {error}")
