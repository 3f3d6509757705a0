"""Sending messages: batches, limits, large bodies, and missing queues."""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dagster_taskiq import aws
from dagster_taskiq.config import ENV_S3_BUCKET, Settings, queue_name
from dagster_taskiq.errors import (
    DagsterTaskiqError,
    MessageTooLargeError,
    QueueMissingError,
    translate,
)
from dagster_taskiq.message import compacted

#: Maximum number of messages in one call to SQS.
MAX_BATCH_ENTRIES = 10
#: Maximum size of a call: SQS takes 1,048,576 bytes, attributes included, and this leaves room for
#: those.
MAX_BATCH_BYTES = 1_000_000
#: Minimum size of bodies that go to S3 if a bucket is configured. All consumers of these messages
#: agree on it: it was the limit of SQS until 2025.
OFFLOAD_BYTES = 262_144
#: Seconds after which a missing queue is tried again: its creation must be noticed by a run or
#: daemon that sends for days.
LOOK_AGAIN_AFTER = 60.0
#: A queue's MaximumMessageSize if it cannot be queried.
DEFAULT_MAX_MESSAGE_BYTES = 1_048_576

_OFFLOAD_ATTRIBUTE = {"s3_extended_message": {"StringValue": "True", "DataType": "String"}}


@dataclass(frozen=True)
class Outgoing:
    """A message to send. ``group`` and ``deduplication`` matter on FIFO queues only."""

    key: str
    task_id: str
    body: str
    url: str
    group: str
    deduplication: str
    fallback_url: str | None = None


@dataclass
class SendOutcome:
    """Outcome of a batch, by ``Outgoing.key``.

    ``notices`` are sentences for the log about queues that were missing.
    """

    sent: dict[str, str] = field(default_factory=dict)
    failed: dict[str, DagsterTaskiqError] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)


def group_id(*parts: str) -> str:
    """A message group id: the parts, or their hash if they exceed the 128 characters of SQS."""
    text = "/".join(parts)
    printable = all("!" <= char <= "~" for char in text)
    return text if printable and len(text) <= 128 else hashlib.sha256(text.encode()).hexdigest()


def deduplication_id(*parts: str | int) -> str:
    """A deduplication id: the same parts within five minutes are one message."""
    return hashlib.sha256("\0".join(str(part) for part in parts).encode()).hexdigest()


class Sender:
    """Sends to the queues of one configuration. Not for use by several threads at once."""

    def __init__(self, settings: Settings):
        self._settings = settings
        self._client = aws.sqs_client(settings)
        self._s3: Any = None
        self._missing: dict[str, float] = {}
        self._limits: dict[str, int] = {}
        self.base_url = aws.base_queue_url(settings, self._client)

    @property
    def client(self) -> Any:
        """The boto3 SQS client."""
        return self._client

    def check_base_queue(self) -> None:
        """Query the base queue's limit, so that its errors are reported at once.

        Raises:
            DagsterTaskiqError: the queue cannot be reached or does not exist.

        """
        self._limit(self.base_url)

    def waiting(self, url: str) -> int | None:
        """Approximate number of messages in a queue, None if it cannot be queried."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed"]
        try:
            found = self._client.get_queue_attributes(QueueUrl=url, AttributeNames=names)
        except Exception:
            return None
        return sum(int(found.get("Attributes", {}).get(name, 0)) for name in names)

    def send(self, messages: Sequence[Outgoing]) -> SendOutcome:
        """Send; nothing is raised, failures are in the outcome."""
        outcome = SendOutcome()
        ready: list[tuple[Outgoing, dict[str, Any], int]] = []
        for message in messages:
            try:
                message = self._past_missing(message)
                entry, size = self._entry(message)
                ready.append((message, entry, size))
            except Exception as error:
                outcome.failed[message.key] = _as_ours(error, message)
        for batch in _batches(ready):
            self._send_batch(batch, outcome)
        return outcome

    def _send_batch(
        self, batch: list[tuple[Outgoing, dict[str, Any], int]], outcome: SendOutcome
    ) -> None:
        url = batch[0][0].url
        if len(batch) == 1:
            self._send_one(batch[0], outcome)
            return
        entries = [{**entry, "Id": str(index)} for index, (_, entry, _) in enumerate(batch)]
        try:
            answer = self._client.send_message_batch(QueueUrl=url, Entries=entries)
        except Exception:
            # Sending one by one shows which entry is at fault, and finds the fallback of a missing
            # queue.
            for item in batch:
                self._send_one(item, outcome)
            return
        accepted = {int(entry["Id"]) for entry in answer.get("Successful", [])}
        for index, item in enumerate(batch):
            if index in accepted:
                outcome.sent[item[0].key] = url
            else:
                self._send_one(item, outcome)

    def _send_one(self, item: tuple[Outgoing, dict[str, Any], int], outcome: SendOutcome) -> None:
        message, entry, size = item
        try:
            self._client.send_message(QueueUrl=message.url, **entry)
        except Exception as error:
            ours = _as_ours(error, message)
            if isinstance(ours, QueueMissingError) and message.fallback_url:
                notice = self._note_missing(message)
                if notice:
                    outcome.notices.append(notice)
                again = replace(message, url=message.fallback_url, fallback_url=None)
                self._send_one((again, self._fifo(again, entry), size), outcome)
                return
            outcome.failed[message.key] = ours
            return
        outcome.sent[message.key] = message.url

    def _note_missing(self, message: Outgoing) -> str | None:
        known = message.url in self._missing
        self._missing[message.url] = time.monotonic()
        if known:
            return None
        return (
            f"The queue {queue_name(message.url)} does not exist; using"
            f" {queue_name(message.fallback_url or '')}. Create it with dagster-taskiq-tui queue"
            " create."
        )

    def _past_missing(self, message: Outgoing) -> Outgoing:
        found_missing = self._missing.get(message.url, float("-inf"))
        is_fresh = time.monotonic() - found_missing < LOOK_AGAIN_AFTER
        if is_fresh and message.fallback_url:
            return replace(message, url=message.fallback_url, fallback_url=None)
        return message

    def _entry(self, message: Outgoing) -> tuple[dict[str, Any], int]:
        size = len(message.body.encode())
        if size < OFFLOAD_BYTES:
            return self._fifo(message, {"MessageBody": message.body}), size
        if self._settings.s3_bucket:
            body = self._offload(message)
            entry = {"MessageBody": body, "MessageAttributes": _OFFLOAD_ATTRIBUTE}
            return self._fifo(message, entry), len(body) + 64
        message = replace(message, body=compacted(message.body))
        size = len(message.body.encode())
        limit = self._limit(message.url)
        if size > limit:
            raise MessageTooLargeError(
                f"The message for {message.key} is {size} bytes, the queue"
                f" {queue_name(message.url)} takes {limit}; set {ENV_S3_BUCKET} (or s3_bucket_name"
                " in config_source) to send large messages through S3."
            )
        return self._fifo(message, {"MessageBody": message.body}), size

    @staticmethod
    def _fifo(message: Outgoing, entry: dict[str, Any]) -> dict[str, Any]:
        if not message.url.endswith(".fifo"):
            return {
                k: v
                for k, v in entry.items()
                if k not in ("MessageGroupId", "MessageDeduplicationId")
            }
        return {
            **entry,
            "MessageGroupId": message.group,
            "MessageDeduplicationId": message.deduplication,
        }

    def _offload(self, message: Outgoing) -> str:
        bucket = self._settings.s3_bucket
        key = f"{message.task_id}.json"
        try:
            if self._s3 is None:
                self._s3 = aws.s3_client(self._settings)
            self._s3.put_object(Bucket=bucket, Key=key, Body=message.body.encode())
        except Exception as error:
            raise translate(
                error, tried="store a large message", target=f"s3://{bucket}/{key}"
            ) from error
        return json.dumps({"s3_bucket": bucket, "s3_key": key})

    def _limit(self, url: str) -> int:
        """The queue's MaximumMessageSize in bytes; the default if the query is not permitted."""
        if url not in self._limits:
            try:
                answer = self._client.get_queue_attributes(
                    QueueUrl=url, AttributeNames=["MaximumMessageSize"]
                )
            except Exception as error:
                code = getattr(error, "response", {}).get("Error", {}).get("Code", "")
                if not code.startswith("AccessDenied"):
                    raise translate(error, tried="use the queue", target=url) from error
                answer = {}
            size = answer.get("Attributes", {}).get("MaximumMessageSize")
            self._limits[url] = int(size) if size else DEFAULT_MAX_MESSAGE_BYTES
        return self._limits[url]


def _batches(
    ready: Sequence[tuple[Outgoing, dict[str, Any], int]],
) -> Iterator[list[tuple[Outgoing, dict[str, Any], int]]]:
    """Batches of messages for one queue, within the limits of SQS; the order is kept per queue."""
    by_url: dict[str, list[tuple[Outgoing, dict[str, Any], int]]] = {}
    for item in ready:
        by_url.setdefault(item[0].url, []).append(item)
    for items in by_url.values():
        batch: list[tuple[Outgoing, dict[str, Any], int]] = []
        total = 0
        for item in items:
            if batch and (len(batch) == MAX_BATCH_ENTRIES or total + item[2] > MAX_BATCH_BYTES):
                yield batch
                batch, total = [], 0
            batch.append(item)
            total += item[2]
        if batch:
            yield batch


def _as_ours(error: BaseException, message: Outgoing) -> DagsterTaskiqError:
    return translate(error, tried=f"send {message.key}", target=message.url)
