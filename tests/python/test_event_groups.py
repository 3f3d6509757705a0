"""Events that are stored together are those that Dagster stores, and no code misses one."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster import AssetKey, DagsterInstance, asset, job, materialize, op
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.events.log import EventLogEntry
from dagster._core.execution.api import create_execution_plan, execute_plan_iterator
from dagster._core.storage.event_log.sqlite import SqliteEventLogStorage

from _dagster_taskiq_host import connections, event_groups
from step_host import fresh_home, step_host


@op
def one() -> int:
    return 1


@job
def one_step() -> None:
    one()


BEFORE_RESOURCES = ["ENGINE_EVENT", "STEP_WORKER_STARTED", "RESOURCE_INIT_STARTED"]
BEFORE_BODY = [*BEFORE_RESOURCES, "RESOURCE_INIT_SUCCESS", "LOGS_CAPTURED", "STEP_START"]
FIRST = [*BEFORE_BODY, "STEP_OUTPUT"]
SECOND = [*FIRST, "HANDLED_OUTPUT", "STEP_OUTPUT"]
ALL = [*SECOND, "HANDLED_OUTPUT", "STEP_SUCCESS"]


def run(home: Path, status: str) -> tuple[dict[str, list[str]], list[EventLogEntry]]:
    """Runs the step; what its parts noted, and the log at the end."""
    with step_host(home, "logged.py") as host:
        task = host.start("x")
        ended = host.finish(task)
        assert ended.status == status, (ended.frame, ended.lines)
        run_id = host.runs[task]
        noted = dict(json.loads(line) for line in (home / f"noted-{run_id}").open())
        return noted, host.instance.all_logs(run_id)


def kinds(entries: list[EventLogEntry]) -> list[str]:
    """The types of the entries of Dagster's own."""
    found = [entry.dagster_event_type for entry in entries]
    return [kind.name for kind in found if kind is not None]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return fresh_home(tmp_path / "home")


@pytest.mark.parametrize("plain", ["", "1"])
@pytest.mark.parametrize("body", ["function", "generator"])
def test_all_earlier_events_are_in_the_log_when_code_of_the_step_runs(
    home: Path, monkeypatch: pytest.MonkeyPatch, body: str, plain: str
) -> None:
    monkeypatch.setenv("BODY", body)
    monkeypatch.setenv(connections.PLAIN, plain)
    noted, entries = run(home, "STEP_SUCCESS")
    expected = {
        "resource": BEFORE_RESOURCES,
        "body": BEFORE_BODY,
        "output 1": FIRST,
        "output 2": SECOND,
    }
    if body == "generator":
        expected |= {"between": SECOND[:-1], "after": ALL[:-1]}
    assert noted == expected
    assert kinds(entries) == ALL


def test_a_failure_is_stored_after_what_led_to_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BODY", "failing")
    _, entries = run(home, "STEP_FAILURE")
    assert kinds(entries) == [*BEFORE_BODY, "STEP_FAILURE"]


@pytest.fixture
def storage(home: Path) -> Iterator[Any]:
    with DagsterInstance.from_config(str(home)) as instance:
        event_groups.install(instance)
        yield instance.event_log_storage


def test_what_dagster_writes_in_a_step_is_stored_in_groups(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[list[str]] = []
    with DagsterInstance.from_config(str(home)) as instance:
        event_groups.install(instance)
        storage: Any = instance.event_log_storage
        store = storage.store_event_batch

        def noted(events: list[EventLogEntry]) -> None:
            batches.append(kinds(events))
            store(events)

        monkeypatch.setattr(storage, "store_event_batch", noted)
        groups = event_groups.EventGroups(instance, instance.handle_new_event, is_step=True)
        groups.step_runs(one)
        run = instance.create_run_for_job(one_step)
        plan = create_execution_plan(InMemoryJob(one_step))
        monkeypatch.setattr(instance, "handle_new_event", groups.store)
        list(execute_plan_iterator(plan, InMemoryJob(one_step), run, instance))
    assert batches == [
        ["RESOURCE_INIT_SUCCESS", "LOGS_CAPTURED", "STEP_START"],
        ["HANDLED_OUTPUT", "STEP_SUCCESS"],
    ]


def test_a_group_is_one_transaction_with_the_rows_of_single_events(
    home: Path, monkeypatch: pytest.MonkeyPatch, storage: Any
) -> None:
    monkeypatch.setenv("BODY", "function")
    _, entries = run(home, "STEP_SUCCESS")
    transactions = []
    connect = SqliteEventLogStorage.run_connection

    def counted(self: Any, run_id: str | None = None) -> Any:
        transactions.append(run_id)
        return connect(self, run_id)

    singly = [entry._replace(run_id="singly") for entry in entries]
    grouped = [entry._replace(run_id="grouped") for entry in entries]
    for entry in singly:
        storage.store_event(entry)
    monkeypatch.setattr(SqliteEventLogStorage, "run_connection", counted)
    storage.store_event_batch(grouped)
    assert transactions == ["grouped"]
    monkeypatch.undo()
    query = (
        "SELECT dagster_event_type, step_key, asset_key, partition, timestamp "
        "FROM event_logs ORDER BY id"
    )
    rows = []
    for run_id in ("singly", "grouped"):
        with storage.run_connection(run_id) as connection:
            rows.append(connection.exec_driver_sql(query).fetchall())
    assert rows[0] == rows[1] and len(rows[0]) == len(entries)
    one, other = (
        [entry._replace(run_id="") for entry in storage.get_logs_for_run(run_id)]
        for run_id in ("singly", "grouped")
    )
    assert one == other


def test_a_batch_with_an_asset_event_is_stored_as_dagster_does(
    storage: Any, tmp_path: Path
) -> None:
    @asset
    def thing() -> None: ...

    with DagsterInstance.from_config(str(fresh_home(tmp_path / "other"))) as other:
        done = materialize([thing], instance=other)
        entries = other.all_logs(done.run_id)
    key = AssetKey("thing")
    assert not storage.has_asset_key(key)
    storage.store_event_batch(entries)
    assert storage.has_asset_key(key)
    assert len(storage.get_logs_for_run(done.run_id)) == len(entries)
