"""The delivery rules on real database servers: claims, duplicates, a lost worker, a restart."""

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from dagster import DagsterEvent, DagsterEventType, DagsterRunStatus, MetadataValue
from dagster._core.events import EngineEventData, StepSuccessData
from sqlalchemy import text
from sqlalchemy.engine import Engine

from _dagster_taskiq_host import (
    claims,
    connections,
    event_log,
    heartbeats,
    reports,
    storage_away,
    takeover,
)
from _dagster_taskiq_host.guard import Guard
from _dagster_taskiq_host.instances import event_storage
from conftest import job_named, wait_for, wait_until_gone
from fleet import Begun, Fleet, running
from servers import NoServer


@pytest.fixture(scope="module", params=["postgres", "mysql"])
def project(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """A project on a server of its own."""
    storage = str(request.param)
    try:
        with running(tmp_path_factory.mktemp(storage), storage=storage, visibility=10) as found:
            yield found
    except NoServer as error:
        pytest.skip(f"{storage} was not tested: {error}")


@pytest.fixture
def fleet(project: Fleet) -> Iterator[Fleet]:
    """The project, with no worker yet. A worker's name is used once, since some are killed."""
    yield project
    project.stop_all()
    assert project.queue.depth() == 0, "a message is left"


def waiting(folder: Path) -> dict:
    """Config of a step that waits for the file ``go`` in this folder."""
    return {"ops": {"waits": {"config": {"folder": str(folder)}}}}


def hidden(fleet: Fleet) -> int:
    """How many messages of the base queue were received and not yet deleted."""
    name = "ApproximateNumberOfMessagesNotVisible"
    found = fleet.queue.client.get_queue_attributes(QueueUrl=fleet.queue.url, AttributeNames=[name])
    return int(found["Attributes"][name])


def test_a_message_delivered_eight_times_at_once_is_executed_once(
    fleet: Fleet, tmp_path: Path
) -> None:
    run = fleet.begin("wait_job", config=waiting(tmp_path))
    (message,) = wait_for(lambda: fleet.queue.receive(1), "the step's message")
    entries = [{"Id": str(number), "MessageBody": message["Body"]} for number in range(8)]
    fleet.queue.client.send_message_batch(QueueUrl=fleet.queue.url, Entries=entries)
    fleet.worker("one", "--workers", "4")
    fleet.worker("two", "--workers", "4")
    wait_for((tmp_path / "there").exists, "the step")
    wait_for(lambda: hidden(fleet) == 8, "the receipt of every duplicate")
    (tmp_path / "go").touch()
    assert run.finish().status == DagsterRunStatus.SUCCESS
    # Those that one worker has received come to their turn one visibility timeout after the other.
    wait_for(lambda: fleet.queue.depth() == 0, "the acknowledgement of every duplicate", 180)
    assert run.count("STEP_START") == {"waits": 1}
    assert run.count("STEP_SUCCESS") == {"waits": 1}


def test_a_step_whose_worker_is_killed_is_tried_again_by_another(
    fleet: Fleet, tmp_path: Path
) -> None:
    first = fleet.worker("first")
    run = fleet.begin("wait_job", config=waiting(tmp_path))
    wait_for((tmp_path / "there").exists, "the step")
    os.kill(first.pid, signal.SIGKILL)
    wait_until_gone(tmp_path)
    (tmp_path / "go").touch()
    fleet.worker("second")
    assert run.finish().status == DagsterRunStatus.SUCCESS
    assert run.count("STEP_SUCCESS") == {"waits": 1}
    assert run.count("STEP_UP_FOR_RETRY") == {"waits": 1}
    wait_for(lambda: fleet.queue.depth() == 0, "the acknowledgement")
    (retry,) = fleet.instance.all_logs(run.run_id, of_type=DagsterEventType.STEP_UP_FOR_RETRY)
    text = retry.get_dagster_event().message or ""
    assert "its worker is gone" in text
    assert os.uname().nodename in text


def test_a_restart_of_the_server_in_mid_run_is_waited_for(fleet: Fleet, tmp_path: Path) -> None:
    assert fleet.server is not None
    fleet.worker("third")
    run = fleet.begin("wait_job", config=waiting(tmp_path))
    wait_for((tmp_path / "there").exists, "the step")
    fleet.server.stop(fleet.server.CRASH)
    # The step goes on without its database, and so does the run; neither is to end.
    fleet.server.serve()
    (tmp_path / "go").touch()
    assert run.finish().status == DagsterRunStatus.SUCCESS
    assert run.count("STEP_START") == {"waits": 1}
    assert run.count("STEP_SUCCESS") == {"waits": 1}
    wait_for(lambda: fleet.queue.depth() == 0, "the acknowledgement")


def test_a_step_that_lost_its_claim_to_another_process_writes_no_end(
    fleet: Fleet, tmp_path: Path
) -> None:
    assert fleet.server is not None
    fleet.worker("fourth")
    run = fleet.begin("wait_job", config=waiting(tmp_path))
    wait_for((tmp_path / "there").exists, "the step")
    child = int((tmp_path / "there").read_text())
    claim = claims.claim(fleet.instance, run.run_id, "waits", 1)
    assert not claim.acquire()
    # The server forgets the claim; another process is faster to take it than the step.
    fleet.server.stop(fleet.server.CRASH)
    fleet.server.serve()
    assert claim.acquire()
    (tmp_path / "go").touch()
    wait_for(lambda: not os.path.exists(f"/proc/{child}"), "the end of the step's process")
    assert not run.count("STEP_SUCCESS")
    claim.release()
    assert run.finish().status == DagsterRunStatus.SUCCESS
    assert run.count("STEP_SUCCESS") == {"waits": 1}
    assert run.count("STEP_UP_FOR_RETRY") == {"waits": 1}
    wait_for(lambda: fleet.queue.depth() == 0, "the acknowledgement")


def test_a_step_that_was_given_up_while_it_was_cut_off_writes_no_second_end(
    fleet: Fleet, tmp_path: Path
) -> None:
    assert fleet.server is not None
    fleet.worker("fifth")
    run = fleet.begin("wait_job", config=waiting(tmp_path))
    wait_for((tmp_path / "there").exists, "the step")
    child = int((tmp_path / "there").read_text())
    # The server forgets the claim; another worker takes the step for lost, and all is as before.
    fleet.server.stop(fleet.server.CRASH)
    fleet.server.serve()
    claim = claims.claim(fleet.instance, run.run_id, "waits", 1)
    assert claim.acquire()
    lost = reports.Report(run.run_id, "waits", 1, reports.LOST, "It was cut off.")
    assert reports.write_held(fleet.instance, lost)["result"] == "written"
    claim.release()
    wait_for(lambda: len(run.count_of_owners()) == 2, "the second attempt")
    (tmp_path / "go").touch()
    wait_for(lambda: not os.path.exists(f"/proc/{child}"), "the end of the first one's process")
    assert run.finish().status == DagsterRunStatus.SUCCESS
    assert run.count("STEP_SUCCESS") == {"waits": 1}
    assert run.count("STEP_UP_FOR_RETRY") == {"waits": 1}
    wait_for(lambda: fleet.queue.depth() == 0, "the acknowledgement")


def test_a_process_that_was_away_as_it_announced_itself_leaves_the_run_to_who_has_it(
    fleet: Fleet,
) -> None:
    assert fleet.server is not None
    held, other = (claims.claim(fleet.instance, "of-a-frozen-host", None, 1) for _ in range(2))
    assert held.acquire()
    fleet.server.stop(fleet.server.CRASH)
    fleet.server.serve()
    assert other.acquire()
    task = SimpleNamespace(run_id="of-a-frozen-host", is_step=False, step_key=None, attempt=1)
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        told = lambda frame: theirs.send(json.dumps(frame).encode())  # noqa: E731
        Guard(fleet.instance, held, task, told).announced()  # type: ignore[arg-type]
        theirs.send(b"{}")
        os._exit(0)
    frame = json.loads(ours.recv(10_000))
    _, status = os.waitpid(pid, 0)
    assert frame.get("outcome") == "claim_held"
    assert os.WTERMSIG(status) == signal.SIGKILL
    other.release()
    held.release()


@pytest.mark.parametrize("when", ["before the statement", "with a connection in hand"])
def test_a_step_that_was_frozen_as_it_ended_writes_no_second_end(
    fleet: Fleet, when: str, tmp_path: Path
) -> None:
    job = job_named("wait_job", "second.py").get_definition()
    run = fleet.instance.create_run_for_job(job, run_config=waiting(tmp_path))
    task = SimpleNamespace(run_id=run.run_id, is_step=True, step_key="waits", attempt=1)
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        send = lambda frame: theirs.send(json.dumps(frame).encode())  # noqa: E731
        connections.keep(fleet.instance)
        storage_away.be_patient(fleet.instance)
        claim = claims.claim(fleet.instance, run.run_id, "waits", 1, of_process=True)
        assert claim.acquire()
        guard = Guard(fleet.instance, claim, task, send)  # type: ignore[arg-type]
        guard.install()
        guard.announced()
        start = DagsterEvent(DagsterEventType.STEP_START.value, run.job_name, step_key="waits")
        fleet.instance.report_dagster_event(start, run.run_id)
        storage = event_storage(fleet.instance)
        connect = storage._connect

        @contextlib.contextmanager
        def frozen() -> Iterator[object]:
            storage._connect = connect
            if when == "before the statement":
                freeze()
            with connect() as connection:
                if when == "with a connection in hand":
                    freeze()
                yield connection

        def freeze() -> None:
            send({"frozen": True})
            assert theirs.recv(1)

        storage._connect = frozen
        end = DagsterEvent(
            DagsterEventType.STEP_SUCCESS.value,
            run.job_name,
            step_key="waits",
            event_specific_data=StepSuccessData(1.0),
        )
        fleet.instance.report_dagster_event(end, run.run_id)
        os._exit(0)
    theirs.close()
    assert json.loads(ours.recv(10_000)) == {"frozen": True}
    other = claims.claim(fleet.instance, run.run_id, "waits", 1)
    other.end_holder()
    wait_for(other.acquire, "the claim")
    lost = reports.Report(run.run_id, "waits", 1, reports.LOST, "It was frozen.")
    assert reports.write_held(fleet.instance, lost)["result"] == "written"
    other.release()
    ours.send(b"x")
    assert json.loads(ours.recv(10_000)).get("outcome") == "claim_held"
    _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    ends = (DagsterEventType.STEP_SUCCESS, DagsterEventType.STEP_UP_FOR_RETRY)
    found = [fleet.instance.all_logs(run.run_id, of_type=kind) for kind in ends]
    assert [len(each) for each in found] == [0, 1]


def started_elsewhere(fleet: Fleet, run: Begun, worker: str, silence: float) -> None:
    """Has the log say that a worker on another host began the step, and has it be silent."""
    wait_for(lambda: run.count("STEP_WORKER_STARTING"), "the step's announcement")
    found = fleet.instance.get_run_by_id(run.run_id)
    assert found is not None
    facts = {event_log.OWNER_KEY: worker, "host": "elsewhere", "boot": "another", "started": "1"}
    facts |= {"pid": "17", "worker_pid": "1", "incarnation": "gone"}
    metadata = {key: MetadataValue.text(text) for key, text in facts.items()}
    data = EngineEventData(metadata=metadata)
    fleet.instance.report_engine_event("I run it.", found, data, step_key="waits")
    start = DagsterEvent(DagsterEventType.STEP_START.value, found.job_name, step_key="waits")
    fleet.instance.report_dagster_event(start, run.run_id)
    beat = {"id": worker, "incarnation": "gone", "pid": 1, "time": time.time() - silence}
    key = heartbeats.WORKER + heartbeats.name_of(worker, "gone")
    fleet.instance.run_storage.set_cursor_values({key: json.dumps(beat)})


def test_a_step_of_a_worker_whose_name_another_one_has_is_lost_with_it(
    fleet: Fleet, tmp_path: Path
) -> None:
    run = fleet.begin("wait_job", config=waiting(tmp_path))
    started_elsewhere(fleet, run, fleet.id_of("sixth"), 30.0)
    (tmp_path / "go").touch()
    fleet.worker("sixth")
    assert run.finish().status == DagsterRunStatus.SUCCESS
    assert run.count("STEP_UP_FOR_RETRY") == {"waits": 1}
    wait_for(lambda: fleet.queue.depth() == 0, "the acknowledgement")


def test_a_claim_is_taken_from_a_host_that_has_long_been_silent(fleet: Fleet) -> None:
    held, wanted = (claims.claim(fleet.instance, "of-a-silent-host", "one", 1) for _ in range(2))
    assert held.acquire()
    owner = {"id": "silent", "host": "elsewhere", "pid": "1", "incarnation": "a"}
    observer = {"id": "observer", "incarnation": "b"}

    def beats(worker: dict[str, str], since: float, age: float) -> None:
        key = heartbeats.WORKER + heartbeats.name_of(worker["id"], worker["incarnation"])
        beat = {**worker, "since": time.time() - since, "time": time.time() - age}
        fleet.instance.run_storage.set_cursor_values({key: json.dumps(beat)})

    def take() -> str | None:
        seen = lambda: (owner, time.time())  # noqa: E731
        found = takeover.acquire(fleet.instance, wanted, observer, seen)
        return found and found["outcome"]

    beats(observer, 600.0, 0.0)
    beats(owner, 600.0, 1.0)
    assert take() == "claim_held"
    beats(owner, 600.0, 40.0)
    assert take() == "owner_silent"
    beats(owner, 600.0, 70.0)
    # One that has not listened for as long, or whose own heartbeats do not arrive, takes nothing.
    beats(observer, 30.0, 0.0)
    assert take() == "owner_silent"
    beats(observer, 600.0, 60.0)
    assert take() == "owner_silent"
    assert held.ensure() is claims.Standing.HELD
    beats(observer, 600.0, 0.0)
    assert take() is None
    assert held.ensure() is claims.Standing.LOST
    wanted.release()
    assert held.ensure() is claims.Standing.RETAKEN
    held.release()


def test_a_claim_is_taken_from_a_session_that_outlived_its_process(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, wanted = (claims.claim(fleet.instance, "of-a-dead-process", "one", 1) for _ in range(2))
    assert held.acquire()
    # Its worker lives; what it would have said to the server was lost on the way.
    owner = {**heartbeats.this_process(), "id": "lives", "incarnation": "a"}
    ended = {**owner, "started": "0"}

    def take(owner: dict[str, str]) -> bool:
        return takeover.take(wanted, lambda: (owner, time.time()))

    monkeypatch.setattr(takeover, "DEAD_AFTER", 2.0)
    until = time.monotonic() + 3.0
    wait_for(lambda: not take(owner) and time.monotonic() > until, "a session that is long idle")
    assert held.ensure() is claims.Standing.HELD, "taken from a process that is still there"
    assert not take(ended), "taken from a session that has just been used"
    wait_for(lambda: take(ended), "the claim", 20)
    assert held.ensure() is claims.Standing.LOST
    wanted.release()
    assert held.acquire()
    wait_for(lambda: take({**owner, "released": "yes"}), "the claim", 20)
    wanted.release()


def test_the_server_looks_after_the_connection_of_a_claim(fleet: Fleet) -> None:
    if claims.claim(fleet.instance, "a-run", None, 1).__class__ is not claims.PostgresClaim:
        return  # MySQL has no keepalives of a session's own: there the silent holder is ended
    settings = "SELECT name, setting FROM pg_settings WHERE name LIKE 'tcp_%'"
    with kept_claim(fleet, "a-run") as (claim, engine):
        assert claim.acquire()
        with engine.connect() as connection:
            found = {row[0]: row[1] for row in connection.execute(text(settings))}
        assert claims.SERVER_KEEPALIVE.items() <= found.items()
        claim.release()


@contextlib.contextmanager
def kept_claim(fleet: Fleet, name: str) -> Iterator[tuple[claims.SqlClaim, Engine]]:
    """A claim as the process of a step has it, and the engine whose connection it is on."""
    with connections.kept(fleet.instance):
        claim = claims.claim(fleet.instance, name, None, 1, of_process=True)
        assert isinstance(claim, claims.SqlClaim)
        assert claim._kept is not None
        yield claim, claim._kept
        claim.release()


def test_the_connection_with_the_claim_is_the_one_that_is_kept(fleet: Fleet) -> None:
    other = claims.claim(fleet.instance, "kept", None, 1)
    with kept_claim(fleet, "kept") as (claim, engine):
        assert claim.acquire()
        with engine.connect() as first:
            assert first.info.get(connections.CLAIM) is claim
            with engine.connect() as second:
                assert claim.ensure() is claims.Standing.HELD, "another thread is using it"
                first.close()
                second.close()
        for returned_first in (0, 1):
            both = [engine.connect() for _ in range(2)]
            both.pop(returned_first).close()
            both.pop().close()
            assert claim.ensure() is claims.Standing.HELD
            assert not other.acquire()
        claim.release()
        assert other.acquire(), "the session lives on, without the claim"
        assert not claim.acquire()
        other.release()
        wait_for(claim.acquire, "the end of the other one's session")


def test_a_claim_whose_connection_was_closed_is_taken_again(fleet: Fleet) -> None:
    other = claims.claim(fleet.instance, "closed", None, 1)
    with kept_claim(fleet, "closed") as (claim, engine):
        assert claim.acquire()
        engine.pool.dispose()
        assert claim.ensure() is claims.Standing.RETAKEN
        other.end_holder()
        wait_for(other.acquire, "the end of the session")
        assert claim.ensure() is claims.Standing.LOST
        other.release()
        wait_for(lambda: claim.ensure() is claims.Standing.RETAKEN, "the end of its session")
        assert not other.acquire()


def test_a_claim_is_given_up_without_waiting_for_a_server_that_is_away(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fleet.server is not None
    other = claims.claim(fleet.instance, "away", None, 1)
    with kept_claim(fleet, "away") as (claim, _engine):
        assert claim.acquire()
        fleet.server.stop(fleet.server.CRASH)
        monkeypatch.setattr(storage_away._Process, "limit", 3.0)
        monkeypatch.setattr(storage_away._Process, "gave_up", None)
        claim.release()
        assert storage_away.gave_up() is None, "it was waited for"
        monkeypatch.undo()
        fleet.server.serve()
    assert other.acquire()
    other.release()
