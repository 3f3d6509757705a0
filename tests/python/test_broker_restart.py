"""A broker that is killed and started again in the middle of a run."""

import signal
from pathlib import Path

import pytest
from dagster import DagsterInstance

from conftest import Background, broker, fresh_queue, own_binary, wait_for
from dagster_taskiq.tags import DAGSTER_TASKIQ_TASK_ID_TAG


def test_a_run_goes_on_when_its_broker_was_killed_and_started_again(
    instance: DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = own_binary()
    data = tmp_path / "data"
    with broker(binary, data) as (url, process):
        queue = fresh_queue(url, monkeypatch)
        run = Background("chain_job", instance, queue)
        first = run.message()
        process.send_signal(signal.SIGKILL)
        process.wait()
    run.work(first)

    def is_said() -> bool:
        logs = instance.all_logs(run.run.run_id)
        return any("Trying again for" in entry.message for entry in logs)

    wait_for(is_said, "the sentence on the broker")
    with broker(binary, data, url.removeprefix("http://")):
        run.work(run.message())
        run.work(run.message())
        assert run.finish().is_success


def test_a_run_that_came_by_a_queue_waits_for_its_broker_when_it_begins(
    instance: DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = own_binary()
    data = tmp_path / "data"
    with broker(binary, data) as (url, _process):
        queue = fresh_queue(url, monkeypatch)
    run = Background("chain_job", instance, queue, tags={DAGSTER_TASKIQ_TASK_ID_TAG: "t"})

    def is_said() -> bool:
        logs = instance.all_logs(run.run.run_id)
        return any("Trying again for" in entry.message for entry in logs)

    wait_for(is_said, "the sentence on the broker")
    with broker(binary, data, url.removeprefix("http://")):
        for _ in range(3):
            run.work(run.message())
        assert run.finish().is_success
