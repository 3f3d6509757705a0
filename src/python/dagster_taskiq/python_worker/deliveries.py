"""A received message, decoded as far as a worker needs it."""

import json
import re
import time
from dataclasses import dataclass, field
from typing import Any

from dagster_taskiq.config import queue_name
from dagster_taskiq.tags import TASK_EXECUTE_RUN, TASK_RESUME_RUN

_OFFLOADED = "s3_extended_message"

#: Pattern of Taskiq's ids, with or without hyphens. Results are stored in S3 under them.
_TASK_ID = re.compile(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


_BUCKET = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]{2,62}")
_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-_])")
_REASON_BYTES = 1024
_LONGEST_NUMBER = 9


class NotATask(Exception):
    """The message is not a Taskiq message; the text contains the reason."""


@dataclass
class Delivery:
    """One delivery of one message.

    Attributes:
        body: as received, so that it can be passed on unchanged.
        attributes: its message attributes, likewise.
        group: on FIFO queues, its message group.
        received_at: monotonic seconds.
        is_settled: its message was deleted, hidden or dead-lettered.

    """

    url: str
    handle: str
    message_id: str
    receive_count: int
    body: str
    attributes: dict[str, Any]
    group: str | None
    received_at: float = field(default_factory=time.monotonic)
    is_settled: bool = False
    task_id: str = ""
    task_name: str = ""
    labels: dict[str, Any] = field(default_factory=dict)
    kwargs: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, url: str, raw: dict[str, Any]) -> "Delivery":
        """The delivery for a message in an answer of SQS."""
        system = raw.get("Attributes", {})
        return cls(
            url=url,
            handle=raw["ReceiptHandle"],
            message_id=raw["MessageId"],
            receive_count=int(system.get("ApproximateReceiveCount", 1)),
            body=raw["Body"],
            attributes=dict(raw.get("MessageAttributes", {})),
            group=system.get("MessageGroupId"),
        )

    @property
    def queue(self) -> str:
        """The queue's name."""
        return queue_name(self.url)

    @property
    def is_offloaded(self) -> bool:
        """Whether the body is only a pointer to an object in S3."""
        return _OFFLOADED in self.attributes

    @property
    def is_run(self) -> bool:
        """Whether it requests a whole run."""
        return self.task_name in (TASK_EXECUTE_RUN, TASK_RESUME_RUN)

    @property
    def is_ours(self) -> bool:
        """Whether our executor or launcher sent it; any other sender waits for a result."""
        return "dtq" in self.labels

    @property
    def attempt(self) -> int:
        """Total attempt of the step; 0 if the sender did not set it."""
        text = str(self.labels.get("attempt", ""))
        return int(text) if text.isdecimal() and len(text) <= _LONGEST_NUMBER else 0

    @property
    def place(self) -> tuple[str, str | None]:
        """Run id and step key (None for a whole run), as far as they can be read."""
        found = [value for name, value in self.kwargs.items() if name.endswith("_args_packed")]
        packed = found[0] if found and isinstance(found[0], dict) else {}
        keys = packed.get("step_keys_to_execute") or [None]
        return str(packed.get("pipeline_run_id", "")), None if self.is_run else keys[0]

    def decode(self, text: str) -> None:
        """Decode the message's text.

        Raises:
            NotATask: it is not a Taskiq message.

        """
        try:
            value = json.loads(text)
            task_id, task_name = value["task_id"], value["task_name"]
            labels, kwargs = value.get("labels") or {}, value.get("kwargs") or {}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            # The error's own text would quote the message.
            raise NotATask(f"not a Taskiq message: {type(error).__name__}") from error
        if not (isinstance(labels, dict) and isinstance(kwargs, dict)):
            raise NotATask("not a Taskiq message: its labels or kwargs are no objects")
        if not (isinstance(task_id, str) and _TASK_ID.fullmatch(task_id)):
            raise NotATask(f"its task id is not a UUID: {str(task_id)[:100]!r}")
        self.task_id, self.task_name = task_id, str(task_name)
        self.labels, self.kwargs = labels, kwargs


def s3_object(body: str, only: str | None) -> tuple[str, str]:
    """Bucket and key of an offloaded message.

    Args:
        body: the message's own body.
        only: the one bucket that may be read, if one is configured.

    Raises:
        NotATask: it names no object, or one in another bucket.

    """
    try:
        where = json.loads(body)
        bucket, key = str(where["s3_bucket"]), str(where["s3_key"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise NotATask("it does not name its object in S3") from error
    if not _BUCKET.fullmatch(bucket) or not 0 < len(key.encode("utf-8", "replace")) <= 1024:
        raise NotATask("what it names is not an object in S3")
    if only and bucket != only:
        raise NotATask(
            f"it lies in the bucket {bucket}, and this worker reads from {only} alone"
            " (DAGSTER_TASKIQ_S3_BUCKET_NAME)"
        )
    return bucket, key


def reason_of(text: str) -> str:
    """Any text as an attribute that SQS takes: one line of plain text, at most 1 KiB."""
    plain = _ESCAPES.sub("", text)
    line = " ".join("".join(c if c.isprintable() else " " for c in plain).split())
    if len(line.encode("utf-8", "replace")) > _REASON_BYTES:
        line = line.encode("utf-8", "replace")[: _REASON_BYTES - 3].decode("utf-8", "ignore") + "…"
    return line or "no reason was given"
