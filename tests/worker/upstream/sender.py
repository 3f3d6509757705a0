"""A sender as the older Python system has it: taskiq with taskiq-aio-sqs, results in S3.

S3 is moto's, served by this process. Reads one JSON command per line on standard input and answers
with one line of JSON.
"""

import asyncio
import json
import logging
import os
import sys
from typing import Any

from botocore.session import get_session
from moto.server import ThreadedMotoServer
from taskiq import AsyncTaskiqTask
from taskiq.kicker import AsyncKicker
from taskiq_aio_sqs import S3Backend, SQSBroker

BUCKET = "results"


class Sender:
    def __init__(self, sqs_endpoint: str, queue: str) -> None:
        self.server = self._serve(0)
        host, port = self.server.get_host_and_port()
        self.endpoint = f"http://{host}:{port}"
        self.s3 = get_session().create_client("s3", endpoint_url=self.endpoint)
        self.s3.create_bucket(Bucket=BUCKET)
        self.backend = S3Backend(BUCKET, endpoint_url=self.endpoint)
        # One endpoint_url would serve for both.
        os.environ["AWS_ENDPOINT_URL_SQS"] = sqs_endpoint
        os.environ["AWS_ENDPOINT_URL_S3"] = self.endpoint
        broker = SQSBroker(queue, s3_extended_bucket_name=BUCKET)
        self.broker = broker.with_result_backend(self.backend)

    @staticmethod
    def _serve(port: int) -> ThreadedMotoServer:
        server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
        server.start()
        return server

    async def kiq(self, task: str, kwargs: dict[str, Any], task_id: str | None = None) -> str:
        kicker = AsyncKicker(task_name=task, broker=self.broker, labels={})
        if task_id is not None:
            kicker = kicker.with_task_id(task_id)
        return (await kicker.kiq(**kwargs)).task_id

    async def result(self, task_id: str) -> dict[str, Any]:
        task = AsyncTaskiqTask(task_id=task_id, result_backend=self.backend)
        result = await task.wait_result(check_interval=0.1, timeout=120)
        return {
            "is_err": result.is_err,
            "events": result.return_value,
            "error": str(result.error) if result.error else None,
        }

    async def forget(self, task_id: str) -> None:
        self.s3.delete_object(Bucket=BUCKET, Key=task_id)

    async def has(self, key: str) -> bool:
        listed = self.s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return any(item["Key"] == key for item in listed)

    async def stop_s3(self) -> None:
        self.server.stop()

    async def start_s3(self) -> None:
        self.server = self._serve(int(self.endpoint.rsplit(":", 1)[1]))


async def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    sender = Sender(*sys.argv[1:])
    await sender.broker.startup()
    print(json.dumps(sender.endpoint), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        verb, arguments = json.loads(line)
        print(json.dumps(await getattr(sender, verb)(**arguments)), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
