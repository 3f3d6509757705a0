"""The Taskiq message: the JSON that is the body of an SQS message.

The format is that of taskiq's own JSON formatter, so any Taskiq consumer can read it. This module
needs neither taskiq nor boto3.
"""

import base64
import json
import time
import uuid
import zlib
from collections.abc import Mapping
from typing import Any

from dagster_taskiq.tags import PROTOCOL_VERSION

# taskiq's LabelType, which determines how a label's text is parsed.
_LABEL_INT = 2
_LABEL_STR = 3

_INT_LABELS = frozenset({"priority", "attempt", "user_attempt", "sent_at"})


def new_task_id() -> str:
    """A Taskiq task id: the 32 hexadecimal digits of a random UUID."""
    return uuid.uuid4().hex


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return int(time.time() * 1000)


def labels(**values: str | int) -> dict[str, str]:
    """Labels as text, with the protocol version and the time of sending (ms since the epoch)."""
    return {
        "dtq": PROTOCOL_VERSION,
        **{name: str(value) for name, value in values.items()},
        "sent_at": str(now_ms()),
    }


def encode(
    task_id: str, task_name: str, message_labels: Mapping[str, str], kwargs: Mapping[str, Any]
) -> str:
    """The message's JSON text."""
    types = {name: _LABEL_INT if name in _INT_LABELS else _LABEL_STR for name in message_labels}
    return json.dumps(
        {
            "task_id": task_id,
            "task_name": task_name,
            "labels": dict(message_labels),
            "labels_types": types,
            "args": [],
            "kwargs": dict(kwargs),
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )


def compacted(body: str) -> str:
    """The same message with the step's known state compressed, if it has one.

    The state of a step that collects thousands of outputs names each of them several times.
    """
    content = json.loads(body)
    packed = content["kwargs"].get("execute_step_args_packed", {})
    if packed.get("known_state") is None:
        return body
    text = json.dumps(packed["known_state"], ensure_ascii=False, separators=(",", ":"))
    compressed = zlib.compress(text.encode(), level=9)
    packed["known_state"] = {"zlib": base64.b64encode(compressed).decode()}
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))
