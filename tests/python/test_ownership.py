"""Who owns an attempt and a run, as event log and heartbeats tell it."""

import asyncio
import contextlib
import json
import sqlite3
import time
from pathlib import Path
from typing import Any

from dagster import DagsterEvent, DagsterEventType, DagsterInstance, DagsterRun, MetadataValue
from dagster._core.events import EngineEventData
from dagster._core.execution.plan.objects import StepRetryData, StepSuccessData
from dagster._utils.error import SerializableErrorInfo

from _dagster_taskiq_host import event_log, heartbeats, reports
from conftest import create_run
from dagster_taskiq import registry, run_owner
from dagster_taskiq.python_worker.hosts import InstanceAgent

STEP = "one"


def write(
    instance: DagsterInstance, run: DagsterRun, kind: DagsterEventType, attempt: int = 0
) -> None:
    """An event of the step; a number of 0 is that of a worker that gives none."""
    data: Any = None
    if kind == DagsterEventType.STEP_SUCCESS:
        data = StepSuccessData(duration_ms=1.0)
    elif kind == DagsterEventType.STEP_UP_FOR_RETRY:
        data = StepRetryData(error=SerializableErrorInfo("why", [], None))
    elif kind == DagsterEventType.STEP_WORKER_STARTING:
        data = EngineEventData()
    event = DagsterEvent(kind.value, run.job_name, step_key=STEP, event_specific_data=data)
    numbered = event_log.numbered(event, attempt) if attempt else event
    instance.report_dagster_event(numbered, run.run_id)


def announce(
    instance: DagsterInstance, run: DagsterRun, step: str | None, **facts: str
) -> dict[str, str]:
    """The announcement of a process on another host."""
    facts = {"host": "elsewhere", "boot": "b", "started": "1", "pid": "7", **facts}
    found = {event_log.OWNER_KEY: facts.pop("id"), **facts}
    metadata = {key: MetadataValue.text(text) for key, text in found.items()}
    instance.report_engine_event("It runs.", run, EngineEventData(metadata), step_key=step)
    return {"id": found[event_log.OWNER_KEY], **facts}


def beat(instance: DagsterInstance, incarnation: str, age: float = 0.0, **body: Any) -> None:
    """A heartbeat of a worker ``etl-1``."""
    heartbeats.beat(instance, "etl-1", {"incarnation": incarnation, "pid": 1, **body})
    key = heartbeats.WORKER + heartbeats.name_of("etl-1", incarnation)
    found = json.loads(instance.run_storage.get_cursor_values({key})[key])
    aged = json.dumps({**found, "time": time.time() - age})
    instance.run_storage.set_cursor_values({key: aged})


def is_gone(instance: DagsterInstance, owner: dict[str, str] | None, seen: float) -> bool:
    """What a worker makes of it that has been listening for long."""
    now = time.time()
    beats = {heartbeats.WORKER + "observer/o": json.dumps({"time": now, "since": now - 600})}
    instance.run_storage.set_cursor_values(beats)
    return heartbeats.owner_is_gone(instance, owner, seen, {"id": "observer", "incarnation": "o"})


def test_a_surplus_end_is_not_that_of_the_next_attempt(instance: DagsterInstance) -> None:
    kinds = DagsterEventType
    for number in (1, 0):
        run = create_run("chain_job", instance)
        write(instance, run, kinds.STEP_WORKER_STARTING)
        write(instance, run, kinds.STEP_START)
        write(instance, run, kinds.STEP_UP_FOR_RETRY, number)
        if not number:
            # Without a number the order must tell: nothing was sent in between.
            write(instance, run, kinds.STEP_SUCCESS)
        write(instance, run, kinds.STEP_WORKER_STARTING)
        write(instance, run, kinds.STEP_RESTARTED)
        if number:
            write(instance, run, kinds.STEP_SUCCESS, 1)
        found = event_log.read(instance, run.run_id, STEP)
        assert found.attempt(1).terminal.is_step_up_for_retry
        assert found.attempt(2).start is not None
        assert found.attempt(2).terminal is None
        write(instance, run, kinds.STEP_SUCCESS, 2 * number)
        found = event_log.read(instance, run.run_id, STEP)
        assert found.attempt(2).terminal.is_step_success
        assert found.attempt(3).owner is None
        events = event_log.attempt_events(instance, run.run_id, STEP, 2)
        assert events[-1].is_step_success


def test_the_owner_of_a_large_run_is_found_and_is_over_once_its_worker_says_so(
    instance: DagsterInstance,
) -> None:
    run = create_run("chain_job", instance)
    assert event_log.run_owner(instance, run.run_id)[0] is None
    owner = announce(instance, run, None, id="etl-1", incarnation="a")
    for number in range(120):
        announce(instance, run, f"step_{number}", id="etl-2", incarnation="b")
    found, seen = event_log.run_owner(instance, run.run_id)
    assert found == owner
    assert time.time() - seen < 60
    beat(instance, "a")
    assert not is_gone(instance, found, seen)
    worker = {"id": "etl-1", "hostname": "elsewhere", "incarnation": "a"}
    reports.release(instance, run.run_id, worker, 7)
    found, seen = event_log.run_owner(instance, run.run_id)
    assert is_gone(instance, found, seen)
    # The same worker may take the run up again, with another process.
    announce(instance, run, None, id="etl-1", incarnation="a", pid="8")
    found, seen = event_log.run_owner(instance, run.run_id)
    assert not is_gone(instance, found, seen)


def test_a_started_run_whose_owner_is_unknown_is_not_taken_over(instance: DagsterInstance) -> None:
    run = create_run("chain_job", instance)
    instance.report_engine_event("Something else happened.", run)
    owner, seen = event_log.run_owner(instance, run.run_id)
    assert owner is None
    assert not is_gone(instance, owner, seen)


def test_workers_of_one_name_are_told_apart(instance: DagsterInstance) -> None:
    run = create_run("chain_job", instance)
    first = announce(instance, run, STEP, id="etl-1", worker_pid="1", incarnation="a")
    second = announce(instance, run, STEP, id="etl-1", worker_pid="1", incarnation="b")
    now = time.time()
    # Of neither a heartbeat was written yet: the announcements are fresh.
    assert not is_gone(instance, first, now)
    assert is_gone(instance, first, now - 60)
    beat(instance, "a")
    beat(instance, "b")
    assert not is_gone(instance, first, now - 60)
    assert not is_gone(instance, second, now - 60)
    assert [worker["id"] for worker in heartbeats.fleet(instance)] == ["etl-1", "etl-1"]
    # One falls silent, the other goes on.
    beat(instance, "a", age=60)
    assert is_gone(instance, first, now)
    assert not is_gone(instance, second, now)
    assert len(heartbeats.fleet(instance)) == 1
    # One that says that it ended need not be silent first.
    beat(instance, "b", state="stopped")
    assert is_gone(instance, second, now)
    found = {worker.incarnation: worker for worker in registry.workers(instance)}
    assert not found["a"].is_alive
    assert not found["b"].is_alive


def test_an_announcement_names_the_report_of_its_worker(instance: DagsterInstance) -> None:
    beat(instance, "a")
    for incarnation, name in (("a", "etl-1/a"), ("", "etl-1")):
        facts = {run_owner.OWNER_KEY: "etl-1", "incarnation": incarnation}
        metadata = {key: MetadataValue.text(text) for key, text in facts.items()}
        kind, data = DagsterEventType.ENGINE_EVENT.value, EngineEventData(metadata)
        assert run_owner.owner_of(DagsterEvent(kind, "job", event_specific_data=data)) == name
    (worker,) = registry.workers_named(instance, {"etl-1/a"})
    assert worker.name == "etl-1/a"


def test_a_worker_forgets_its_former_incarnations(instance: DagsterInstance) -> None:
    beat(instance, "a", age=7200)
    beat(instance, "b", age=600)
    heartbeats.beat(instance, "etl-10", {"incarnation": "x"})
    beat(instance, "c")
    assert heartbeats._index(instance) == {"etl-1/b", "etl-1/c", "etl-10/x"}
    key = f"{heartbeats.WORKER}etl-1/a"
    assert not instance.run_storage.get_cursor_values({key})


def test_a_heartbeat_does_not_wait_for_a_look_up(instance: DagsterInstance, home: Path) -> None:
    run = create_run("chain_job", instance)
    instance.report_engine_event("It has a log.", run)
    (database,) = home.rglob(f"{run.run_id}.db")

    async def ask() -> None:
        instance_agent = InstanceAgent()
        await instance_agent.link()
        blocked = asyncio.create_task(
            instance_agent.request("attempt_events", run_id=run.run_id, step_key=STEP, attempt=1)
        )
        for _ in range(3):
            await asyncio.sleep(0.1)
            await instance_agent.request("heartbeat", worker="etl-1", body={"incarnation": "a"})
            assert await instance_agent.request("ending_runs", run_ids=[run.run_id]) == {}
        assert not blocked.done()
        lock.close()
        assert (await blocked)["events"] == []
        await instance_agent.close()

    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as lock:
        lock.execute("PRAGMA locking_mode = EXCLUSIVE")
        lock.execute("BEGIN EXCLUSIVE")
        lock.execute("CREATE TABLE held (x)")
        asyncio.run(ask())
