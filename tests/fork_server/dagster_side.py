"""Dagster's side of the host tests: makes runs and messages, reads the event log.

Reads one JSON command per line on standard input and answers with one line of JSON, so that the
tests pay for the import of dagster once.
"""

import json
import sys
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from dagster import DagsterEvent, DagsterEventType, DagsterRunStatus
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.execution.plan.state import KnownExecutionState
from dagster._core.execution.retries import RetryMode
from dagster._core.remote_origin import (
    InProcessCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._grpc.types import ExecuteRunArgs, ExecuteStepArgs, ResumeRunArgs
from dagster._serdes import deserialize_value, pack_value

from _dagster_taskiq_host.instances import open_instance

HERE = Path(__file__).parent
# Workers of other tests open the new home at the same time.
instance = open_instance(None)


def repository(file: str) -> ReconstructableRepository:
    return ReconstructableRepository.for_file(str(HERE / file), "defs", str(HERE))


def remote_origin(file: str, job: str) -> RemoteJobOrigin:
    target = LoadableTargetOrigin(python_file=str(HERE / file), attribute="defs")
    location = InProcessCodeLocationOrigin(target, location_name="tests")
    return RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), job)


def make_run(job: str, status: str, file: str = "jobs.py", load: bool = True) -> dict:
    recon = repository("jobs.py" if not load else file).get_reconstructable_job(job)
    run = instance.create_run_for_job(
        job_def=recon.get_definition(),
        status=DagsterRunStatus(status),
        job_code_origin=repository(file).get_reconstructable_job(job).get_python_origin(),
        remote_job_origin=remote_origin(file, job),
    )
    return {"run_id": run.run_id}


def make_run_of(job: str, like: str, file: str) -> dict:
    """Makes a run of a job that the code loaded here lacks, after one that it has."""
    run = instance.get_run_by_id(make_run(like, "STARTED", file)["run_id"])
    named = {
        "run_id": str(uuid4()),
        "job_name": job,
        "job_code_origin": run.job_code_origin._replace(job_name=job),
        "remote_job_origin": None,
    }
    instance.add_run(run._replace(**named))
    return {"run_id": named["run_id"]}


def step_message(run_id: str, step: str, attempt: int = 1, retries: str = "deferred") -> dict:
    run = instance.get_run_by_id(run_id)
    args = ExecuteStepArgs(
        job_origin=run.job_code_origin,
        run_id=run_id,
        step_keys_to_execute=[step],
        instance_ref=instance.get_ref(),
        retry_mode=RetryMode(retries),
        known_state=KnownExecutionState(
            previous_retry_attempts={step: attempt - 1} if attempt > 1 else {}
        ),
    )
    return {"execute_step_args_packed": pack_value(args), "executable_dict": {}}


def run_message(run_id: str, resume: bool = False) -> dict:
    run = instance.get_run_by_id(run_id)
    args = (ResumeRunArgs if resume else ExecuteRunArgs)(
        job_origin=run.job_code_origin, run_id=run_id, instance_ref=instance.get_ref()
    )
    return {f"{'resume' if resume else 'execute'}_job_args_packed": pack_value(args)}


def events(run_id: str, step: str | None = None) -> list:
    found = []
    for entry in instance.all_logs(run_id):
        event = entry.dagster_event
        if event is None or (step is not None and event.step_key != step):
            continue
        data = event.event_specific_data
        error = getattr(data, "error", None)
        found.append(
            {
                "type": event.event_type_value,
                "step": event.step_key,
                "message": event.message or "",
                "error": error.cls_name if error else None,
                "time": entry.timestamp,
                "wait": getattr(data, "seconds_to_wait", None),
                "metadata": {
                    key: str(value.value)
                    for key, value in (getattr(data, "metadata", None) or {}).items()
                    if hasattr(value, "value")
                },
            }
        )
    return found


def compute_logs(run_id: str) -> dict:
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.LOGS_CAPTURED):
        key = [run_id, "compute_logs", entry.dagster_event.logs_captured_data.file_key]
        data = instance.compute_log_manager.get_log_data(key)
        return {
            "stdout": (data.stdout or b"").decode(),
            "stderr": (data.stderr or b"").decode(),
            "complete": instance.compute_log_manager.is_capture_complete(key),
        }
    return {}


def status(run_id: str) -> str:
    return instance.get_run_by_id(run_id).status.value


def set_status(run_id: str, status: str) -> None:
    run = instance.get_run_by_id(run_id)
    if status == "CANCELING":
        instance.report_run_canceling(run)
    elif status == "CANCELED":
        instance.report_run_canceled(run)


def cursor(key: str) -> str | None:
    return instance.run_storage.get_cursor_values({key}).get(key)


def worker_names() -> list[str]:
    """What the index of heartbeats lists, in all of its parts."""
    keys = {f"dagster-taskiq/workers/{shard}" for shard in range(64)}
    parts = instance.run_storage.get_cursor_values(keys)
    return [name for text in parts.values() for name in json.loads(text)]


def launch(job: str, file: str) -> dict:
    """Makes a run and has the instance's run launcher launch it, as Dagster's daemon does."""
    run_id = make_run(job, "NOT_STARTED", file)["run_id"]
    instance.launch_run(run_id, workspace=None)
    return {"run_id": run_id}


def terminate(run_id: str) -> bool:
    return instance.run_launcher.terminate(run_id)


@cache
def sqs(endpoint: str) -> Any:
    import boto3

    return boto3.client("sqs", endpoint_url=endpoint)


def create_queue(endpoint: str, name: str, dead: str | None = None, receives: int = 100) -> str:
    """Creates a queue, and the dead-letter queue that its redrive policy names."""
    attributes = {"FifoQueue": "true"} if name.endswith(".fifo") else {}
    if dead is not None:
        url = create_queue(endpoint, dead)
        found = sqs(endpoint).get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        policy = {
            "deadLetterTargetArn": found["Attributes"]["QueueArn"],
            "maxReceiveCount": receives,
        }
        attributes["RedrivePolicy"] = json.dumps(policy)
    return sqs(endpoint).create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]


def send(endpoint: str, url: str, bodies: list[str], attributes: dict | None = None) -> None:
    """Sends the bodies, ten at a time."""
    values = {k: {"DataType": "String", "StringValue": v} for k, v in (attributes or {}).items()}
    for start in range(0, len(bodies), 10):
        entries = [
            {"Id": str(index), "MessageBody": body, "MessageAttributes": values}
            for index, body in enumerate(bodies[start : start + 10])
        ]
        if url.endswith(".fifo"):
            for entry in entries:
                unique = uuid4().hex
                entry |= {"MessageGroupId": unique, "MessageDeduplicationId": unique}
        answer = sqs(endpoint).send_message_batch(QueueUrl=url, Entries=entries)
        assert not answer.get("Failed"), answer["Failed"]


def counts(endpoint: str, url: str) -> list[int]:
    """Messages that wait, and messages that are in flight."""
    found = sqs(endpoint).get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
    return [int(found[name]) for name in names]


def receive(endpoint: str, url: str) -> list:
    """Bodies and attributes of up to ten messages, which stay in the queue."""
    answer = sqs(endpoint).receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"], VisibilityTimeout=0
    )
    return [
        {
            "body": message["Body"],
            "attributes": {
                name: value["StringValue"]
                for name, value in message.get("MessageAttributes", {}).items()
            },
        }
        for message in answer.get("Messages", [])
    ]


def read_events(texts: list[str]) -> list:
    """The steps and types of serialized events, as an executor reads them."""
    events = [deserialize_value(text, DagsterEvent) for text in texts]
    return [[event.step_key, event.event_type_value] for event in events]


def main() -> None:
    verbs = {
        function.__name__: function
        for function in (
            make_run,
            make_run_of,
            step_message,
            run_message,
            events,
            compute_logs,
            status,
            set_status,
            cursor,
            worker_names,
            launch,
            read_events,
            terminate,
            create_queue,
            send,
            counts,
            receive,
        )
    }
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(json.dumps(verbs[name](**arguments)), flush=True)


if __name__ == "__main__":
    main()
