"""A consumer as an existing Python deployment has it: taskiq's own worker over taskiq-aio-sqs.

It knows nothing of this project: two tasks by their names, Dagster's own bodies in them.
``taskiq worker upstream_worker:broker`` runs it.
"""

import os
from typing import Any

from dagster import DagsterInstance, serialize_value
from dagster._cli import api
from dagster._grpc.types import ExecuteRunArgs, ExecuteStepArgs
from dagster._serdes import unpack_value
from taskiq_aio_sqs import SQSBroker

broker = SQSBroker(
    sqs_queue_name=os.environ["DAGSTER_TASKIQ_SQS_QUEUE_URL"].rsplit("/", 1)[-1],
    endpoint_url=os.environ["DAGSTER_TASKIQ_SQS_ENDPOINT_URL"],
    region_name="us-east-1",
    aws_access_key_id="test",
    aws_secret_access_key="test",
    wait_time_seconds=1,
    s3_extended_bucket_name=None,
)


@broker.task(task_name="execute_plan")
def execute_plan(
    execute_step_args_packed: dict[str, Any], executable_dict: dict[str, Any]
) -> list[str]:
    """Run a step; its events as upstream's executor wants them."""
    args = unpack_value(execute_step_args_packed, ExecuteStepArgs)
    assert args.instance_ref is not None
    with DagsterInstance.from_ref(args.instance_ref) as instance:
        run = instance.get_run_by_id(args.run_id)
        assert run is not None
        events = api._execute_step_command_body(args, instance, run)
        return [serialize_value(event) for event in events]


@broker.task(task_name="execute_job")
def execute_job(execute_job_args_packed: dict[str, Any]) -> int:
    """Run a run's orchestration."""
    args = unpack_value(execute_job_args_packed, ExecuteRunArgs)
    assert args.instance_ref is not None
    with DagsterInstance.from_ref(args.instance_ref) as instance:
        return api._execute_run_command_body(
            args.run_id, instance, lambda _event: None, set_exit_code_on_failure=True
        )
