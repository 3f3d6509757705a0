"""What a fleet reads and writes in Dagster's storage does not grow with its square."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from dagster import DagsterEvent, DagsterEventType, DagsterInstance, DagsterRun
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage

from _dagster_taskiq_host import (
    alarm_board,
    alarm_facts,
    fleet_digest,
    heartbeats,
    instance_agent,
    lost_runs,
)
from conftest import create_run
from dagster_taskiq import registry, watchdog
from dagster_taskiq.launcher import TaskiqRunLauncher
from dagster_taskiq.progress import InFlightStep

QUEUE = "http://h/1/tasks"
FLEETS = (1, 10, 100)


@contextmanager
def counting(patch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Counts calls of the key-value store and of the query for runs, and the rows they read."""
    found: Counter[str] = Counter()

    def counted(name: str) -> None:
        method = getattr(SqlRunStorage, name)

        def call(storage: SqlRunStorage, *args: Any, **kwargs: Any) -> Any:
            value = method(storage, *args, **kwargs)
            found["calls"] += 1
            found["rows"] += len(value or ())
            found["bytes"] += len(json.dumps(value)) if isinstance(value, dict) else 0
            return value

        scope.setattr(SqlRunStorage, name, call)

    with patch.context() as scope:
        for name in ("get_cursor_values", "set_cursor_values", "get_run_records"):
            counted(name)
        yield found


class Simulated:
    """A fleet of workers that have written heartbeats, each with a run and a step in hand."""

    def __init__(self, instance: DagsterInstance, size: int):
        self.instance = instance
        self.names = [f"host-{number}" for number in range(size)]
        self.runs = [create_run("chain_job", instance) for _ in self.names]
        for _ in range(2):
            self.beat()

    def beat(self) -> None:
        for name, run in zip(self.names, self.runs, strict=True):
            flights = [{"run_id": run.run_id, "step_key": key} for key in (None, "one")]
            body = {"incarnation": "i", "queues": ["tasks"], "in_flight": flights}
            heartbeats.beat(self.instance, name, body)

    def poll_for_cancelled_runs(self) -> None:
        for run in self.runs:
            assert instance_agent._ending_runs(self.instance, [run.run_id]) == {}

    def look_for_lost_runs(self) -> None:
        for name in self.names:
            worker = {"id": name, "incarnation": "i"}
            assert lost_runs.look(self.instance, worker, every=60.0) == []

    def look_after_steps(self, patch: pytest.MonkeyPatch) -> None:
        """Each run looks after a step that a worker has, and one that waits."""
        patch.setattr(watchdog, "_INTERVAL", 0.0)
        patch.setattr(watchdog, "_BEGUN_INTERVAL", 0.0)
        for name, run in zip(self.names, self.runs, strict=True):
            looked = watchdog.Care(self.instance, run.run_id, NoSender())  # type: ignore[arg-type]
            long_ago = time.time() - 60
            begun = InFlightStep(Step("one"), 1, long_ago, owner=f"{name}/i", url=QUEUE)  # type: ignore[arg-type]
            waits = InFlightStep(Step("two"), 1, long_ago, url=QUEUE)  # type: ignore[arg-type]
            assert looked.look([begun, waits]) == watchdog.Findings()

    def read_fleet(self) -> None:
        for _ in self.names:
            assert fleet_digest.look(self.instance)

    def look_for_facts(self) -> None:
        for _ in self.names:
            alarm_facts.latest(self.instance, 3600)

    def agree_on_alarms(self) -> None:
        """All workers see an alarm, as they did before."""
        alarm = {"severity": "warning", "kind": "dead-letters", "about": "q", "text": "~1 waits"}
        report = {"id": "dead-letters/q", "since": "t", "alarm": alarm, "due": ["ops"]}
        request = {"open": [report], "hooks": ["ops"], "done": [], "lost": [], "working": []}
        for name in self.names:
            alarm_board.sync(self.instance, {**request, "worker": name})

    def check_health(self) -> None:
        launcher = TaskiqRunLauncher(QUEUE)
        launcher.register_instance(self.instance)
        for run in self.runs:
            assert "reported" in (launcher.check_run_worker_health(run).msg or "")


class Step:
    def __init__(self, key: str):
        self.key = key


class NoSender:
    def waiting(self, _url: str) -> int:
        raise AssertionError("no step has waited for long")


Part = Callable[[Simulated, pytest.MonkeyPatch], None]
PARTS: dict[str, Part] = {
    "heartbeats": lambda fleet, _: fleet.beat(),
    "cancel polling": lambda fleet, _: fleet.poll_for_cancelled_runs(),
    "lost runs": lambda fleet, _: fleet.look_for_lost_runs(),
    "steps in flight": lambda fleet, patch: fleet.look_after_steps(patch),
    "run monitoring": lambda fleet, _: fleet.check_health(),
    "workers, for alarms": lambda fleet, _: fleet.read_fleet(),
    "facts, for alarms": lambda fleet, _: fleet.look_for_facts(),
    "agreement on alarms": lambda fleet, _: fleet.agree_on_alarms(),
}


def test_what_a_worker_or_run_reads_does_not_grow_with_the_fleet(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    per_worker: dict[str, list[Counter[str]]] = {part: [] for part in PARTS}
    # A clock that stands still for each fleet: on a slow machine no heartbeat grows old.
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    for size in FLEETS:
        now += 120
        fleet = Simulated(instance, size)
        for part, do in PARTS.items():
            with counting(monkeypatch) as found:
                do(fleet, monkeypatch)
            per_worker[part].append(Counter({k: n / size for k, n in found.items()}))  # type: ignore[misc]
    for part, sizes in per_worker.items():
        for size, found in zip(FLEETS, sizes, strict=True):
            print(f"{part:20} {size:4}", *(f"{k} {n:8.1f}" for k, n in sorted(found.items())))
    for part, (_, _, hundred) in per_worker.items():
        # Much less than a hundred workers: 8 parts of the index and 8 reports at most, and its own.
        assert hundred["rows"] <= 20, part
        assert hundred["calls"] <= 4, part
        assert hundred["bytes"] <= 5000, part
    # A heartbeat reads a sixty-fourth of the index.
    assert per_worker["heartbeats"][-1]["bytes"] <= 500


def test_every_worker_is_in_the_index_however_many_there_are(instance: DagsterInstance) -> None:
    fleet = Simulated(instance, 100)
    found = {worker.id for worker in registry.workers(instance)}
    assert found == set(fleet.names)
    assert {worker.id for worker in registry.some_workers(instance)} == found
    assert {worker["id"] for worker in heartbeats.fleet(instance)} == found


def test_a_worker_without_viewers_learns_of_every_queue_and_every_silent_worker(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)

    def beat(name: str, *queues: str, **more: Any) -> None:
        body = {"incarnation": "i", "queues": queues, "slots": {"steps": 1, "runs": 0}}
        heartbeats.beat(instance, name, {**body, "state": "running", **more})

    beat("lost", "tasks")
    now += 60
    beat("first", "tasks")
    assert [worker["id"] for worker in fleet_digest.look(instance)] == ["first", "lost"]
    for number in range(fleet_digest.LISTED):
        beat(f"host-{number}", "tasks")
    beat("rare", "rare", "tasks")
    beat("paused", "tasks", state="paused")
    beat("ended", "tasks", state="stopped")
    assert len(fleet_digest.look(instance)) == 2, "what was found a moment ago"
    now += fleet_digest.FRESH
    found = {worker["id"]: worker for worker in fleet_digest.look(instance)}
    assert {"lost", "rare", "paused"} < found.keys()
    assert len(found) <= 4, "and at most one of the others"
    assert "stopped" not in {worker["state"] for worker in found.values()}
    assert {queue for worker in found.values() for queue in worker["queues"]} == {"rare", "tasks"}


def test_a_queue_that_few_workers_serve_is_searched_for_once(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = Simulated(instance, 100)
    for _ in range(2):
        heartbeats.beat(instance, "rare", {"incarnation": "i", "queues": ["rare"]})
    monkeypatch.setattr(watchdog, "_INTERVAL", 0.0)
    care = watchdog.Care(instance, fleet.runs[0].run_id, NoSender())  # type: ignore[arg-type]
    waits = InFlightStep(Step("one"), 1, time.time() - 60, url="http://h/1/rare")  # type: ignore[arg-type]
    read = []
    for _ in range(2):
        with counting(monkeypatch) as found:
            assert care.look([waits]) == watchdog.Findings()
        read.append(found)
    assert read[0]["calls"] <= 10, "twice as many with each query"
    assert (read[1]["calls"], read[1]["rows"]) == (1, 1)


def test_a_run_behind_a_backlog_counts_its_queue_once_a_minute(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Sender:
        counts = 0

        def waiting(self, _url: str) -> int:
            self.counts += 1
            return 5

    run, sender, now = create_run("chain_job", instance), Sender(), time.monotonic()
    heartbeats.beat(instance, "host", {"incarnation": "i"})
    care = watchdog.Care(instance, run.run_id, sender)  # type: ignore[arg-type]
    waits = InFlightStep(Step("one"), 1, time.time() - 3600, url=QUEUE)  # type: ignore[arg-type]
    monkeypatch.setattr(watchdog.time, "monotonic", lambda: now)
    for _ in range(18):
        now += 10
        assert care.look([waits]) == watchdog.Findings()
    assert sender.counts == 3


def test_the_fleet_looks_for_lost_runs_once_in_an_interval_and_counts_together(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    monkeypatch.setattr(lost_runs.heartbeats, "listed_runs", lambda _: looked.append("") or set())
    now = time.time()
    monkeypatch.setattr(lost_runs.time, "time", lambda: now)
    run = started(instance)
    for turn in range(lost_runs.LOOKS):
        for worker in ("a", "b", "c"):
            lost_runs.look(instance, {"id": worker, "incarnation": "i"}, every=10.0)
        assert len(looked) == turn + 1
        assert lost_runs._counted(instance) == {run.run_id: turn + 1}
        now += 10
    turn = instance.run_storage.get_cursor_values({lost_runs.TURN})[lost_runs.TURN]
    assert float(turn) == now - 10, "what every worker reads is a time"
    # After a gap they are not in a row any more.
    now += lost_runs.AGAIN_AFTER
    lost_runs.look(instance, {"id": "a", "incarnation": "i"}, every=10.0)
    assert lost_runs._counted(instance) == {run.run_id: 1}


def test_the_runs_that_are_counted_are_bounded_and_the_oldest_ones(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lost_runs, "MAX_UNLISTED", 2)
    runs = [started(instance) for _ in range(3)]
    lost_runs.look(instance, {"id": "a", "incarnation": "i"})
    assert set(lost_runs._counted(instance)) == {run.run_id for run in runs[:2]}


def started(instance: DagsterInstance) -> DagsterRun:
    """A run that was sent to a queue and has begun."""
    run = create_run("chain_job", instance, tags={lost_runs.TASK_ID_TAG: "t"})
    instance.handle_run_event(run.run_id, started_event(run))
    return run


def started_event(run: DagsterRun) -> Any:
    return DagsterEvent(DagsterEventType.PIPELINE_START.value, run.job_name)
