"""The Python worker under the delivery rules, with faults that are really injected."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.execution.plan.state import KnownExecutionState
from dagster._core.execution.retries import RetryMode
from dagster._grpc.types import ExecuteStepArgs
from dagster._serdes import pack_value

from conftest import (
    Queue,
    client_of,
    counted,
    fresh_home,
    fresh_queue,
    job_named,
    python_worker,
    wait_for,
)
from dagster_taskiq import message, registry

#: Seconds. What a dead worker held comes back after this.
LEASE = "8"


@dataclass(frozen=True)
class Stage:
    """A worker that goes on whatever a test does to what it runs, and what it works with."""

    instance: DagsterInstance
    queue: Queue
    dead: Queue
    bucket: Any


@pytest.fixture(scope="module")
def stage(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One for the tests that harm no worker."""
    folder = tmp_path_factory.mktemp("stage")
    with pytest.MonkeyPatch.context() as patch, s3(patch) as bucket:
        queue = fresh_queue(endpoint, patch)
        fresh_home(folder / "home", patch)
        dead = queue.beside("dead")
        arn = dead.client.get_queue_attributes(QueueUrl=dead.url, AttributeNames=["QueueArn"])
        policy = {"deadLetterTargetArn": arn["Attributes"]["QueueArn"], "maxReceiveCount": "100"}
        attributes = {"RedrivePolicy": json.dumps(policy)}
        queue.client.set_queue_attributes(QueueUrl=queue.url, Attributes=attributes)
        with python_worker(folder / "worker.log"), DagsterInstance.get() as instance:
            yield Stage(instance, queue, dead, bucket)


@contextmanager
def s3(patch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket for results on an S3 of this machine's, and a client of it."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    try:
        url = "http://{}:{}".format(*server.get_host_and_port())
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        client = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys)
        client.create_bucket(Bucket="results")
        patch.setenv("DAGSTER_TASKIQ_S3_ENDPOINT_URL", url)
        patch.setenv("DAGSTER_TASKIQ_S3_BUCKET_NAME", "results")
        yield client
    finally:
        server.stop()


def started_run(
    instance: DagsterInstance, name: str, location: str = "second.py", **kwargs: Any
) -> DagsterRun:
    """A run that nobody drives."""
    job = job_named(name, location)
    return instance.create_run_for_job(
        job.get_definition(),
        job_code_origin=job.get_python_origin(),
        status=DagsterRunStatus.STARTED,
        **kwargs,
    )


def step_message(instance: DagsterInstance, run: DagsterRun, key: str, **labels: Any) -> str:
    """A step's message; with labels as our executor sends it, without as an older one does."""
    args = ExecuteStepArgs(
        job_origin=run.job_code_origin,
        run_id=run.run_id,
        step_keys_to_execute=[key],
        instance_ref=instance.get_ref(),
        retry_mode=RetryMode.ENABLED,
        known_state=KnownExecutionState(),
        should_verify_step=False,
        print_serialized_events=True,
    )
    own = message.labels(**labels) if labels else {}
    kwargs = {"execute_step_args_packed": pack_value(args)}
    return message.encode(message.new_task_id(), "execute_plan", own, kwargs)


def broken_run(instance: DagsterInstance, status: DagsterRunStatus) -> DagsterRun:
    """A run whose code location does not import."""
    origin = job_named("speak_job", "broken.py").get_python_origin()
    job = job_named("speak_job", "second.py").get_definition()
    return instance.create_run_for_job(job, job_code_origin=origin, status=status)


def letters_of(queue: Queue) -> dict[str, str]:
    """Message bodies of a dead-letter queue, with their reasons."""
    answer = client_of(queue.client.meta.endpoint_url).receive_message(
        QueueUrl=queue.url,
        MaxNumberOfMessages=10,
        MessageAttributeNames=["All"],
        VisibilityTimeout=0,
    )
    messages = answer.get("Messages", [])
    return {m["Body"]: m["MessageAttributes"]["dtq_reason"]["StringValue"] for m in messages}


def waiting(folder: Path) -> dict[str, Any]:
    return {"ops": {"waits": {"config": {"folder": str(folder)}}}}


def events(instance: DagsterInstance, run: DagsterRun) -> list[str]:
    """The life of the run's only step."""
    kinds = ("STEP_START", "STEP_RESTARTED", "STEP_SUCCESS", "STEP_FAILURE", "STEP_UP_FOR_RETRY")
    found = [entry.dagster_event for entry in instance.all_logs(run.run_id)]
    return [e.event_type_value for e in found if e and e.event_type_value in kinds]


def test_a_message_that_is_delivered_twice_at_once_runs_once(
    instance: DagsterInstance, queue: Queue, tmp_path: Path
) -> None:
    runs = [started_run(instance, "speak_job") for _ in range(20)]
    bodies = [step_message(instance, run, "speaks", attempt=1) for run in runs]
    # Two senders' messages of one step: another task id, the same attempt.
    others = [step_message(instance, run, "speaks", attempt=1) for run in runs]
    lease = {"DAGSTER_TASKIQ_PYTHON_VISIBILITY_TIMEOUT": LEASE}
    with (
        python_worker(tmp_path / "one.log", **lease),
        python_worker(tmp_path / "two.log", **lease),
    ):
        wait_for(lambda: len(registry.workers(instance)) == 2, "both workers' heartbeats", 120)
        for pair in zip(bodies, others, strict=True):
            entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(pair)]
            queue.client.send_message_batch(QueueUrl=queue.url, Entries=entries)
        wait_for(lambda: queue.depth() == 0, "the acknowledgement of every message", 240)
    for run in runs:
        assert events(instance, run) == ["STEP_START", "STEP_SUCCESS"]


def test_a_step_whose_worker_is_killed_is_tried_again_by_another(
    instance: DagsterInstance, queue: Queue, tmp_path: Path
) -> None:
    run = started_run(instance, "wait_job", run_config=waiting(tmp_path))
    body = step_message(instance, run, "waits", attempt=1)
    queue.client.send_message(QueueUrl=queue.url, MessageBody=body)
    lease = {"DAGSTER_TASKIQ_PYTHON_VISIBILITY_TIMEOUT": LEASE}
    with python_worker(tmp_path / "one.log", **lease) as first:
        wait_for((tmp_path / "there").exists, "the step", 120)
        child = int((tmp_path / "there").read_text())
        (reported,) = wait_for(
            lambda: [w for w in registry.workers(instance) if w.holds(run.run_id, "waits")],
            "the heartbeat that names the step",
        )
        assert reported.is_alive
        assert queue.name in reported.queues
        # Taskiq's supervisor and the worker itself: nobody cleans up.
        for pid in [first.pid, reported.pid]:
            os.kill(pid, signal.SIGKILL)
        first.wait(30)
        wait_for(lambda: not os.path.exists(f"/proc/{child}"), "the end of the step's process")
    with python_worker(tmp_path / "two.log", **lease):
        wait_for(lambda: queue.depth() == 0, "the acknowledgement", 120)
        assert events(instance, run) == ["STEP_START", "STEP_UP_FOR_RETRY"]
        lost = [e for e in instance.all_logs(run.run_id) if "worker is gone" in e.message]
        assert f"pid {child}" in lost[0].message
    wait_for(lambda: not any(w.is_alive for w in registry.workers(instance)), "their end")


def test_a_worker_that_ends_finishes_what_runs_and_leaves_the_rest_to_others(
    instance: DagsterInstance, queue: Queue, tmp_path: Path
) -> None:
    run = started_run(instance, "wait_job", run_config=waiting(tmp_path))
    later = [started_run(instance, "speak_job") for _ in range(4)]
    body = step_message(instance, run, "waits", attempt=1)
    queue.client.send_message(QueueUrl=queue.url, MessageBody=body)
    with python_worker(tmp_path / "one.log") as first:
        wait_for((tmp_path / "there").exists, "the step", 120)
        first.terminate()
        log = tmp_path / "one.log"
        wait_for(lambda: "running tasks to complete" in log.read_text(), "the worker's notice")
        for other in later:
            body = step_message(instance, other, "speaks", attempt=1)
            queue.client.send_message(QueueUrl=queue.url, MessageBody=body)
        with python_worker(tmp_path / "two.log"):
            wait_for(lambda: queue.depth() == 1, "the end of all but the first one's", 120)
            (tmp_path / "go").touch()
            wait_for(lambda: queue.depth() == 0, "the end of the first one's")
    assert events(instance, run) == ["STEP_START", "STEP_SUCCESS"]


def test_a_step_of_a_cancelled_run_is_interrupted_and_not_tried_again(
    stage: Stage, tmp_path: Path
) -> None:
    instance, queue = stage.instance, stage.queue
    run = started_run(instance, "wait_job", run_config=waiting(tmp_path))
    body = step_message(instance, run, "waits", attempt=1)
    queue.client.send_message(QueueUrl=queue.url, MessageBody=body)
    wait_for((tmp_path / "there").exists, "the step", 120)
    child = int((tmp_path / "there").read_text())
    instance.report_run_canceling(run)
    wait_for(lambda: not os.path.exists(f"/proc/{child}"), "the end of the step's process")
    wait_for(lambda: queue.depth() == 0, "the acknowledgement")
    # Its message goes to a finished run: nothing is run.
    instance.report_run_canceled(instance.get_run_by_id(run.run_id))
    again = step_message(instance, run, "waits", attempt=2)
    queue.client.send_message(QueueUrl=queue.url, MessageBody=again)
    wait_for(lambda: queue.depth() == 0, "the acknowledgement of the second one")
    assert counted(instance, run.run_id, "STEP_START") == {"waits": 1}
    assert not counted(instance, run.run_id, "STEP_UP_FOR_RETRY")


def test_an_older_sender_gets_its_result_and_poison_is_put_away_with_the_reason(
    stage: Stage,
) -> None:
    instance, queue = stage.instance, stage.queue
    good = started_run(instance, "speak_job")
    killed = started_run(instance, "kill_job")
    gone = started_run(instance, "speak_job")
    broken = broken_run(instance, DagsterRunStatus.STARTED)
    bodies = {
        "good": step_message(instance, good, "speaks"),
        "killed": step_message(instance, killed, "kills_itself"),
        "gone": step_message(instance, gone, "speaks"),
        "broken": step_message(instance, broken, "speaks"),
        "text": "hello",
        "unknown": message.encode(message.new_task_id(), "send_mail", {}, {}),
    }
    instance.delete_run(gone.run_id)
    for body in bodies.values():
        queue.client.send_message(QueueUrl=queue.url, MessageBody=body)
    wait_for(lambda: queue.depth() == 0, "the settlement of every message", 120)

    def result(name: str) -> dict[str, Any]:
        key = json.loads(bodies[name])["task_id"]
        found: dict[str, Any] = json.loads(
            stage.bucket.get_object(Bucket="results", Key=key)["Body"].read()
        )
        return found

    assert not result("good")["is_err"]
    assert any("STEP_SUCCESS" in event for event in result("good")["return_value"])
    assert any("SIGKILL" in event for event in result("killed")["return_value"])
    assert events(instance, killed) == ["STEP_START", "STEP_FAILURE"]
    assert result("gone")["is_err"]
    assert "does not exist" in result("gone")["error"]["exc_message"][0]
    assert any("the warehouse is closed" in event for event in result("broken")["return_value"])
    assert events(instance, broken) == ["STEP_FAILURE"]
    reasons = letters_of(stage.dead)
    words = {
        "text": "not a Taskiq message",
        "unknown": "send_mail",
        "gone": "does not exist",
        "broken": "the warehouse is closed",
    }
    assert reasons.keys() & set(bodies.values()) == {bodies[name] for name in words}, reasons
    for name, said in words.items():
        assert said in reasons[bodies[name]], reasons


def test_a_run_whose_location_does_not_import_fails_with_the_reason_and_is_dead_lettered(
    stage: Stage,
) -> None:
    instance, queue = stage.instance, stage.queue
    run = broken_run(instance, DagsterRunStatus.NOT_STARTED)
    instance.launch_run(run.run_id, None)
    wait_for(lambda: queue.depth() == 0, "the settlement of the run's message", 120)
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status == DagsterRunStatus.FAILURE
    (failure,) = instance.all_logs(run.run_id, of_type=DagsterEventType.RUN_FAILURE)
    assert "the warehouse is closed" in failure.get_dagster_event().message
    letters = letters_of(stage.dead).items()
    (reason,) = [reason for body, reason in letters if run.run_id in body]
    assert "the warehouse is closed" in reason


def test_a_killed_step_host_costs_its_step_one_attempt_and_the_worker_goes_on(
    stage: Stage, tmp_path: Path
) -> None:
    instance, queue = stage.instance, stage.queue
    run = started_run(instance, "wait_job", run_config=waiting(tmp_path))
    body = step_message(instance, run, "waits", attempt=1)
    queue.client.send_message(QueueUrl=queue.url, MessageBody=body)
    wait_for((tmp_path / "there").exists, "the step", 120)
    child = int((tmp_path / "there").read_text())
    stat = Path(f"/proc/{child}/stat").read_text()
    os.kill(int(stat.rpartition(")")[2].split()[1]), signal.SIGKILL)
    wait_for(lambda: not os.path.exists(f"/proc/{child}"), "the end of the step's process")
    wait_for(lambda: queue.depth() == 0, "the acknowledgement")
    assert events(instance, run) == ["STEP_START", "STEP_UP_FOR_RETRY"]
    (tmp_path / "go").touch()
    again = step_message(instance, run, "waits", attempt=2)
    queue.client.send_message(QueueUrl=queue.url, MessageBody=again)
    wait_for(lambda: queue.depth() == 0, "the acknowledgement of the next attempt")
    assert counted(instance, run.run_id, "STEP_SUCCESS") == {"waits": 1}
