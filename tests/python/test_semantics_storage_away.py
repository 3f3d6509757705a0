"""Dagster's storage goes away in the middle of runs: nothing fails, and nothing runs twice."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.errors
import pytest
import sqlalchemy
from dagster import DagsterEvent, DagsterEventType, DagsterInstance, DagsterRunStatus
from dagster._core.events import EngineEventData
from dagster._core.events.log import EventLogEntry
from dagster_postgres.utils import DagsterPostgresException

from _dagster_taskiq_host import connections, storage_away
from conftest import counted, job_named, wait_for
from dagster_taskiq.run_owner import last_announcement
from fleet import Fleet, running
from postgres import Postgres
from servers import NoServer, Server, free_port


def outage_of(seconds: float) -> float:
    """The length of an outage in seconds: this one, or that of all (120 was tried by hand)."""
    return float(os.environ.get("DTQ_TEST_OUTAGE", seconds))


STEPS = {"goes_on", "begins", "ends", "follows"}


@contextlib.contextmanager
def project_on(storage: str, folder: Path) -> Iterator[Fleet]:
    """A project on a server of its own; a skipped test where there is none."""
    try:
        with running(folder, storage=storage, visibility=10) as found:
            yield found
    except NoServer as error:
        pytest.skip(f"{storage} was not tested: {error}")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A project on PostgreSQL, with one worker."""
    with project_on("postgres", tmp_path_factory.mktemp("postgres")) as found:
        found.worker("away", "--workers", "4", "--run-slots", "3")
        yield found


class Moments:
    """Runs that an outage finds at every moment of their lives."""

    def __init__(self, fleet: Fleet, folder: Path):
        self.fleet = fleet
        self.folder = folder
        gates = {"config": {"folder": str(folder)}}
        # No worker serves this one: the test passes its message on.
        later = fleet.queue.beside(folder.name[-40:])
        execution = {"config": {"queues": {"later": later.url}}}
        ops = {"goes_on": gates, "ends": gates}
        self.run = self._launch("moments", {"ops": ops, "execution": execution})
        for step in ("goes_on", "ends"):
            wait_for((folder / f"{step}.there").exists, step)
        (self.message,) = wait_for(lambda: later.receive(1), "the message of begins")

    def _launch(self, name: str, config: Any) -> str:
        job = job_named(name, "outages.py")
        run = self.fleet.instance.create_run_for_job(
            job.get_definition(), run_config=config, job_code_origin=job.get_python_origin()
        )
        self.fleet.instance.launch_run(run.run_id, None)
        return run.run_id

    def last_step_ends(self) -> None:
        """Begin another run, and return as soon as its only step has ended."""
        folder = self.folder / "last"
        folder.mkdir()
        config = {"ops": {"ends": {"config": {"folder": str(folder)}}}}
        self.last = self._launch("last_step", config)
        wait_for((folder / "ends.there").exists, "the step of the other run")
        (folder / "ends.go").touch()
        ended = "STEP_SUCCESS"
        wait_for(lambda: counted(self.fleet.instance, self.last, ended), "the end of its step")

    def things_go_on(self) -> None:
        """While the storage is away: a step ends, another one's message is received."""
        (self.folder / "ends.go").touch()
        body = self.message["Body"]
        self.fleet.queue.client.send_message(QueueUrl=self.fleet.queue.url, MessageBody=body)

    def all_ends_well(self, given_up: bool = False) -> None:
        """After the outage: what was under way ends, each step once; what was given up too."""
        (self.folder / "goes_on.go").touch()
        instance = self.fleet.instance
        for run_id, steps in ((self.run, STEPS), (self.last, {"ends"})):
            wait_for(lambda run_id=run_id: self._is_over(run_id), f"the end of {run_id}", 90)
            found = instance.get_run_by_id(run_id)
            text = "\n".join(e.message for e in instance.all_logs(run_id))
            assert found.status == DagsterRunStatus.SUCCESS, text
            assert counted(instance, run_id, "STEP_SUCCESS") == dict.fromkeys(steps, 1), text
            assert not counted(instance, run_id, "STEP_FAILURE"), text
            if not given_up:
                assert counted(instance, run_id, "STEP_START") == dict.fromkeys(steps, 1), text
                for kind in ("STEP_UP_FOR_RETRY", "STEP_RESTARTED"):
                    assert not counted(instance, run_id, kind), text
            assert counted(instance, run_id, "PIPELINE_SUCCESS").total() == 1
        wait_for(lambda: self.fleet.queue.depth() == 0, "the acknowledgements")

    def _is_over(self, run_id: str) -> bool:
        found = self.fleet.instance.get_run_by_id(run_id)
        return found is not None and found.is_finished


@contextlib.contextmanager
def stopped(server: Server, how: signal.Signals) -> Iterator[None]:
    """The server is ended, and started again after it."""
    server.stop(how)
    try:
        yield
    finally:
        server.serve()


@contextlib.contextmanager
def frozen(server: Server) -> Iterator[None]:
    """The server takes connections and answers nothing."""
    assert server.process is not None
    children = f"/proc/{server.process.pid}/task/{server.process.pid}/children"
    pids = [server.process.pid, *map(int, Path(children).read_text().split())]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in reversed(pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def black_hole(server: Server) -> Iterator[None]:
    """Packets to the server and from it are dropped."""
    rules = [["INPUT", "-p", "tcp", way, str(server.port), "-j", "DROP"] for way in WAYS]
    for rule in rules:
        subprocess.run(["iptables", "-I", *rule], check=True)
    try:
        yield
    finally:
        for rule in rules:
            subprocess.run(["iptables", "-D", *rule], check=True)


WAYS = ("--dport", "--sport")


def dropped(server: Server) -> contextlib.AbstractContextManager[None]:
    """A black hole; a skipped test where none can be made."""
    try:
        with black_hole(server):
            pass
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"packets were NOT DROPPED: it takes root and iptables ({error})")
    return black_hole(server)


def away(fleet: Fleet, folder: Path, outage: Any, seconds: float) -> None:
    """Runs meet an outage of this kind and length."""
    moments = Moments(fleet, folder)
    moments.last_step_ends()
    with outage:
        moments.things_go_on()
        # The outage itself: nothing is waited for, and nothing depends on its length.
        time.sleep(seconds)
    moments.all_ends_well()


def connections_of(fleet: Fleet, pid: int) -> set[str]:
    """The connections of a process to the server, each by its own port."""
    assert fleet.server is not None
    inodes = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            inodes.add(os.readlink(fd).removeprefix("socket:[").removesuffix("]"))
    server = f":{fleet.server.port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[1] for row in rows if row[2].endswith(server) and row[9] in inodes}


def assert_one_connection_is_kept(project: Fleet, moments: Moments) -> None:
    """By the run worker, which looks at the log all the time, and by a step."""
    announced = last_announcement(project.instance, moments.run)
    assert announced is not None
    step = int((moments.folder / "goes_on.there").read_text())
    for pid in (int(announced.pid), step):
        kept = connections_of(project, pid)
        until = time.monotonic() + 2
        while time.monotonic() < until:
            now = connections_of(project, pid)
            # While two threads look at once, there is another.
            assert 1 <= len(now) <= 2
            kept &= now
            time.sleep(0.05)
        assert len(kept) == 1


def test_a_stop_of_the_server_fails_nothing_and_one_connection_is_kept(
    project: Fleet, tmp_path: Path
) -> None:
    assert project.server is not None
    moments = Moments(project, tmp_path)
    assert_one_connection_is_kept(project, moments)
    moments.last_step_ends()
    with stopped(project.server, project.server.STOP):
        moments.things_go_on()
        time.sleep(outage_of(2.0))
    moments.all_ends_well()


def test_a_crash_of_the_server_fails_nothing(project: Fleet, tmp_path: Path) -> None:
    assert project.server is not None
    away(project, tmp_path, stopped(project.server, project.server.CRASH), outage_of(20.0))


def test_a_server_that_does_not_answer_fails_nothing(project: Fleet, tmp_path: Path) -> None:
    assert project.server is not None
    away(project, tmp_path, frozen(project.server), outage_of(4.0))


def test_a_network_that_drops_everything_fails_nothing(project: Fleet, tmp_path: Path) -> None:
    assert project.server is not None
    away(project, tmp_path, dropped(project.server), outage_of(20.0))


def test_a_network_to_mysql_that_drops_everything_fails_nothing(tmp_path: Path) -> None:
    with project_on("mysql", tmp_path / "mysql") as fleet:
        assert fleet.server is not None
        fleet.worker("away-too", "--workers", "4", "--run-slots", "3")
        (tmp_path / "dropped").mkdir()
        away(fleet, tmp_path / "dropped", dropped(fleet.server), outage_of(20.0))


def test_mysql_may_be_away_as_well(tmp_path: Path) -> None:
    with project_on("mysql", tmp_path / "mysql") as fleet:
        assert fleet.server is not None
        fleet.worker("away-too", "--workers", "4", "--run-slots", "3")
        for name, outage, seconds in (
            ("stop", stopped(fleet.server, fleet.server.STOP), 2.0),
            ("crash", stopped(fleet.server, fleet.server.CRASH), 4.0),
            ("silence", frozen(fleet.server), 13.0),
        ):
            (tmp_path / name).mkdir()
            away(fleet, tmp_path / name, outage, outage_of(seconds))

        # Given up, a run is resumed, and a step that has ended is lost and tried again.
        fleet.stop_all()
        fleet.environment[storage_away.VARIABLE] = "1"
        fleet.worker("impatient", "--workers", "4", "--run-slots", "3")
        (tmp_path / "given-up").mkdir()
        moments = Moments(fleet, tmp_path / "given-up")
        moments.last_step_ends()
        with stopped(fleet.server, fleet.server.CRASH):
            moments.things_go_on()
            for task in ("ends", "execute_job"):
                wait_for(partial(given_up, fleet, moments.run, task), f"the end of {task}", 90)
        moments.all_ends_well(given_up=True)
        assert counted(fleet.instance, moments.run, "STEP_UP_FOR_RETRY") == {"ends": 1}


def given_up(fleet: Fleet, run_id: str, task: str) -> bool:
    """Whether the worker has seen a task of a run give up."""
    texts = [f" {task} was interrupted", f" {task}: a report failed in Dagster's storage"]
    lines = fleet.log_of("impatient").splitlines()
    return any(run_id in line and any(text in line for text in texts) for line in lines)


@contextlib.contextmanager
def crowded(server: Server) -> Iterator[None]:
    """All connections of the server but for a few are taken."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(psycopg2.OperationalError):
            while True:
                stack.callback(connection_to(server).close)
        yield


def connection_to(server: Server, **arguments: Any) -> Any:
    return psycopg2.connect(
        host="127.0.0.1", port=server.port, user="test", dbname="postgres", **arguments
    )


def test_too_many_clients_are_waited_for(project: Fleet, tmp_path: Path) -> None:
    assert project.server is not None
    moments = Moments(project, tmp_path)
    moments.last_step_ends()
    with crowded(project.server):
        moments.things_go_on()
        # Longer than Dagster itself waits for a connection.
        time.sleep(13.0)
    moments.all_ends_well()


def error_of(call: Callable[[], Any]) -> BaseException:
    with pytest.raises(Exception) as caught:
        call()
    return caught.value


@pytest.mark.parametrize("waiting", [0, 8])
def test_a_mysql_server_that_takes_no_connection_does_not_answer(waiting: int) -> None:
    """It accepts and says nothing; or so many wait before us that it does not even accept."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1))
        for _ in range(waiting):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(server.getsockname())
        url = f"mysql+mysqlconnector://test@127.0.0.1:{server.getsockname()[1]}/dagster"
        engine = sqlalchemy.create_engine(url, connect_args={"connection_timeout": 1})
        assert storage_away.is_away(error_of(engine.connect))


def test_what_means_that_the_storage_does_not_answer(project: Fleet, tmp_path: Path) -> None:
    server = project.server
    assert isinstance(server, Postgres)
    nobody = f"postgresql+psycopg2://test@127.0.0.1:{free_port()}/postgres"
    nowhere = sqlalchemy.create_engine(nobody)
    there = sqlalchemy.create_engine(server.url)

    def query(text: str) -> None:
        with there.begin() as connection:
            connection.execute(sqlalchemy.text(text))

    refused = error_of(nowhere.connect)
    assert storage_away.is_away(refused)
    wrapped = DagsterPostgresException("too many retries for DB connection")
    wrapped.__cause__ = refused
    outer = ValueError("on the way")
    outer.__context__ = wrapped
    assert storage_away.is_away(wrapped)
    assert storage_away.is_away(outer)
    with crowded(server):
        assert storage_away.is_away(error_of(lambda: connection_to(server)))
    query("CREATE TABLE once (n int PRIMARY KEY)")
    query("INSERT INTO once VALUES (1)")
    for text in ("SELECT * FROM nowhere", "INSERT INTO once VALUES (1)", "SELEC"):
        assert not storage_away.is_away(error_of(lambda text=text: query(text))), text
    read_only = "SET TRANSACTION READ ONLY; INSERT INTO once VALUES (2)"
    assert storage_away.is_away(error_of(lambda: query(read_only)))
    with there.connect() as connection:
        pid = connection.execute(sqlalchemy.text("SELECT pg_backend_pid()")).scalar()
        query(f"SELECT pg_terminate_backend({pid})")
        ended = error_of(lambda: connection.execute(sqlalchemy.text("SELECT 1")))
        assert storage_away.is_away(ended)
        connection.invalidate()
    lite = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'db'}", connect_args={"timeout": 0})
    with lite.connect() as first, lite.connect() as second:
        first.execute(sqlalchemy.text("BEGIN EXCLUSIVE"))
        statement = sqlalchemy.text("CREATE TABLE t (n int)")
        assert storage_away.is_away(error_of(lambda: second.execute(statement)))
        missing = sqlalchemy.text("SELECT * FROM nowhere")
        first.rollback()
        assert not storage_away.is_away(error_of(lambda: second.execute(missing)))
    assert not storage_away.is_away(ValueError("of user code"))


@pytest.fixture
def patient(project: Fleet, monkeypatch: pytest.MonkeyPatch) -> Iterator[DagsterInstance]:
    """An instance of the project that this process waits for, for as long as a test says."""
    monkeypatch.setattr(storage_away._Process, "limit", None)
    monkeypatch.setattr(storage_away._Process, "gave_up", None)
    with DagsterInstance.get() as instance:
        storage_away.be_patient(instance)
        yield instance


def entry(run_id: str) -> EventLogEntry:
    event = DagsterEvent(
        event_type_value=DagsterEventType.ENGINE_EVENT.value,
        job_name="job",
        message="a word",
        event_specific_data=EngineEventData(),
    )
    return EventLogEntry(None, 10, "", run_id, time.time(), None, "job", event)


def test_an_event_whose_answer_was_lost_is_not_written_again(
    project: Fleet, patient: DagsterInstance
) -> None:
    storage: Any = patient.event_log_storage
    lose = ["after", "before"]

    @contextlib.contextmanager
    def connect() -> Iterator[Any]:
        with sqlalchemy.create_engine(project.server.url).connect() as connection:
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            when = lose.pop() if lose else ""
            if when == "before":
                raise sqlalchemy.exc.OperationalError("INSERT", {}, Exception(), None, True)
            yield connection
            if when == "after":
                raise sqlalchemy.exc.OperationalError("INSERT", {}, Exception(), None, True)

    storage._connect = connect
    written = entry("lost-answer")
    storage.store_event(written)
    assert not lose
    found = project.instance.event_log_storage.get_logs_for_run("lost-answer")
    assert list(found) == [written]


def test_credentials_that_fail_for_a_while_are_waited_for_and_not_for_ever(
    project: Fleet, patient: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = [0.0]

    def refuse(_dialect: Any, _record: Any, _args: Any, _arguments: Any) -> None:
        if refusals:
            refusals.pop()
            raise psycopg2.OperationalError('FATAL: password authentication failed for "test"')

    engine = patient.run_storage._engine  # type: ignore[attr-defined]
    sqlalchemy.event.listen(engine, "do_connect", refuse)
    with connections.kept(patient):
        assert patient.get_runs(limit=1) is not None
        assert not refusals
        engine.pool.dispose()
        refusals += [0.0] * 1000
        monkeypatch.setattr(storage_away._Process, "limit", 0.5)
        with pytest.raises(storage_away.StorageGaveUp, match="password authentication failed"):
            patient.get_runs(limit=1)
    refusals.clear()
    # Dagster must not write now that the run failed.
    with pytest.raises(storage_away.StorageGaveUp):
        patient.get_runs(limit=1)
