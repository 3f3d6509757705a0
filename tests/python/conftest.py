"""Fixtures: an SQS endpoint, a Dagster instance, and a worker, all real, all ended by the tests.

``DTQ_TEST_BINARY`` names the ``dagster-taskiq-tui`` binary whose broker serves the endpoint;
without it the one on ``PATH`` is taken.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from dagster import DagsterEvent, DagsterEventType, DagsterInstance, DagsterRun, execute_job
from dagster._cli.api import _execute_step_command_body
from dagster._core.code_pointer import FileCodePointer
from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository
from dagster._core.execution.api import execute_run_iterator
from dagster._core.execution.plan.handle import StepHandle
from dagster._grpc.types import ExecuteStepArgs
from dagster._serdes import unpack_value

from _dagster_taskiq_host import heartbeats

pytest_plugins = ["fleet"]

HERE = Path(__file__).parent
SOURCE = HERE.parent.parent / "src" / "python"
REGION = "us-east-1"
DAGSTER_YAML = """\
telemetry:
  enabled: false
run_launcher:
  module: dagster_taskiq
  class: TaskiqRunLauncher
compute_logs:
  module: dagster._core.storage.noop_compute_log_manager
  class: NoOpComputeLogManager
concurrency:
  pools:
    granularity: op
"""


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """Wait until a condition holds and return its value; fail saying what was waited for."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    pytest.fail(f"{what} did not happen within {seconds:.0f} s")


def wait_until_gone(folder: Path) -> None:
    """Wait for the end of the process that waits in a folder: of a killed worker's step."""
    stat = Path("/proc", (folder / "there").read_text(), "stat")

    def gone() -> bool:
        # Where nobody takes its status, it stays a zombie.
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"

    wait_for(gone, "the end of the step's process")


def stop(process: "subprocess.Popen[Any]", seconds: float = 15.0) -> None:
    """End a process that a test started, with the session it leads."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(seconds)


def own_binary() -> str:
    """Path of the project's binary; without one nothing here can be tested."""
    binary = os.environ.get("DTQ_TEST_BINARY") or shutil.which("dagster-taskiq-tui")
    if not binary:
        pytest.fail("set DTQ_TEST_BINARY to the dagster-taskiq-tui binary to be tested")
    return binary


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of an SQS endpoint."""
    with broker(own_binary(), tmp_path_factory.mktemp("broker")) as (found, _):
        yield found


@contextmanager
def broker(
    binary: str, data: Path, listen: str = "127.0.0.1:0"
) -> "Iterator[tuple[str, subprocess.Popen[str]]]":
    """The project's own broker: its URL and its process."""
    command = [binary, "broker", "serve", "--listen", listen, "--data-dir", str(data)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            lines = (line for line in process.stdout if line.startswith("endpoint: "))
            found = next(lines, "").removeprefix("endpoint: ").strip()
            assert found, f"{binary} did not print its endpoint"
            threading.Thread(target=process.stdout.read, daemon=True).start()
            yield found, process
        finally:
            stop(process)


def client_of(endpoint: str) -> Any:
    """A boto3 client of an endpoint."""
    return boto3.client(
        "sqs",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


@pytest.fixture
def sqs(endpoint: str) -> Any:
    """A boto3 client of the endpoint."""
    return client_of(endpoint)


@dataclass
class Queue:
    """A queue of one test."""

    client: Any
    url: str

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[-1]

    def beside(self, suffix: str, **attributes: str) -> "Queue":
        """Create the queue `<name>-suffix`."""
        return make_queue(self.client, f"{self.name}-{suffix}", attributes)

    def receive(self, limit: int = 1000) -> list[dict[str, Any]]:
        """The messages that wait, decoded; they are deleted."""
        found: list[dict[str, Any]] = []
        while True:
            answer = self.client.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=min(10, limit),
                MessageAttributeNames=["All"],
                AttributeNames=["All"],
            )
            messages = answer.get("Messages", [])
            if not messages:
                return found
            for message in messages:
                found.append({**message, "decoded": json.loads(message["Body"])})
                self.client.delete_message(
                    QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"]
                )
            if len(found) >= limit:
                return found

    def depth(self) -> int:
        """How many messages wait or are held."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.client.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)
        return sum(int(found["Attributes"][name]) for name in names)


def make_queue(client: Any, name: str, attributes: dict[str, str] | None = None) -> Queue:
    return Queue(
        client, client.create_queue(QueueName=name, Attributes=attributes or {})["QueueUrl"]
    )


def fresh_queue(endpoint: str, patch: pytest.MonkeyPatch) -> Queue:
    """A fresh queue, configured through the environment."""
    made = make_queue(client_of(endpoint), f"t-{uuid.uuid4().hex[:12]}")
    patch.setenv("DAGSTER_TASKIQ_SQS_QUEUE_URL", made.url)
    patch.setenv("DAGSTER_TASKIQ_SQS_ENDPOINT_URL", endpoint)
    patch.setenv("AWS_DEFAULT_REGION", REGION)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_PROFILE"):
        patch.delenv(name, raising=False)
    return made


def fresh_home(path: Path, patch: pytest.MonkeyPatch) -> Path:
    """An empty DAGSTER_HOME, whose runs are launched through the queue."""
    path.mkdir()
    (path / "dagster.yaml").write_text(DAGSTER_YAML)
    patch.setenv("DAGSTER_HOME", str(path))
    patch.setenv("PYTHONPATH", f"{SOURCE}{os.pathsep}{HERE}")
    return path


@contextmanager
def python_worker(log_path: Path, **variables: str) -> "Iterator[subprocess.Popen[Any]]":
    """A running Python worker of the configured queue, with variables of its own."""
    command = [sys.executable, "-m", "taskiq", "worker", "dagster_taskiq.app:broker"]
    with (
        log_path.open("w") as log,
        subprocess.Popen(
            [*command, "--workers", "1"],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "DAGSTER_TASKIQ_PYTHON_STEPS": "4", **variables},
        ) as process,
    ):
        try:
            yield process
        finally:
            stop(process)


@pytest.fixture
def queue(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Queue:
    return fresh_queue(endpoint, monkeypatch)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return fresh_home(tmp_path / "home", monkeypatch)


@pytest.fixture
def instance(home: Path) -> Iterator[DagsterInstance]:
    """The Dagster instance of the test's home."""
    with DagsterInstance.get() as found:
        yield found


@pytest.fixture(scope="module")
def shared(
    endpoint: str, tmp_path_factory: pytest.TempPathFactory
) -> "Iterator[tuple[DagsterInstance, Queue]]":
    """One instance, queue and running Python worker for the tests of a module."""
    folder = tmp_path_factory.mktemp("shared")
    with pytest.MonkeyPatch.context() as patch:
        queue = fresh_queue(endpoint, patch)
        fresh_home(folder / "home", patch)
        patch.setenv("DTQ_TEST_GATE", str(folder / "gate"))
        with python_worker(folder / "worker.log"), DagsterInstance.get() as found:
            yield found, queue


def job_named(name: str, location: str = "jobs.py") -> ReconstructableJob:
    """A job of jobs.py (or another file), in a form that other processes can load."""
    pointer = FileCodePointer(str(HERE / location), "defs", str(HERE))
    return ReconstructableJob(ReconstructableRepository(pointer), name)


def execute(name: str, instance: DagsterInstance, config: Any = None, **kwargs: Any) -> DagsterRun:
    """Execute a job of jobs.py from its start to its end and return its run."""
    with execute_job(job_named(name), instance, run_config=config or {}, **kwargs) as result:
        found = instance.get_run_by_id(result.run_id)
    assert found is not None
    return found


def create_run(name: str, instance: DagsterInstance, **kwargs: Any) -> DagsterRun:
    """A run of a job of jobs.py that is not yet started."""
    job = job_named(name)
    return instance.create_run_for_job(
        job.get_definition(), job_code_origin=job.get_python_origin(), **kwargs
    )


def counted(instance: DagsterInstance, run_id: str, kind: str) -> Counter[str]:
    """How often the log has an event of this type, by step key."""
    return Counter(
        entry.step_key or ""
        for entry in instance.all_logs(run_id)
        if entry.dagster_event and entry.dagster_event.event_type_value == kind
    )


def put_worker(
    instance: DagsterInstance, worker: str, age: float, run_id: str | None, step: str | None = None
) -> None:
    """Write a worker's report of some seconds ago, in which it has this run or step in hand."""
    held = [{"run_id": run_id, "step_key": step, "receive_count": 2}] if run_id else []
    report = {"time": time.time() - age, "host": "h1", "pid": 7, "in_flight": held}
    storage = instance.run_storage
    storage.set_cursor_values({f"dagster-taskiq/worker/{worker}": json.dumps(report)})
    key = heartbeats.shard_of(worker)
    index = json.loads(storage.get_cursor_values({key}).get(key, "[]"))
    storage.set_cursor_values({key: json.dumps(sorted({*index, worker}))})


class Background:
    """A run that is executed in a thread, while the test plays its worker."""

    def __init__(self, name: str, instance: DagsterInstance, queue: Queue, **kwargs: Any):
        self.instance = instance
        self.queue = queue
        self.run = create_run(name, instance, **kwargs)
        self._job = job_named(name)
        self._thread = threading.Thread(target=self._execute, daemon=True)
        self._thread.start()

    def _execute(self) -> None:
        for _event in execute_run_iterator(self._job, self.run, self.instance):
            pass

    def message(self) -> dict[str, Any]:
        """The next message of the queue."""
        found = wait_for(lambda: self.queue.receive(1), "a message")[0]
        return found["decoded"]

    def work(self, message: dict[str, Any]) -> None:
        """Run a message's step here and now."""
        args = unpack_value(message["kwargs"]["execute_step_args_packed"], ExecuteStepArgs)
        for _event in _execute_step_command_body(args, self.instance, self.run):
            pass

    def report(self, kind: DagsterEventType, step_key: str, data: Any) -> None:
        """Write a step's event from outside."""
        event = DagsterEvent(
            event_type_value=kind.value,
            job_name=self.run.job_name,
            step_handle=StepHandle.parse_from_key(step_key),
            event_specific_data=data,
            message="written by the test",
        )
        self.instance.report_dagster_event(event, self.run.run_id)

    def finish(self) -> DagsterRun:
        """The run when it has ended."""
        self._thread.join(60)
        assert not self._thread.is_alive(), "the run did not end"
        found = self.instance.get_run_by_id(self.run.run_id)
        assert found is not None
        return found
