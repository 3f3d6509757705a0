"""``TaskiqRunLauncher`` with a real worker: health, debug info, registry, runs that end badly."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterEvent, DagsterEventType, DagsterRun, DagsterRunStatus
from dagster._core.launcher.base import WorkerStatus

from conftest import counted, job_named, wait_for, wait_until_gone
from dagster_taskiq import DAGSTER_TASKIQ_TASK_ID_TAG, registry, run_owner
from fleet import Fleet, running


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A project with a worker whose messages come back soon when it dies."""
    with running(tmp_path_factory.mktemp("launcher"), visibility=10) as found:
        found.worker("one", "--run-slots", "1")
        yield found


def launch(fleet: Fleet, name: str, **kwargs: object) -> DagsterRun:
    """Send a run to the worker."""
    job = job_named(name, "second.py")
    run = fleet.instance.create_run_for_job(
        job.get_definition(), job_code_origin=job.get_python_origin(), **kwargs
    )
    fleet.instance.launch_run(run.run_id, None)
    return refreshed(fleet, run)


def refreshed(fleet: Fleet, run: DagsterRun) -> DagsterRun:
    found = fleet.instance.get_run_by_id(run.run_id)
    assert found is not None
    return found


def ended(fleet: Fleet, run: DagsterRun) -> DagsterRun:
    return wait_for(
        lambda: found if (found := refreshed(fleet, run)).is_finished else None, "its end", 90
    )


def waiting(folder: Path) -> dict:
    return {"ops": {"waits": {"config": {"folder": str(folder)}}}}


def test_debug_info_and_health_tell_where_a_run_is(fleet: Fleet, tmp_path: Path) -> None:
    run = launch(fleet, "wait_job", run_config=waiting(tmp_path))
    wait_for((tmp_path / "there").exists, "the step")
    place = run_owner.last_announcement(fleet.instance, run.run_id)
    assert place is not None
    info = fleet.instance.run_launcher.get_run_worker_debug_info(run) or ""
    worker_pid = fleet.processes[0].pid
    for line in (
        f"Task id: {run.tags[DAGSTER_TASKIQ_TASK_ID_TAG]}",
        "Status: ",
        f"Queue: {fleet.queue.name}",
        f"Message: {place.message_id}, received 1 times",
        f"Worker: {fleet.id_of('one')}",
        f"Host: {socket.gethostname()}",
        f"Pid: {place.pid} (worker: {worker_pid})",
        "Last heartbeat: ",
    ):
        assert line in info, info
    assert "none is left" not in info
    assert os.path.exists(f"/proc/{place.pid}")

    def owner() -> str | None:
        return fleet.instance.run_launcher.check_run_worker_health(run).run_worker_id

    wait_for(lambda: owner() == fleet.id_of("one"), "the heartbeat that names the run")
    health = fleet.instance.run_launcher.check_run_worker_health(run)
    assert health.status == WorkerStatus.RUNNING
    (tmp_path / "go").touch()
    assert ended(fleet, run).is_success


def test_the_registry_has_what_a_list_of_workers_shows(fleet: Fleet, tmp_path: Path) -> None:
    run = launch(fleet, "wait_job", run_config=waiting(tmp_path))
    wait_for((tmp_path / "there").exists, "the step")

    def both() -> registry.Worker | None:
        (found,) = registry.workers(fleet.instance)
        return found if found.holds(run.run_id, None) and found.holds(run.run_id, "waits") else None

    worker = wait_for(both, "a heartbeat that names run and step")
    assert (worker.id, worker.host) == (fleet.id_of("one"), socket.gethostname())
    assert worker.state == "running"
    assert worker.pid == fleet.processes[0].pid
    assert {fleet.queue.name, fleet.gpu.name} <= worker.queues
    assert worker.is_alive
    assert worker.version
    (tmp_path / "go").touch()
    assert ended(fleet, run).is_success


def test_a_run_that_is_terminated_ends_with_its_steps(fleet: Fleet, tmp_path: Path) -> None:
    run = launch(fleet, "wait_job", run_config=waiting(tmp_path))
    wait_for((tmp_path / "there").exists, "the step")
    pid = int((tmp_path / "there").read_text())
    assert fleet.instance.run_launcher.terminate(run.run_id)
    assert ended(fleet, run).status == DagsterRunStatus.CANCELED
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), "the end of the step's process", 30)
    assert not fleet.instance.run_launcher.terminate(run.run_id)


def test_a_step_killed_by_a_signal_names_host_pid_and_signal(fleet: Fleet) -> None:
    run = launch(fleet, "kill_job")
    assert ended(fleet, run).status == DagsterRunStatus.FAILURE
    (failure,) = [
        entry.get_dagster_event()
        for entry in fleet.instance.all_logs(run.run_id)
        if entry.dagster_event and entry.dagster_event.is_step_failure
    ]
    text = failure.step_failure_data.error.message
    assert f"host {socket.gethostname()}" in text
    assert "pid " in text
    assert "signal 9 (SIGKILL" in text


def test_a_killed_step_is_tried_again_as_its_policy_says(fleet: Fleet) -> None:
    run = launch(fleet, "dies_once_job")
    assert ended(fleet, run).is_success
    assert counted(fleet.instance, run.run_id, "STEP_UP_FOR_RETRY") == {"dies_once": 1}


def test_a_run_whose_worker_is_gone_is_resumed_by_another(fleet: Fleet, tmp_path: Path) -> None:
    run = launch(fleet, "wait_job", run_config=waiting(tmp_path))
    wait_for((tmp_path / "there").exists, "the step")
    os.kill(fleet.processes[0].pid, signal.SIGKILL)
    wait_until_gone(tmp_path)
    # What Dagster's run monitoring does with a run whose worker it holds for lost.
    fleet.instance.resume_run(run.run_id, None, 1)
    (tmp_path / "go").touch()
    fleet.worker("two")
    assert ended(fleet, run).is_success
    place = run_owner.last_announcement(fleet.instance, run.run_id)
    assert place is not None
    assert place.worker == fleet.id_of("two")
    assert counted(fleet.instance, run.run_id, "STEP_SUCCESS") == {"waits": 1}


def test_a_run_that_ended_in_its_log_alone_is_not_ended_again(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    run = launch(fleet, "wait_job", run_config=waiting(tmp_path))
    assert ended(fleet, run).is_success
    # As if its process had died between the two writes that make a run's end.
    start = DagsterEvent(DagsterEventType.RUN_START.value, run.job_name)
    fleet.instance.run_storage.handle_run_event(run.run_id, start)
    assert refreshed(fleet, run).status == DagsterRunStatus.STARTED
    fleet.instance.resume_run(run.run_id, None, 1)
    assert ended(fleet, run).is_success
    wait_for(lambda: fleet.queue.depth() == 0, "the acknowledgement")
    assert counted(fleet.instance, run.run_id, "PIPELINE_SUCCESS").total() == 1
