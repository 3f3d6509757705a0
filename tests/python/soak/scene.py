"""What a soak runs on: a broker, PostgreSQL, two hosts with three workers, runs."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.code_pointer import FileCodePointer
from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository

from conftest import HERE, REGION, SOURCE, client_of, own_binary
from postgres import Postgres
from servers import free_port
from soak import processes
from soak.location import LIMITED

#: The code whose runs get into trouble.
LOCATION = Path(__file__).with_name("location.py")
#: Workers of each host.
HOSTS = {"soak-a": ("a1", "a2"), "soak-b": ("b1",)}
#: Seconds for which a received message is hidden; renewed every third of it.
VISIBILITY = 12
JOBS = ("fan", "long", "chain", "pooled", "dynamic")
#: A broker that delivers as often as it takes: what is looked for is what goes wrong before that.
RECEIVES = 1000

DAGSTER_YAML = """\
telemetry: {{enabled: false}}
run_launcher: {{module: dagster_taskiq, class: TaskiqRunLauncher}}
concurrency: {{pools: {{granularity: op}}}}
{storage}
"""
WORKER_YAML = f"""\
workers: 2
run_slots: 4
visibility_timeout: {VISIBILITY}
max_worker_lost_retries: 1000
max_deliveries: 0
"""


@dataclass
class Broker:
    """The embedded broker as a process, on one port and folder for all of its lives."""

    folder: Path
    port: int
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Serve, and wait until it answers."""
        command = [own_binary(), "broker", "serve", "--listen", f"127.0.0.1:{self.port}"]
        with (self.folder / "broker.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--data-dir", self.folder / "broker"],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        client = client_of(self.endpoint)
        deadline = time.monotonic() + 60
        while True:
            try:
                client.list_queues()
                return
            except Exception:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def kill(self) -> None:
        """End it without a warning."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(60)
            self.process = None


@dataclass
class Host:
    """A host that may be switched off and on."""

    name: str
    folder: Path
    process: "subprocess.Popen[bytes] | None" = None
    frozen: bool = False

    def start(self) -> None:
        """Switch it on: its workers start."""
        commands = [self._worker(name) for name in HOSTS[self.name]]
        host = [sys.executable, "-m", "soak.host", self.name, json.dumps(commands)]
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*namespaces(), *host], stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def _worker(self, name: str) -> list[str]:
        command = [own_binary(), "worker", "start", "--name", name, "--python", sys.executable]
        command += ["-y", str(self.folder / "worker.yaml")]
        return [*command, "--log-dir", str(self.folder / f"log-{name}")]

    @property
    def root(self) -> int:
        """The process of which all others of the host descend."""
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        """Switch it off: everything on it is gone at once."""
        if self.process is None:
            return
        for process in [*processes.below(self.root)]:
            processes.send(process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait(60)
        self.process = None
        self.frozen = False


def namespaces() -> list[str]:
    """What gives a host its own process ids and name; nothing where that is not allowed."""
    if os.geteuid() != 0:
        return []
    return ["unshare", "--pid", "--uts", "--mount-proc", "--fork", "--kill-child", "--"]


@dataclass
class Scene:
    """Everything that runs, and what was asked of it."""

    folder: Path
    broker: Broker
    database: Postgres
    instance: DagsterInstance
    hosts: list[Host]
    launched: list[str] = field(default_factory=list)
    ended: set[str] = field(default_factory=set)
    cancelled: set[str] = field(default_factory=set)

    @property
    def queue(self) -> str:
        return f"{self.broker.endpoint}/000000000000/soak"

    def job(self, name: str) -> ReconstructableJob:
        """A job of the code location."""
        pointer = FileCodePointer(str(self.folder / "location.py"), "defs", str(self.folder))
        return ReconstructableJob(ReconstructableRepository(pointer), name)

    def launch(self, job: str) -> str:
        """Launch a run, as Dagster's daemon does."""
        found = self.job(job)
        run = self.instance.create_run_for_job(
            found.get_definition(), job_code_origin=found.get_python_origin()
        )
        self.instance.launch_run(run.run_id, workspace=None)
        self.launched.append(run.run_id)
        return run.run_id

    def active(self) -> list[str]:
        """Runs that have not ended, as far as their records say."""
        for run_id in self.launched:
            if run_id not in self.ended:
                run = self.instance.get_run_by_id(run_id)
                if run is not None and run.is_finished:
                    self.ended.add(run_id)
        return [run_id for run_id in self.launched if run_id not in self.ended]

    def cancel(self, run_id: str) -> None:
        """Cancel a run, unless it is over."""
        if self.instance.run_launcher.terminate(run_id):
            self.cancelled.add(run_id)

    def status(self, run_id: str) -> DagsterRunStatus | None:
        """The run's status; none where there is no such run."""
        run = self.instance.get_run_by_id(run_id)
        return run.status if run else None

    def left_in(self, queue: str) -> int:
        """Messages that wait or are in flight."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        url = f"{self.broker.endpoint}/000000000000/{queue}"
        found = client_of(self.broker.endpoint).get_queue_attributes(
            QueueUrl=url, AttributeNames=names
        )
        return sum(int(found["Attributes"][name]) for name in names)

    def queues(self) -> list[str]:
        """The names of all queues."""
        urls = client_of(self.broker.endpoint).list_queues().get("QueueUrls", [])
        return [url.rsplit("/", 1)[-1] for url in urls]


@contextmanager
def running(folder: Path, location: Path = LOCATION) -> Iterator[Scene]:
    """A scene in an empty folder, with both hosts up; all of it ends with the block."""
    (folder / "home").mkdir()
    (folder / "location.py").write_text(location.read_text())
    (folder / "worker.yaml").write_text(WORKER_YAML)
    broker = Broker(folder, free_port())
    hosts = [Host(name, folder) for name in HOSTS]
    database = Postgres.start(folder / "database")
    try:
        (folder / "home" / "dagster.yaml").write_text(
            DAGSTER_YAML.format(storage=database.dagster_storage)
        )
        broker.start()
        os.environ.update(_variables(folder, broker))
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        create = [own_binary(), "queue", "create", "--dead-letters"]
        subprocess.run([*create, "--max-receives", str(RECEIVES)], check=True)
        with DagsterInstance.get() as instance:
            instance.event_log_storage.set_concurrency_slots(LIMITED, 2)
            for host in hosts:
                host.start()
            yield Scene(folder, broker, database, instance, hosts)
    finally:
        for host in hosts:
            host.kill()
        broker.kill()
        database.stop()


def _variables(folder: Path, broker: Broker) -> dict[str, str]:
    return {
        "DAGSTER_HOME": str(folder / "home"),
        "DAGSTER_TASKIQ_SQS_QUEUE_URL": f"{broker.endpoint}/000000000000/soak",
        "DAGSTER_TASKIQ_SQS_ENDPOINT_URL": broker.endpoint,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "PYTHONPATH": f"{SOURCE}{os.pathsep}{HERE}",
        "SOAK_TRACES": str(folder / "traces"),
        "XDG_RUNTIME_DIR": str(folder),
        "XDG_STATE_HOME": str(folder / "state"),
    }
