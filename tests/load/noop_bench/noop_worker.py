"""The same no-op task for ``taskiq worker``: ``taskiq worker noop_worker:broker``."""

import os

from taskiq_aio_sqs import SQSBroker

broker = SQSBroker(
    os.environ["NOOP_BENCH_QUEUE"],
    endpoint_url=os.environ["NOOP_BENCH_ENDPOINT"],
    region_name="us-east-1",
    aws_access_key_id="test",
    aws_secret_access_key="test",
    max_number_of_messages=10,
    wait_time_seconds=1,
    s3_extended_bucket_name=None,
)


@broker.task(task_name="dagster_taskiq.noop")
async def noop() -> None:
    """Does nothing."""
