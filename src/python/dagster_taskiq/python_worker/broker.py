"""A Taskiq broker that receives from SQS and keeps what it holds from being delivered again."""

import asyncio
import json
import logging
import random
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

from taskiq import AckableMessage, AsyncBroker, BrokerMessage

from dagster_taskiq import aws
from dagster_taskiq.config import Settings, resolve, with_suffix
from dagster_taskiq.errors import QueueMissingError, translate
from dagster_taskiq.routing import RUNS_SUFFIX
from dagster_taskiq.sqs import Outgoing, Sender
from dagster_taskiq.tags import TASK_EXECUTE_RUN, TASK_RESUME_RUN

_LOG = logging.getLogger("dagster_taskiq")

#: Seconds a received message stays invisible; extended at a third of it while it is held.
VISIBILITY_TIMEOUT = 60
_WAIT_SECONDS = 5
_RETRY_SECONDS = 5.0
_MISSING_SECONDS = 30.0


@dataclass(frozen=True)
class _Held:
    url: str
    handle: str
    is_run: bool


class SqsBroker(AsyncBroker):
    """Sends to and receives from the queue that the environment configures.

    Runs and steps have limits of their own: runs that fill the places their own steps need would
    wait for ever.
    """

    def __init__(self, max_steps: int, max_runs: int, further_queues: Sequence[str] = ()):
        super().__init__()
        self._max_steps = max_steps
        self._max_runs = max_runs
        self._further_queues = list(further_queues)
        self._held: dict[str, _Held] = {}
        self._freed = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False
        self._sender: Sender | None = None
        self._send_lock = asyncio.Lock()
        self._s3: Any = None

    async def startup(self) -> None:
        """Connect.

        Raises:
            DagsterTaskiqError: the queue cannot be used.

        """
        await super().startup()
        self._settings: Settings = resolve({})
        self._sender = await asyncio.to_thread(Sender, self._settings)
        await asyncio.to_thread(self._sender.check_base_queue)

    async def shutdown(self) -> None:
        """Stop receiving, and give back what was not acknowledged."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for held in list(self._held.values()):
            await asyncio.to_thread(self._set_visibility, held.url, held.handle, 0)
        self._held.clear()
        await super().shutdown()

    async def kick(self, message: BrokerMessage) -> None:
        """Send a message to the base queue.

        Raises:
            DagsterTaskiqError: it was not sent.

        """
        sender = self._started()
        outgoing = Outgoing(
            key=message.task_id,
            task_id=message.task_id,
            body=message.message.decode(),
            url=sender.base_url,
            group=message.task_id,
            deduplication=message.task_id,
        )
        async with self._send_lock:
            outcome = await asyncio.to_thread(sender.send, [outgoing])
        for error in outcome.failed.values():
            raise error

    async def listen(self) -> AsyncGenerator[AckableMessage, None]:
        """Receive for as long as the caller asks; each message is to be acknowledged."""
        sender = self._started()
        arrived: asyncio.Queue[AckableMessage] = asyncio.Queue()
        runs_url = with_suffix(sender.base_url, RUNS_SUFFIX)
        urls = [sender.base_url, *self._further_queues]
        self._tasks = [
            *(asyncio.create_task(self._poll(url, False, arrived)) for url in urls),
            asyncio.create_task(self._poll(runs_url, True, arrived)),
            asyncio.create_task(self._extend()),
        ]
        while True:
            yield await arrived.get()

    def _started(self) -> Sender:
        if self._sender is None:
            raise RuntimeError("The broker was not started: call `await broker.startup()` first.")
        return self._sender

    async def _poll(
        self, url: str, for_runs: bool, arrived: "asyncio.Queue[AckableMessage]"
    ) -> None:
        limit = self._max_runs if for_runs else self._max_steps
        while True:
            async with self._freed:
                await self._freed.wait_for(lambda: self._count(for_runs) < limit)
            try:
                room = min(10, limit - self._count(for_runs))
                received = await asyncio.to_thread(self._receive, url, max(1, room))
                for raw in received:
                    await self._accept(url, raw, arrived)
            except Exception as error:
                ours = translate(error, tried="receive messages", target=url)
                if for_runs and isinstance(ours, QueueMissingError):
                    # Optional: without it, runs share the base queue. It may be created later.
                    await asyncio.sleep(_MISSING_SECONDS)
                    continue
                _LOG.warning("%s Trying again.", ours)
                await asyncio.sleep(_RETRY_SECONDS)

    def _receive(self, url: str, room: int) -> list[dict[str, Any]]:
        answer = self._started().client.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=room,
            WaitTimeSeconds=_WAIT_SECONDS,
            VisibilityTimeout=VISIBILITY_TIMEOUT,
            MessageAttributeNames=["All"],
        )
        received = list(answer.get("Messages", []))
        if self._closing:
            for raw in received:
                self._set_visibility(url, raw["ReceiptHandle"], 0)
            return []
        return received

    async def _accept(
        self, url: str, raw: dict[str, Any], arrived: "asyncio.Queue[AckableMessage]"
    ) -> None:
        handle = raw["ReceiptHandle"]
        data = await asyncio.to_thread(self._body, raw)
        is_run = _task_name(data) in (TASK_EXECUTE_RUN, TASK_RESUME_RUN)
        if is_run and self._count(True) >= self._max_runs:
            delay = random.randint(10, 30)
            await asyncio.to_thread(self._set_visibility, url, handle, delay)
            return
        self._held[handle] = _Held(url, handle, is_run)

        async def acknowledge() -> None:
            await asyncio.to_thread(
                self._started().client.delete_message, QueueUrl=url, ReceiptHandle=handle
            )
            self._held.pop(handle, None)
            async with self._freed:
                self._freed.notify_all()

        await arrived.put(AckableMessage(data=data, ack=acknowledge))

    def _body(self, raw: dict[str, Any]) -> bytes:
        body: str = raw["Body"]
        if "s3_extended_message" not in raw.get("MessageAttributes", {}):
            return body.encode()
        where = json.loads(body)
        if self._s3 is None:
            self._s3 = aws.s3_client(self._settings)
        found = self._s3.get_object(Bucket=where["s3_bucket"], Key=where["s3_key"])
        return bytes(found["Body"].read())

    def _count(self, runs: bool) -> int:
        return sum(held.is_run == runs for held in self._held.values())

    async def _extend(self) -> None:
        while True:
            await asyncio.sleep(VISIBILITY_TIMEOUT / 3)
            for held in list(self._held.values()):
                await asyncio.to_thread(
                    self._set_visibility, held.url, held.handle, VISIBILITY_TIMEOUT
                )

    def _set_visibility(self, url: str, handle: str, seconds: int) -> None:
        if seconds and handle not in self._held and seconds == VISIBILITY_TIMEOUT:
            return  # acknowledged meanwhile
        try:
            self._started().client.change_message_visibility(
                QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=seconds
            )
        except Exception as error:
            _LOG.warning("Changing the visibility of a message on %s failed: %s", url, error)


def _task_name(data: bytes) -> str:
    try:
        return str(json.loads(data)["task_name"])
    except (ValueError, KeyError, TypeError):
        return ""
