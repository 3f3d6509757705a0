"""How workers agree on alarms, and what Dagster's storage knows of its daemons and failed runs."""

import time
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from dagster import DagsterInstance, DagsterRunStatus, job, op
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage
from dagster._daemon.types import DaemonHeartbeat

from _dagster_taskiq_host import alarm_board, alarm_facts, claims, shared_value

ALARM = {"severity": "critical", "kind": "disk", "about": "here", "text": "it is full"}


class Clock:
    """The time that the board sees."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.time()
        shown = SimpleNamespace(time=lambda: self.now, monotonic=time.monotonic, sleep=time.sleep)
        monkeypatch.setattr(alarm_board, "time", shown)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def sync(instance: DagsterInstance, worker: str, *, sees: bool, **more: Any) -> list[str]:
    """Reports whether a worker sees the alarm; returns the deliveries that it is to make."""
    alarm = {**ALARM, "since": f"{worker}-began"}
    report = {"id": "disk/here", "since": alarm["since"], "alarm": alarm, "due": ["ops"]}
    request = {"worker": worker, "open": [report] if sees else [], "hooks": ["ops"]}
    request.update({"done": [], "lost": [], "working": [], **more})
    answer = alarm_board.sync(instance, request)
    for grant in answer["grants"]:
        assert grant["alarm"]["since"] == grant["since"], "its begin is that of the first report"
    return [f"{grant['key']} {grant['since']}" for grant in answer["grants"]]


def test_several_workers_that_see_an_alarm_deliver_its_begin_and_its_end_once(
    instance: DagsterInstance, clock: Clock
) -> None:
    assert sync(instance, "one", sees=True) == ["ops/started one-began"]
    assert sync(instance, "two", sees=True) == []
    done = [["disk/here", "one-began", "ops/started"]]
    assert sync(instance, "one", sees=True, done=done) == []
    assert sync(instance, "one", sees=False) == [], "the other one still sees it"
    assert sync(instance, "two", sees=False) == ["ops/ended one-began"]
    assert sync(instance, "one", sees=False) == []
    clock.now += 1
    assert sync(instance, "two", sees=True) == ["ops/started two-began"], "it began anew"


def test_a_delivery_of_a_worker_that_died_is_made_by_another_one(
    instance: DagsterInstance, clock: Clock
) -> None:
    assert sync(instance, "one", sees=True) == ["ops/started one-began"]
    working = [["disk/here", "one-began", "ops/started"]]
    clock.now += 100
    assert sync(instance, "one", sees=True, working=working) == []
    clock.now += 100
    assert sync(instance, "two", sees=True) == [], "the endpoint is down, and it is tried"
    clock.now += 100
    assert sync(instance, "two", sees=True) == ["ops/started one-began"]


def test_an_alarm_that_only_a_dead_worker_saw_ends_with_its_last_report(
    instance: DagsterInstance, clock: Clock
) -> None:
    sync(instance, "one", sees=True)
    done = [["disk/here", "one-began", "ops/started"]]
    sync(instance, "one", sees=True, done=done)
    clock.now += 30
    assert sync(instance, "two", sees=False) == []
    clock.now += 31
    assert sync(instance, "two", sees=False) == ["ops/ended one-began"]


def test_the_end_of_an_alarm_whose_begin_was_never_delivered_is_not_either(
    instance: DagsterInstance, clock: Clock
) -> None:
    assert sync(instance, "one", sees=True) == ["ops/started one-began"]
    assert sync(instance, "one", sees=False) == []


def test_a_begin_that_was_given_up_is_not_made_by_another_worker_and_has_no_end(
    instance: DagsterInstance, clock: Clock
) -> None:
    assert sync(instance, "one", sees=True) == ["ops/started one-began"]
    name = ["disk/here", "one-began", "ops/started"]
    assert sync(instance, "one", sees=True, lost=[name]) == []
    assert sync(instance, "one", sees=True, done=[name]) == [], "it stays given up"
    clock.now += alarm_board.GRANT + 1
    assert sync(instance, "two", sees=True) == []
    sync(instance, "one", sees=False)
    assert sync(instance, "two", sees=False) == []
    clock.now += 1
    assert sync(instance, "two", sees=True) == ["ops/started two-began"], "it began anew"


def test_the_writes_of_a_steady_state_do_not_grow_with_the_number_of_workers(
    instance: DagsterInstance, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: Counter[str] = Counter()
    write, acquire = SqlRunStorage.set_cursor_values, claims.FileClaim.acquire

    def writing(storage: SqlRunStorage, pairs: Any) -> None:
        counted["writes"] += 1
        write(storage, pairs)

    def claiming(claim: claims.FileClaim) -> bool:
        counted["claims"] += 1
        return acquire(claim)

    monkeypatch.setattr(SqlRunStorage, "set_cursor_values", writing)
    monkeypatch.setattr(claims.FileClaim, "acquire", claiming)
    found = []
    for size in (4, 40):
        workers = [f"{size}-{number}" for number in range(size)]
        for worker in workers:
            sync(instance, worker, sees=True)
        done = [["disk/here", f"{workers[0]}-began", "ops/started"]]
        assert sync(instance, workers[0], sees=True, done=done) == []
        counted.clear()
        for _ in range(30):
            clock.now += 10
            for worker in workers:
                assert sync(instance, worker, sees=True) == []
        found.append(Counter(counted))
        for _ in range(2):
            clock.now += alarm_board.SEEN
            sync(instance, "another", sees=False)
    # Three witnesses, each twice a minute for five minutes.
    assert found == [Counter(writes=30, claims=30)] * 2


def test_an_alarm_that_many_workers_see_ends_once_none_of_them_does(
    instance: DagsterInstance, clock: Clock
) -> None:
    workers = [f"w{number}" for number in range(5)]
    for worker in workers:
        sync(instance, worker, sees=True)
    sync(instance, "w0", sees=True, done=[["disk/here", "w0-began", "ops/started"]])
    assert sorted(_seen(instance)) == ["w0", "w1", "w2"]
    for worker in workers[:3]:
        assert sync(instance, worker, sees=False) == []
    assert _seen(instance) == {}
    clock.now += 10
    assert sync(instance, "w3", sees=True) == [], "it goes on"
    assert list(_seen(instance)) == ["w3"]
    clock.now += 100
    assert sync(instance, "w4", sees=False) == [], "another one may see it"
    clock.now += alarm_board.GRACE
    assert sync(instance, "w0", sees=False) == ["ops/ended w0-began"]
    assert sync(instance, "w1", sees=False) == []


def test_a_worker_reads_on_the_board_what_began_and_ended(
    instance: DagsterInstance, clock: Clock
) -> None:
    def listed(worker: str, *, sees: bool) -> list[tuple[str, bool]]:
        report = {"id": "disk/here", "since": f"{worker}-began", "alarm": ALARM, "due": []}
        request = {"worker": worker, "open": [report] if sees else [], "hooks": []}
        answer = alarm_board.sync(instance, {**request, "done": [], "lost": [], "working": []})
        return [(alarm["since"], bool(alarm["ended"])) for alarm in answer["alarms"]]

    assert listed("one", sees=True) == [("one-began", False)]
    assert listed("two", sees=True) == [("one-began", False)]
    assert listed("three", sees=False) == [], "it does not see it"
    listed("one", sees=False)
    assert listed("two", sees=False) == [("one-began", True)]
    assert listed("three", sees=False) == [("one-began", True)]


def _seen(instance: DagsterInstance) -> dict[str, float]:
    board = alarm_board._read(instance)
    seen: dict[str, float] = board["alarms"]["disk/here"]["seen"]
    return seen


def test_the_facts_of_one_worker_are_used_by_the_others_for_a_while(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    shown = SimpleNamespace(time=lambda: now)
    monkeypatch.setattr(alarm_facts, "time", shown)
    looks: list[float] = []

    def look(_: DagsterInstance, window: float) -> dict[str, Any]:
        looks.append(window)
        return {"daemons": [], "failed_runs": []}

    monkeypatch.setattr(alarm_facts, "look", look)
    for _ in range(3):
        alarm_facts.latest(instance, 3600)
    alarm_facts.latest(instance, 60)
    now += alarm_facts.FRESH
    alarm_facts.latest(instance, 3600)
    now -= 1000
    assert alarm_facts.latest(instance, 3600) == {"daemons": [], "failed_runs": []}
    assert looks == [3600, 60, 3600, 3600], "a clock that was set back is no obstacle"


def test_an_acknowledged_alarm_is_not_delivered_before_its_time(
    instance: DagsterInstance, clock: Clock
) -> None:
    note = {"alarm": "disk/here", "until": clock.now + 60, "by": "ann@etl-1"}
    known = alarm_board.acknowledge(instance, note)
    assert known == {"disk/here": {"until": clock.now + 60, "by": "ann@etl-1"}}
    assert sync(instance, "one", sees=True) == []
    clock.now += 61
    assert sync(instance, "one", sees=True) == ["ops/started one-began"]
    alarm_board.acknowledge(instance, note)
    assert alarm_board.acknowledge(instance, {**note, "until": None}) == {}


def test_the_board_forgets_alarms_and_is_bounded(instance: DagsterInstance, clock: Clock) -> None:
    reports = [
        {"id": f"queue/{number}", "since": "t", "alarm": ALARM, "due": []} for number in range(600)
    ]
    request = {"worker": "one", "open": reports, "hooks": [], "done": [], "lost": [], "working": []}
    alarm_board.sync(instance, request)
    clock.now += 1
    alarm_board.sync(instance, {**request, "open": []})
    assert _size(instance) == alarm_board.MAX_ALARMS
    clock.now += alarm_board.KEEP + 1
    alarm_board.sync(instance, {**request, "open": []})
    assert _size(instance) == 0


def _size(instance: DagsterInstance) -> int:
    text = instance.run_storage.get_cursor_values({alarm_board.KEY})[alarm_board.KEY]
    return len(shared_value.load(text)["alarms"])


def test_a_board_that_another_process_holds_is_refused_after_a_while(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_value, "TAKE", 0.1)
    monkeypatch.setattr(claims.FileClaim, "acquire", lambda self: False)
    with pytest.raises(shared_value.Busy):
        sync(instance, "one", sees=True)


def test_a_required_daemon_that_has_ever_reported_is_told_with_its_silence(
    instance: DagsterInstance,
) -> None:
    assert alarm_facts.look(instance, 3600)["daemons"] == []
    for kind, age in (("SENSOR", 400.0), ("SCHEDULER", 1.0), ("BACKFILL", 8 * 24 * 3600.0)):
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - age, kind, "d", []))
    daemons = alarm_facts.look(instance, 3600)["daemons"]
    assert [daemon["kind"] for daemon in daemons] == ["SCHEDULER", "SENSOR"]
    assert 400 <= daemons[1]["silent"] <= 405


@op
def fails() -> None:
    raise ValueError("no")


@op
def works() -> None:
    pass


def test_a_job_whose_last_run_failed_is_told_until_a_later_one_succeeds(
    instance: DagsterInstance,
) -> None:
    @job(name="nightly")
    def broken() -> None:
        fails()

    @job(name="nightly")
    def repaired() -> None:
        works()

    run = broken.execute_in_process(instance=instance, raise_on_error=False)
    [failed] = alarm_facts.look(instance, 3600)["failed_runs"]
    assert (failed["job"], failed["run_id"]) == ("nightly", run.run_id)
    assert alarm_facts.look(instance, -10)["failed_runs"] == []
    repaired.execute_in_process(instance=instance)
    assert alarm_facts.look(instance, 3600)["failed_runs"] == []
    record = instance.get_run_records(limit=1)[0]
    assert record.dagster_run.status == DagsterRunStatus.SUCCESS
