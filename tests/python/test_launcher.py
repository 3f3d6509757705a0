"""The run launcher: what it sends, and what becomes of runs that are cancelled or lost."""

import subprocess
import sys

import pytest
from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.events import JobFailureData
from dagster._core.launcher.base import WorkerStatus
from dagster._grpc.types import ExecuteRunArgs, ResumeRunArgs
from dagster._serdes import unpack_value
from dagster._utils.error import SerializableErrorInfo

from conftest import Queue, counted, create_run, put_worker, wait_for
from dagster_taskiq import DAGSTER_TASKIQ_TASK_ID_TAG, DagsterTaskiqError, TaskiqRunLauncher


def launch(instance: DagsterInstance, name: str = "chain_job", **kwargs) -> str:
    run = create_run(name, instance, **kwargs)
    instance.launch_run(run.run_id, None)
    return run.run_id


def status(instance: DagsterInstance, run_id: str) -> DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_a_launched_run_is_run_by_a_worker(shared: tuple[DagsterInstance, Queue]) -> None:
    instance, _ = shared
    run_id = launch(instance)
    wait_for(lambda: status(instance, run_id) == DagsterRunStatus.SUCCESS, "the run's success")
    assert set(counted(instance, run_id, "STEP_SUCCESS").values()) == {1}


def test_runs_travel_on_their_own_queue_where_it_exists(
    instance: DagsterInstance, queue: Queue
) -> None:
    first = launch(instance)
    (message,) = queue.receive()
    assert message["decoded"]["task_name"] == "execute_job"
    runs = queue.beside("runs")
    second = launch(instance)
    # This launcher has learned that there is no such queue; another process has not.
    assert len(queue.receive()) == 1
    instance.run_launcher.dispose()
    third = launch(instance, tags={"dagster-taskiq/run_priority": "3"})
    (message,) = runs.receive()
    labels = message["decoded"]["labels"]
    assert (labels["run_id"], labels["attempt"], labels["priority"]) == (third, "1", "8")
    packed = message["decoded"]["kwargs"]["execute_job_args_packed"]
    assert unpack_value(packed, ExecuteRunArgs).run_id == third
    assert len({first, second, third}) == 3
    run = instance.get_run_by_id(third)
    assert run is not None
    assert run.tags[DAGSTER_TASKIQ_TASK_ID_TAG] == message["decoded"]["task_id"]


def test_a_resumed_run_is_sent_with_its_number(instance: DagsterInstance, queue: Queue) -> None:
    run_id = launch(instance)
    queue.receive()
    instance.resume_run(run_id, None, 2)
    (message,) = queue.receive()
    assert message["decoded"]["task_name"] == "resume_job"
    assert message["decoded"]["labels"]["attempt"] == "3"
    packed = message["decoded"]["kwargs"]["resume_job_args_packed"]
    assert unpack_value(packed, ResumeRunArgs).run_id == run_id


def test_a_run_that_waits_in_the_queue_is_cancelled_at_once(
    instance: DagsterInstance, queue: Queue
) -> None:
    run_id = launch(instance)
    assert instance.run_launcher.terminate(run_id)
    assert status(instance, run_id) == DagsterRunStatus.CANCELED
    assert not instance.run_launcher.terminate(run_id)


def test_a_run_that_a_worker_has_just_begun_is_ended_by_that_worker(
    instance: DagsterInstance, queue: Queue
) -> None:
    run_id = launch(instance)
    hold = (
        "import sys; from dagster import DagsterInstance; from _dagster_taskiq_host import claims\n"
        "instance = DagsterInstance.get()\n"
        f"print(claims.claim(instance, {run_id!r}, None, 1).acquire(), flush=True)\n"
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", hold]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as worker:
        assert worker.stdout.readline() == "True\n"
        assert instance.run_launcher.terminate(run_id)
        assert status(instance, run_id) == DagsterRunStatus.CANCELING
        worker.stdin.close()
    assert instance.run_launcher.terminate(run_id)
    assert status(instance, run_id) == DagsterRunStatus.CANCELING


def test_a_run_under_way_is_cancelled_with_its_steps(
    shared: tuple[DagsterInstance, Queue],
) -> None:
    instance, _ = shared
    run_id = launch(instance, "sleep_job")
    wait_for(lambda: counted(instance, run_id, "STEP_START"), "the step's start")
    assert instance.run_launcher.terminate(run_id)
    wait_for(lambda: status(instance, run_id) == DagsterRunStatus.CANCELED, "the cancellation")
    wait_for(lambda: counted(instance, run_id, "STEP_FAILURE"), "the step's interruption")


def test_a_run_that_cannot_be_sent_fails_with_a_sentence(
    instance: DagsterInstance, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_TASKIQ_SQS_QUEUE_URL", f"{queue.url}-gone")
    run = create_run("chain_job", instance)
    with pytest.raises(DagsterTaskiqError, match="does not exist"):
        instance.launch_run(run.run_id, None)
    assert status(instance, run.run_id) == DagsterRunStatus.FAILURE


def test_a_run_is_healthy_unless_its_worker_is_long_silent_and_others_are_alive(
    instance: DagsterInstance, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = launch(instance)
    run = instance.get_run_by_id(run_id)
    assert run is not None
    launcher = instance.run_launcher
    monkeypatch.setattr("dagster_taskiq.launcher._SAME_LOOK", 0.0)
    assert launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING
    put_worker(instance, "a", 100.0, run_id)
    assert launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING
    put_worker(instance, "a", 1000.0, run_id)
    assert launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING
    put_worker(instance, "b", 1.0, None)
    assert launcher.check_run_worker_health(run).status == WorkerStatus.FAILED
    info = launcher.get_run_worker_debug_info(run)
    assert info is not None
    assert run.tags[DAGSTER_TASKIQ_TASK_ID_TAG] in info
    assert "No worker has said that it runs the run; workers alive: 1." in info
    # The reports of a moment ago are no reason to give up a run that was taken over since.
    monkeypatch.setattr("dagster_taskiq.launcher._SAME_LOOK", 60.0)
    assert launcher.check_run_worker_health(run).status == WorkerStatus.FAILED
    put_worker(instance, "b", 1.0, run_id)
    assert launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING


def test_debug_info_tells_how_a_runs_process_ended(instance: DagsterInstance, queue: Queue) -> None:
    run_id = launch(instance)
    run = instance.get_run_by_id(run_id)
    assert run is not None
    text = "The run's process left with exit code 3 without recording an end (host h1, pid 7)."
    error = SerializableErrorInfo(f"{text}\n", [], "dagster_taskiq.StepCrashed")
    instance.report_run_failed(run, text, JobFailureData(error=error))
    info = instance.run_launcher.get_run_worker_debug_info(run)
    assert info is not None
    assert f"End: {text}" in info


def test_the_launcher_is_made_from_code_too() -> None:
    launcher = TaskiqRunLauncher(
        default_queue="dagster",
        queue_url="https://sqs.eu-west-1.amazonaws.com/123456789012/dagster-tasks",
        region_name="eu-west-1",
    )
    assert launcher.supports_resume_run
    assert launcher.supports_check_run_worker_health
