"""A received message, decoded as far as a worker needs it."""

import json
import time
from dataclasses import dataclass, field
from typing import Any

from dagster_taskiq.config import queue_name
from dagster_taskiq.tags import TASK_EXECUTE_RUN, TASK_RESUME_RUN

_OFFLOADED = "s3_extended_message"


class NotATask(Exception):
    """The message is not a Taskiq message; the text says why."""


@dataclass
class Delivery:
    """One delivery of one message.

    Attributes:
        body: as it came, so that it can be passed on unchanged.
        attributes: its message attributes, likewise.
        group: on FIFO queues, its message group.
        received_at: monotonic seconds.
        is_settled: its message was deleted, hidden or put away.

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
        """The delivery that SQS's answer describes."""
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
        """Whether the body only names an object in S3."""
        return _OFFLOADED in self.attributes

    @property
    def is_run(self) -> bool:
        """Whether it asks for a whole run."""
        return self.task_name in (TASK_EXECUTE_RUN, TASK_RESUME_RUN)

    @property
    def is_ours(self) -> bool:
        """Whether our executor or launcher sent it; any other sender waits for a result."""
        return "dtq" in self.labels

    @property
    def attempt(self) -> int:
        """Total attempt of the step; 0 where the sender does not say."""
        text = str(self.labels.get("attempt", ""))
        return int(text) if text.isdecimal() else 0

    @property
    def place(self) -> tuple[str, str | None]:
        """Run id and step key (None for a whole run), as far as they can be read."""
        found = [value for name, value in self.kwargs.items() if name.endswith("_args_packed")]
        packed = found[0] if found and isinstance(found[0], dict) else {}
        keys = packed.get("step_keys_to_execute") or [None]
        return str(packed.get("pipeline_run_id", "")), None if self.is_run else keys[0]

    def decode(self, text: str) -> None:
        """Take in the message's text.

        Raises:
            NotATask: it is not a Taskiq message.

        """
        try:
            value = json.loads(text)
            task_id, task_name = value["task_id"], value["task_name"]
            labels, kwargs = value.get("labels") or {}, value.get("kwargs") or {}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise NotATask(f"not a Taskiq message: {error!r}") from error
        if not (isinstance(labels, dict) and isinstance(kwargs, dict)):
            raise NotATask("not a Taskiq message: its labels or kwargs are no objects")
        self.task_id, self.task_name = str(task_id), str(task_name)
        self.labels, self.kwargs = labels, kwargs
