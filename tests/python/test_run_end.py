"""Runs that are cancelled as they end, and what they held."""

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import (
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    MetadataValue,
)
from dagster._core.events import EngineEventData
from dagster._core.events.log import EventLogEntry
from dagster._core.execution.plan.objects import StepSuccessData
from dagster._core.test_utils import create_run_for_test, instance_for_test

from _dagster_taskiq_host import claims, lost_runs, run_end, slots
from dagster_taskiq.launcher import TaskiqRunLauncher

WORKER = {"id": "w", "hostname": "h", "incarnation": "i", "pid": "1", "boot": "b"}


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[DagsterInstance]:
    """An instance whose launcher is ours, with one slot in a pool."""
    launcher = {"module": "dagster_taskiq", "class": "TaskiqRunLauncher"}
    with instance_for_test(temp_dir=str(tmp_path), overrides={"run_launcher": launcher}) as found:
        found.event_log_storage.set_concurrency_slots("pool", 1)
        yield found


def write(instance: DagsterInstance, run: DagsterRun, kind: DagsterEventType, step=None, data=None):
    event = DagsterEvent(kind.value, run.job_name, step_key=step, event_specific_data=data)
    instance.event_log_storage.store_event(
        EventLogEntry(None, 10, "", run.run_id, time.time(), step, run.job_name, event)
    )
    return event


def canceling(instance: DagsterInstance) -> DagsterRun:
    tags = {lost_runs.TASK_ID_TAG: "t"}
    return create_run_for_test(instance, status=DagsterRunStatus.CANCELING, tags=tags)


def with_a_slot(instance: DagsterInstance, run: DagsterRun) -> None:
    """One of its steps was sent to a queue and has a slot; one waits for it."""
    data = EngineEventData(metadata={"queue": MetadataValue.text("q")})
    write(instance, run, DagsterEventType.STEP_WORKER_STARTING, "one", data)
    for step in ("one", "two"):
        instance.event_log_storage.claim_concurrency_slot("pool", run.run_id, step)


def held(instance: DagsterInstance) -> list[str]:
    info = instance.event_log_storage.get_concurrency_info("pool")
    return sorted({place.step_key for place in [*info.claimed_slots, *info.pending_steps]})


@contextlib.contextmanager
def claimed(instance: DagsterInstance, run: DagsterRun) -> Iterator[None]:
    """Another process has the claim of the run's step."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        claimed = claims.claim(instance, run.run_id, "one", 1).acquire()
        theirs.send(b"+" if claimed else b"-")
        theirs.recv(1)
        os._exit(0)
    assert ours.recv(1) == b"+"
    yield
    ours.send(b".")
    os.waitpid(pid, 0)


def status(instance: DagsterInstance, run: DagsterRun) -> DagsterRunStatus:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status


def test_a_cancelled_run_gives_back_the_slots_of_steps_that_ended_elsewhere(
    instance: DagsterInstance,
) -> None:
    run = canceling(instance)
    with_a_slot(instance, run)
    write(instance, run, DagsterEventType.STEP_START, "one")
    write(instance, run, DagsterEventType.STEP_SUCCESS, "one", StepSuccessData(1.0))
    assert held(instance) == ["one", "two"]
    assert run_end.cancel(instance, run, "why") == DagsterRunStatus.CANCELED
    assert held(instance) == []


def test_a_step_that_still_runs_keeps_its_slot(instance: DagsterInstance) -> None:
    run = canceling(instance)
    with_a_slot(instance, run)
    write(instance, run, DagsterEventType.STEP_START, "one")
    with claimed(instance, run):
        slots.free_run(instance, run)
        assert held(instance) == ["one"]
    slots.free_run(instance, run)
    assert held(instance) == []


@pytest.mark.parametrize("kind", [DagsterEventType.RUN_SUCCESS, DagsterEventType.RUN_FAILURE])
def test_a_run_whose_end_was_hidden_by_a_request_to_cancel_has_its_end(
    instance: DagsterInstance, kind: DagsterEventType
) -> None:
    run = canceling(instance)
    write(instance, run, kind)
    assert lost_runs.look(instance, WORKER) == []
    for _ in range(lost_runs.LOOKS):
        lost_runs.look(instance, WORKER)
    assert status(instance, run).value == kind.value.removeprefix("PIPELINE_")
    canceled = instance.get_records_for_run(run.run_id, of_type=DagsterEventType.RUN_CANCELED)
    assert not canceled.records


def test_cancelling_a_run_that_ends_in_the_same_moment_leaves_its_end(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create_run_for_test(instance, status=DagsterRunStatus.STARTED)
    launcher = instance.run_launcher
    assert isinstance(launcher, TaskiqRunLauncher)
    request = type(instance).report_run_canceling

    def late(self: DagsterInstance, found: DagsterRun, *arguments: str) -> None:
        write(instance, run, DagsterEventType.RUN_SUCCESS)
        request(self, found, *arguments)

    monkeypatch.setattr(type(instance), "report_run_canceling", late)
    assert launcher.terminate(run.run_id) is False
    assert status(instance, run) == DagsterRunStatus.SUCCESS


def test_cancelling_a_run_that_is_canceled_at_once_has_cancelled_it(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create_run_for_test(instance, status=DagsterRunStatus.STARTED)
    request = type(instance).report_run_canceling

    def obeyed(self: DagsterInstance, found: DagsterRun, *arguments: str) -> None:
        request(self, found, *arguments)
        self.report_run_canceled(found)

    monkeypatch.setattr(type(instance), "report_run_canceling", obeyed)
    assert instance.run_launcher.terminate(run.run_id) is True
    assert status(instance, run) == DagsterRunStatus.CANCELED


def test_cancelling_once_more_shows_the_end_that_an_earlier_request_hid(
    instance: DagsterInstance,
) -> None:
    run = canceling(instance)
    write(instance, run, DagsterEventType.RUN_SUCCESS)
    assert instance.run_launcher.terminate(run.run_id) is False
    assert status(instance, run) == DagsterRunStatus.SUCCESS
