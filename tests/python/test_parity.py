"""A run ends as it does under Dagster's multiprocess executor: status and events, step by step."""

import pytest
from dagster import DagsterInstance, DagsterRun

from conftest import Queue, counted, execute, wait_for
from jobs import FAN_SIZE

# Which process said that it starts or captures logs differs between executors by design.
_OWN = {"ENGINE_EVENT", "LOGS_CAPTURED"}


def events_of(instance: DagsterInstance, run: DagsterRun) -> set[tuple[str, str, int]]:
    """Step key, event type and how often it is in the log."""
    counts: dict[tuple[str, str], int] = {}
    for entry in instance.all_logs(run.run_id):
        event = entry.dagster_event
        if event and event.step_key and event.event_type_value not in _OWN:
            key = (event.step_key, event.event_type_value)
            counts[key] = counts.get(key, 0) + 1
    return {(step, kind, count) for (step, kind), count in counts.items()}


@pytest.mark.parametrize(
    "name",
    [
        "chain_job",
        "retry_job",
        "fail_job",
        "skip_job",
        "dynamic_job",
        "asset_job",
    ],
)
def test_a_run_has_the_events_of_a_multiprocess_run(
    name: str, shared: tuple[DagsterInstance, Queue]
) -> None:
    instance, _ = shared
    expected = execute(f"{name}_multiprocess", instance)
    run = execute(name, instance)
    assert run.status == expected.status
    assert events_of(instance, run) == events_of(instance, expected)


def test_a_fan_of_steps_runs_each_once(shared: tuple[DagsterInstance, Queue]) -> None:
    instance, queue = shared
    run = execute("fan_job", instance)
    assert run.is_success
    successes = counted(instance, run.run_id, "STEP_SUCCESS")
    assert set(successes.values()) == {1}
    assert len(successes) == FAN_SIZE
    wait_for(lambda: queue.depth() == 0, "the acknowledgement of every message")
