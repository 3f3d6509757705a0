"""What becomes of runs whose worker is lost, stopped or cannot be heard, and of what they hold."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterRun, DagsterRunStatus

from conftest import counted, job_named, wait_for
from dagster_taskiq import registry
from fleet import Fleet, running

POOL = "narrow"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A project with one worker, and a pool of one slot."""
    with running(tmp_path_factory.mktemp("lost"), visibility=10) as found:
        found.worker("one")
        found.instance.event_log_storage.set_concurrency_slots(POOL, 1)
        yield found


def launch(fleet: Fleet, name: str, folder: Path | None = None, *ops: str) -> DagsterRun:
    """Send a run to the worker."""
    job = job_named(name, "second.py")
    run = fleet.instance.create_run_for_job(
        job.get_definition(),
        job_code_origin=job.get_python_origin(),
        run_config={"ops": {op: {"config": {"folder": str(folder)}} for op in ops}},
    )
    fleet.instance.launch_run(run.run_id, None)
    return run


def ended(fleet: Fleet, run: DagsterRun) -> DagsterRun:
    def found() -> DagsterRun | None:
        now = fleet.instance.get_run_by_id(run.run_id)
        return now if now is not None and now.is_finished else None

    return wait_for(found, "the run's end", 90)


def said(fleet: Fleet, run: DagsterRun) -> str:
    """All that the run's log says."""
    entries = fleet.instance.all_logs(run.run_id)
    return "\n".join(e.dagster_event.message or "" for e in entries if e.dagster_event)


def test_a_lost_run_of_dagsters_own_executor_ends_and_does_not_begin_again(
    fleet: Fleet, tmp_path: Path
) -> None:
    run = launch(fleet, "own_job", tmp_path, "marks", "waits")
    wait_for((tmp_path / "there").exists, "the run's second step")
    os.kill(int((tmp_path / "there").read_text()), signal.SIGKILL)
    assert ended(fleet, run).status == DagsterRunStatus.FAILURE
    wait_for(lambda: fleet.queue.depth() == 0, "the acknowledgement")
    assert (tmp_path / "marks").read_text() == "x"
    assert counted(fleet.instance, run.run_id, "STEP_START") == {"marks": 1, "waits": 1}
    assert counted(fleet.instance, run.run_id, "PIPELINE_FAILURE").total() == 1
    text = said(fleet, run)
    assert "no longer runs the run" in text
    assert "The run's worker was lost, and its steps with it" in text


def test_a_step_whose_process_is_killed_before_the_step_begins_is_tried_again(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only a process of the worker waits as it makes the plan, which has no such variable.
    monkeypatch.setenv("DTQ_TEST_RUN", "1")
    monkeypatch.setitem(fleet.environment, "DTQ_TEST_RUN", "1")
    (tmp_path / "armed").touch()
    run = fleet.begin("mapped_job", config={"folder": str(tmp_path)})
    wait_for((tmp_path / "there").exists, "the step's process")
    (tmp_path / "armed").unlink()
    os.kill(int((tmp_path / "there").read_text()), signal.SIGKILL)
    # It has no retry policy: a step that is killed in its own code fails.
    assert run.finish().status == DagsterRunStatus.SUCCESS
    assert run.count("STEP_UP_FOR_RETRY") == {"speaks": 1}
    assert run.count("STEP_SUCCESS") == {"speaks": 1}
    wait_for(lambda: fleet.queue.depth() == 0, "the acknowledgement")


@pytest.mark.parametrize(
    ("name", "ops"),
    [("pool_job", ("waits_in_pool", "second")), ("own_pool_job", ("waits_in_pool",))],
)
def test_a_cancelled_run_gives_back_its_slots(
    fleet: Fleet, tmp_path: Path, name: str, ops: tuple[str, ...]
) -> None:
    def holders() -> tuple[int, int]:
        found = fleet.instance.event_log_storage.get_concurrency_info(POOL)
        return found.active_slot_count, found.pending_step_count

    run = launch(fleet, name, tmp_path, *ops)
    wait_for((tmp_path / "there").exists, "the step")
    assert holders()[0] == 1
    assert fleet.instance.run_launcher.terminate(run.run_id)
    if name == "pool_job":
        # The run's own process is over, and its step goes on for a while.
        assert ended(fleet, run).status == DagsterRunStatus.CANCELED
        assert holders() == (1, 0)
        (tmp_path / "go").touch()
    # Otherwise the step is the run's own process, and is killed.
    assert ended(fleet, run).status == DagsterRunStatus.CANCELED
    wait_for(lambda: holders() == (0, 0), "the end of every claim on the pool", 30)


def test_a_run_that_was_marked_as_cancelled_stays_so(fleet: Fleet) -> None:
    run = launch(fleet, "cancel_job")
    wait_for(lambda: "stays so" in said(fleet, run), "the end of the run's process")
    wait_for(lambda: fleet.queue.depth() == 0, "the acknowledgement")
    assert ended(fleet, run).status == DagsterRunStatus.CANCELED
    assert not counted(fleet.instance, run.run_id, "PIPELINE_SUCCESS")


def test_an_instance_agent_that_hangs_is_replaced_and_the_worker_is_not_taken_for_lost(
    fleet: Fleet,
) -> None:
    worker = fleet.processes[0]

    def instance_agents() -> list[int]:
        children = Path(f"/proc/{worker.pid}/task").glob("*/children")
        pids = [int(pid) for listed in children for pid in listed.read_text().split()]
        return [p for p in pids if b"\0instance-agent\0" in Path(f"/proc/{p}/cmdline").read_bytes()]

    (hung,) = instance_agents()
    os.kill(hung, signal.SIGSTOP)
    stopped_at = time.time()

    def beats_again() -> bool:
        (found,) = registry.workers(fleet.instance)
        return found.reported_at > stopped_at + 1

    wait_for(beats_again, "the next heartbeat", 60)
    assert hung not in instance_agents()
    assert not os.path.exists(f"/proc/{hung}")
