"""Fixtures: an SQS endpoint, a Dagster instance, and a worker, all real, all ended by the tests.

``DTQ_TEST_BINARY`` names the ``dagster-taskiq-tui`` binary whose broker serves the endpoint;
``DTQ_TEST_ENDPOINT`` names an endpoint that is already there and takes precedence.
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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from dagster import DagsterInstance, DagsterRun, execute_job
from dagster._core.code_pointer import FileCodePointer
from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository

HERE = Path(__file__).parent
JOBS = HERE / "jobs.py"
SOURCE = HERE.parent.parent / "src" / "python"
REGION = "us-east-1"


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """Wait until a condition holds and return its value; fail saying what was waited for."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    pytest.fail(f"{what} did not happen within {seconds:.0f} s")


def stop(process: "subprocess.Popen[Any]", seconds: float = 15.0) -> None:
    """End a process that a test started, with the session it leads."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(seconds)


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of an SQS endpoint."""
    given = os.environ.get("DTQ_TEST_ENDPOINT")
    if given:
        yield given
        return
    binary = os.environ.get("DTQ_TEST_BINARY") or shutil.which("dagster-taskiq-tui")
    if not binary:
        pytest.skip("neither DTQ_TEST_ENDPOINT nor DTQ_TEST_BINARY is set")
    data = tmp_path_factory.mktemp("broker")
    command = [binary, "broker", "serve", "--listen", "127.0.0.1:0", "--data-dir", str(data)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            found = ""
            for line in process.stdout:
                if line.startswith("endpoint: "):
                    found = line.removeprefix("endpoint: ").strip()
                    break
            assert found, f"{binary} did not print its endpoint"
            threading.Thread(target=process.stdout.read, daemon=True).start()
            yield found
        finally:
            stop(process)


@pytest.fixture
def sqs(endpoint: str) -> Any:
    """A boto3 client of the endpoint."""
    return boto3.client(
        "sqs",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


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

    def receive(self) -> list[dict[str, Any]]:
        """All messages that wait, decoded; they are deleted."""
        found: list[dict[str, Any]] = []
        while True:
            answer = self.client.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=10,
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

    def depth(self) -> int:
        """How many messages wait or are held."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.client.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)
        return sum(int(found["Attributes"][name]) for name in names)


def make_queue(client: Any, name: str, attributes: dict[str, str] | None = None) -> Queue:
    return Queue(
        client, client.create_queue(QueueName=name, Attributes=attributes or {})["QueueUrl"]
    )


@pytest.fixture
def queue(sqs: Any, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Queue:
    """A fresh queue, configured through the environment."""
    made = make_queue(sqs, f"t-{uuid.uuid4().hex[:12]}")
    monkeypatch.setenv("DAGSTER_TASKIQ_SQS_QUEUE_URL", made.url)
    monkeypatch.setenv("DAGSTER_TASKIQ_SQS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    return made


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty DAGSTER_HOME."""
    path = tmp_path / "home"
    path.mkdir()
    (path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    monkeypatch.setenv("DAGSTER_HOME", str(path))
    return path


@pytest.fixture
def instance(home: Path) -> Iterator[DagsterInstance]:
    """The Dagster instance of that home."""
    with DagsterInstance.get() as found:
        yield found


@pytest.fixture
def python_path(monkeypatch: pytest.MonkeyPatch) -> str:
    """PYTHONPATH for child processes."""
    monkeypatch.setenv("PYTHONPATH", f"{SOURCE}{os.pathsep}{HERE}")
    return os.environ["PYTHONPATH"]


@pytest.fixture
def worker(queue: Queue, home: Path, python_path: str, tmp_path: Path) -> Iterator[Any]:
    """A running Python worker of the test's queue."""
    log = (tmp_path / "worker.log").open("w")
    command = [sys.executable, "-m", "taskiq", "worker", "dagster_taskiq.app:broker"]
    with subprocess.Popen(
        [*command, "--workers", "1"],
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={**os.environ, "DAGSTER_TASKIQ_PYTHON_STEPS": "4"},
    ) as process:
        try:
            yield process
        finally:
            stop(process)
            log.close()


def job_named(name: str) -> ReconstructableJob:
    """A job of jobs.py, in a form that other processes can load."""
    pointer = FileCodePointer(str(JOBS), "defs", str(HERE))
    return ReconstructableJob(ReconstructableRepository(pointer), name)


def execute(name: str, instance: DagsterInstance, config: Any = None, **kwargs: Any) -> DagsterRun:
    """Execute a job of jobs.py from its start to its end and return its run."""
    with execute_job(job_named(name), instance, run_config=config or {}, **kwargs) as result:
        found = instance.get_run_by_id(result.run_id)
    assert found is not None
    return found
