"""What the log says of one step, and what it costs to read it."""

from collections.abc import Callable
from typing import Any

import pytest
from dagster import DagsterEvent, DagsterEventType, DagsterInstance, DagsterRun
from dagster._core.execution.plan.handle import StepHandle
from dagster._core.execution.plan.objects import StepRetryData, StepSuccessData
from dagster._utils.error import SerializableErrorInfo

from _dagster_taskiq_host import event_log, step_log
from conftest import create_run

RETRY = StepRetryData(error=SerializableErrorInfo("no\n", [], "ValueError"), seconds_to_wait=None)


def write(instance: DagsterInstance, run: DagsterRun, step: str, *kinds: DagsterEventType) -> None:
    data: dict[DagsterEventType, Any] = {
        DagsterEventType.STEP_UP_FOR_RETRY: RETRY,
        DagsterEventType.STEP_SUCCESS: StepSuccessData(duration_ms=1.0),
    }
    for kind in kinds:
        event = DagsterEvent(
            event_type_value=kind.value,
            job_name=run.job_name,
            step_handle=StepHandle.parse_from_key(step),
            event_specific_data=data.get(kind),
        )
        instance.report_dagster_event(event, run.run_id)


def counting(function: Callable[..., Any], count: list[int]) -> Callable[..., Any]:
    def counted(*args: Any, **kwargs: Any) -> Any:
        count[0] += 1
        return function(*args, **kwargs)

    return counted


def test_one_steps_history_costs_its_own_events_however_large_the_run(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create_run("chain_job", instance)
    start, restart = DagsterEventType.STEP_START, DagsterEventType.STEP_RESTARTED
    success, again = DagsterEventType.STEP_SUCCESS, DagsterEventType.STEP_UP_FOR_RETRY
    write(instance, run, "one", start, again, restart)
    for number in range(300):
        write(instance, run, f"other_{number}", start, success)
    # The same without the private query.
    with monkeypatch.context() as plain:
        plain.setenv("DAGSTER_TASKIQ_PLAIN_DAGSTER", "1")
        expected = event_log.read(instance, run.run_id, "one")
        expected_events = event_log.attempt_events(instance, run.run_id, "one", 1)
    reads, events = [0], [0]
    pages = counting(instance.get_records_for_run, reads)
    monkeypatch.setattr(instance, "get_records_for_run", pages)
    monkeypatch.setattr(
        instance, "get_run_step_stats", counting(instance.get_run_step_stats, reads)
    )
    parse = counting(step_log.deserialize_value, events)
    monkeypatch.setattr(step_log, "deserialize_value", parse)
    found = event_log.read(instance, run.run_id, "one")
    assert (reads, events) == ([0], [3])
    assert found == expected
    assert [attempt.terminal is None for attempt in found.attempts] == [False, True]
    assert event_log.attempt_events(instance, run.run_id, "one", 1) == expected_events
    assert (reads, events) == ([0], [6])
    assert event_log.read(instance, run.run_id, "never").attempts == []
    assert (reads, events) == ([0], [6])
