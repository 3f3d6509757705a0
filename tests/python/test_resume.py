"""A run whose run worker was killed goes on where it stopped."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.execution.api import execute_run_iterator

from conftest import Queue, counted, create_run, job_named, wait_for

_RUN = """
import sys
from conftest import job_named
from dagster import DagsterInstance
from dagster._core.execution.api import execute_run_iterator
with DagsterInstance.get() as instance:
    run = instance.get_run_by_id(sys.argv[1])
    list(execute_run_iterator(job_named("resume_job"), run, instance))
"""


def test_a_killed_run_goes_on_whatever_its_log_holds(
    shared: tuple[DagsterInstance, Queue], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Skipped steps, a delayed retry that has ended, a pool taken by others, several log pages."""
    instance, _ = shared
    storage = instance.event_log_storage
    storage.set_concurrency_slots("scarce", 1)
    gate = Path(os.environ["DTQ_TEST_GATE"])
    gate.unlink(missing_ok=True)
    run = create_run("resume_job", instance)
    with subprocess.Popen(
        [sys.executable, "-c", _RUN, run.run_id], start_new_session=True
    ) as process:
        try:
            done = {"add_one", "after_skipped"}
            wait_for(lambda: set(counted(instance, run.run_id, "STEP_SKIPPED")) == done, "skips")
            ends = {"later", "pooled", "after_pooled", "maybe", "one"}
            wait_for(lambda: ends <= set(counted(instance, run.run_id, "STEP_SUCCESS")), "the ends")
            wait_for(lambda: counted(instance, run.run_id, "STEP_FAILURE"), "the failure")
            wait_for(lambda: counted(instance, run.run_id, "STEP_START")["gate"], "the gate")
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    claimed = storage.claim_concurrency_slot("scarce", "another-run", "its-step", 0)
    assert claimed.is_claimed
    starts = counted(instance, run.run_id, "STEP_START")

    monkeypatch.setenv("DAGSTER_EXECUTOR_POP_EVENTS_LIMIT", "5")
    gate.touch()
    again = instance.get_run_by_id(run.run_id)
    assert again is not None
    assert again.status == DagsterRunStatus.STARTED
    for _ in execute_run_iterator(
        job_named("resume_job"), again, instance, resume_from_failure=True
    ):
        pass
    ended = instance.get_run_by_id(run.run_id)
    assert ended is not None
    assert ended.status == DagsterRunStatus.FAILURE, "one step fails by design"
    assert counted(instance, run.run_id, "STEP_START") == starts, "nothing was launched again"
    assert counted(instance, run.run_id, "STEP_SUCCESS")["gate"] == 1
    assert set(counted(instance, run.run_id, "STEP_SKIPPED").values()) == {1}
    assert counted(instance, run.run_id, "STEP_FAILURE") == {"boom": 1}
