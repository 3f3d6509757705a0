"""A Taskiq broker that receives from SQS and keeps its messages from being delivered again."""

import asyncio
import json
import logging
import random
import uuid
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from taskiq import AckableMessage, AsyncBroker, BrokerMessage

from _dagster_taskiq_host.redaction import Redacting, redact
from dagster_taskiq import aws
from dagster_taskiq.config import Settings, queue_name, resolve, with_suffix
from dagster_taskiq.errors import BrokerUnreachableError, QueueMissingError, translate
from dagster_taskiq.python_worker.deliveries import Delivery, NotATask, reason_of, s3_object
from dagster_taskiq.routing import RUNS_SUFFIX
from dagster_taskiq.sqs import Outgoing, Sender

#: Received messages that have not been handed out yet.
_Arrived = asyncio.Queue[tuple[Delivery, AckableMessage]]

_LOG = logging.getLogger("dagster_taskiq")
# The one logger of this worker: it hides secrets in the output of all modules.
_LOG.addFilter(Redacting())

#: Default visibility timeout of a received message, in seconds.
VISIBILITY_TIMEOUT = 60
_WAIT_SECONDS = 5
_RETRY_SECONDS = 5.0
_MISSING_SECONDS = 30.0
_FETCH_AGAIN_SECONDS = 30
_KEEP_HIDDEN_SECONDS = 900
#: Maximum size in bytes of a fetched body: it must fit into a frame to a step's process.
_MAX_BODY = 15 * 1024 * 1024
_DELETE_AGAIN_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


class SqsBroker(AsyncBroker):
    """Sends to and receives from the queue that the environment configures.

    Runs and steps have separate limits: runs that fill the places of their own steps would wait
    forever. A message is invisible for ``visibility_timeout`` seconds, renewed at a third of it
    while it is held.
    """

    def __init__(
        self,
        max_steps: int,
        max_runs: int,
        further_queues: Sequence[str] = (),
        visibility_timeout: int = VISIBILITY_TIMEOUT,
    ):
        super().__init__()
        self.visibility_timeout = visibility_timeout
        self._max_steps = max_steps
        self._max_runs = max_runs
        self._further_queues = list(further_queues)
        self._held: dict[str, Delivery] = {}
        self._freed = asyncio.Condition()
        # A lease must not be renewed and given back at the same time.
        self._renewing = asyncio.Lock()
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
        self._settings: Settings = resolve({})
        self._sender = await asyncio.to_thread(Sender, self._settings)
        await asyncio.to_thread(self._sender.check_base_queue)
        # The handlers may need the queues.
        await super().startup()

    async def shutdown(self) -> None:
        """Stop receiving, and give back messages that were not settled."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # The handlers end running tasks: no other worker should receive a message whose step is
        # still alive.
        await super().shutdown()
        for held in list(self._held.values()):
            await self.hide(held, 0)

    async def kick(self, message: BrokerMessage) -> None:
        """Send a message to the base queue.

        Raises:
            DagsterTaskiqError: the message was not sent.

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
        """Receive until the caller stops iterating; each message is to be acknowledged."""
        arrived: _Arrived = asyncio.Queue()
        *shared, runs = self._urls()
        polls = [asyncio.create_task(self._poll(url, False, arrived)) for url in shared]
        polls.append(asyncio.create_task(self._poll(runs, True, arrived)))
        self._tasks = [*polls, asyncio.create_task(self._extend())]
        try:
            while True:
                _, message = await arrived.get()
                yield message
        finally:
            # The caller has stopped, while running tasks may take long: the rest is for other
            # workers.
            self._closing = True
            for poll in polls:
                poll.cancel()
            while not arrived.empty():
                delivery, _ = arrived.get_nowait()
                self._tasks.append(asyncio.create_task(self.hide(delivery, 0)))

    def _urls(self) -> list[str]:
        """The queues it receives from, the one for runs last."""
        base = self._started().base_url
        return [base, *self._further_queues, with_suffix(base, RUNS_SUFFIX)]

    def _started(self) -> Sender:
        if self._sender is None:
            raise RuntimeError("The broker was not started: call `await broker.startup()` first.")
        return self._sender

    async def _poll(self, url: str, for_runs: bool, arrived: _Arrived) -> None:
        limit = self._max_runs if for_runs else self._max_steps
        while True:
            async with self._freed:
                await self._freed.wait_for(lambda: self._count(for_runs) < limit)
            try:
                room = min(10, limit - self._count(for_runs))
                received = await asyncio.to_thread(self._receive, url, max(1, room))
                for delivery in received:
                    await self._accept(delivery, arrived)
            except Exception as error:
                ours = translate(error, tried="receive messages", target=url)
                if for_runs and isinstance(ours, QueueMissingError):
                    # Optional: without it, runs share the base queue. It may be created later.
                    await asyncio.sleep(_MISSING_SECONDS)
                    continue
                _LOG.warning("%s Trying again.", ours)
                await asyncio.sleep(_RETRY_SECONDS)

    def _receive(self, url: str, room: int) -> list[Delivery]:
        answer = self._started().client.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=room,
            WaitTimeSeconds=_WAIT_SECONDS,
            VisibilityTimeout=self.visibility_timeout,
            MessageAttributeNames=["All"],
            AttributeNames=["ApproximateReceiveCount", "MessageGroupId"],
        )
        received = [Delivery.of(url, raw) for raw in answer.get("Messages", [])]
        if self._closing:
            for delivery in received:
                self._set_visibility(delivery, 0)
            return []
        return received

    async def _accept(self, delivery: Delivery, arrived: _Arrived) -> None:
        try:
            text = await asyncio.to_thread(self._text, delivery)
            delivery.decode(text)
        except NotATask as error:
            await self.dead_letter(delivery, str(error))
            return
        except Exception as error:
            ours = translate(error, tried="fetch a large message", target=delivery.body[:200])
            _LOG.error("%s The message is tried again later.", ours)
            await self.hide(delivery, _FETCH_AGAIN_SECONDS)
            return
        if delivery.task_id in self._held:
            # A second delivery of a current message: its lease expires, and it is recognised then.
            await self.hide(delivery, self.visibility_timeout)
            return
        if self.local_task_registry and self.find_task(delivery.task_name) is None:
            await self.dead_letter(delivery, f"it asks for the task {delivery.task_name!r}")
            return
        if delivery.is_run and self._count(True) >= self._max_runs:
            await self.hide(delivery, random.randint(10, 30))
            return
        self._held[delivery.task_id] = delivery

        async def acknowledge() -> None:
            # One of our own tasks has settled its message by now; Taskiq acknowledges with any
            # outcome of a task. Another program's loop signals by this that it is done.
            if not delivery.is_settled:
                await self.delete(delivery)

        message = AckableMessage(data=text.encode(), ack=acknowledge)
        await arrived.put((delivery, message))

    def _text(self, delivery: Delivery) -> str:
        """The message's text, from S3 if the body is only a pointer.

        Raises:
            NotATask: the object it names does not exist.

        """
        if not delivery.is_offloaded:
            return delivery.body
        bucket, key = s3_object(delivery.body, self._settings.s3_bucket)
        try:
            found = self._bucket().get_object(Bucket=bucket, Key=key)
        except Exception as error:
            code = str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))
            if code in ("NoSuchKey", "404"):
                raise NotATask(f"s3://{bucket}/{key} does not exist") from error
            raise
        size = int(found["ContentLength"])
        if size > _MAX_BODY:
            raise NotATask(f"s3://{bucket}/{key} has {size} bytes, more than {_MAX_BODY}")
        try:
            return bytes(found["Body"].read()).decode()
        except UnicodeDecodeError as error:
            raise NotATask(f"s3://{bucket}/{key} is not UTF-8 text") from error

    def _bucket(self) -> Any:
        if self._s3 is None:
            self._s3 = aws.s3_client(self._settings)
        return self._s3

    def held(self, task_id: str) -> Delivery | None:
        """The delivery of a current task."""
        return self._held.get(task_id)

    @property
    def deliveries(self) -> list[Delivery]:
        """All current deliveries."""
        return list(self._held.values())

    @property
    def slots(self) -> dict[str, int]:
        """Maximum numbers of current steps and runs."""
        return {"steps": self._max_steps, "runs": self._max_runs}

    @property
    def queues(self) -> list[str]:
        """Names of the queues it receives from."""
        return [queue_name(url) for url in self._urls()]

    async def delete(self, delivery: Delivery) -> None:
        """Delete a message, whose effect must be in Dagster's log."""
        for pause in (*_DELETE_AGAIN_SECONDS, None):
            try:
                await asyncio.to_thread(
                    self._started().client.delete_message,
                    QueueUrl=delivery.url,
                    ReceiptHandle=delivery.handle,
                )
                break
            except Exception as error:
                ours = translate(error, tried="delete a message", target=delivery.url)
                if pause is None or not isinstance(ours, BrokerUnreachableError):
                    _LOG.error("%s It will be delivered again, and recognised.", ours)
                    break
                await asyncio.sleep(pause)
        await self._release(delivery)

    async def hide(self, delivery: Delivery, seconds: float) -> None:
        """Give a message back, to be received again after some seconds."""
        # No longer held: from here on its lease is not renewed.
        await self._release(delivery)
        await asyncio.to_thread(self._set_visibility, delivery, round(seconds))

    async def dead_letter(self, delivery: Delivery, reason: str) -> None:
        """Move a message that no worker can run to the dead-letter queue, or keep and show it."""
        reason = redact(reason)
        _LOG.error("Message %s cannot be run: %s", delivery.message_id, reason)
        try:
            moved = await asyncio.to_thread(self._move_to_dead_letters, delivery, reason)
        except Exception as error:
            ours = translate(error, tried="dead-letter a message", target=delivery.url)
            _LOG.error("%s It is kept.", ours)
            moved = False
        if moved:
            await self.delete(delivery)
        else:
            await self.hide(delivery, _KEEP_HIDDEN_SECONDS)

    def _move_to_dead_letters(self, delivery: Delivery, reason: str) -> bool:
        client = self._started().client
        answer = client.get_queue_attributes(
            QueueUrl=delivery.url, AttributeNames=["RedrivePolicy"]
        )
        policy = json.loads(answer.get("Attributes", {}).get("RedrivePolicy", "{}"))
        name = str(policy.get("deadLetterTargetArn", "")).rsplit(":", 1)[-1]
        if not name:
            _LOG.warning(
                "%s has no dead-letter queue: message %s is kept, hidden for 15 minutes.",
                delivery.queue,
                delivery.message_id,
            )
            return False
        fifo = {"MessageGroupId": delivery.group, "MessageDeduplicationId": uuid.uuid4().hex}
        own = {"dtq_reason": reason_of(reason), "dtq_source_queue": delivery.queue}
        attributes = {
            **delivery.attributes,
            **{key: {"DataType": "String", "StringValue": value} for key, value in own.items()},
        }
        client.send_message(
            QueueUrl=client.get_queue_url(QueueName=name)["QueueUrl"],
            MessageBody=delivery.body,
            MessageAttributes=attributes,
            **(fifo if delivery.group else {}),
        )
        return True

    async def put_result(self, delivery: Delivery, result: dict[str, Any]) -> bool:
        """Store the result a sender waits for; returns whether there is a bucket for it.

        Raises:
            DagsterTaskiqError: S3 refuses it.

        """
        bucket = self._settings.s3_bucket
        if not bucket:
            return False
        body = json.dumps(result).encode()
        try:
            await asyncio.to_thread(
                self._bucket().put_object, Bucket=bucket, Key=delivery.task_id, Body=body
            )
        except Exception as error:
            target = f"s3://{bucket}/{delivery.task_id}"
            raise translate(error, tried="put a result", target=target) from error
        return True

    def _count(self, runs: bool) -> int:
        return sum(held.is_run == runs for held in self._held.values())

    async def _release(self, delivery: Delivery) -> None:
        async with self._renewing:
            delivery.is_settled = True
        if self._held.get(delivery.task_id) is delivery:
            del self._held[delivery.task_id]
        async with self._freed:
            self._freed.notify_all()

    async def _extend(self) -> None:
        while True:
            await asyncio.sleep(self.visibility_timeout / 3)
            for held in self.deliveries:
                async with self._renewing:
                    if not held.is_settled:
                        await asyncio.to_thread(self._set_visibility, held, self.visibility_timeout)

    def _set_visibility(self, delivery: Delivery, seconds: int) -> None:
        try:
            self._started().client.change_message_visibility(
                QueueUrl=delivery.url, ReceiptHandle=delivery.handle, VisibilityTimeout=seconds
            )
        except Exception as error:
            ours = translate(error, tried="renew a message's lease", target=delivery.url)
            _LOG.warning("%s The message comes back when its lease ends.", ours)
