"""Runs the check functions of a module against a broker, and says which failed."""

from __future__ import annotations

import inspect
import sys
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

Check = Callable[[Any], None]


def client(endpoint: str) -> Any:
    """An SQS client as a user would make it, without retries that would hide errors."""
    return boto3.client(
        "sqs",
        endpoint_url=endpoint,
        region_name="eu-central-1",
        aws_access_key_id="any",
        aws_secret_access_key="thing",
        config=Config(retries={"max_attempts": 0}, parameter_validation=False),
    )


def queue(sqs: Any, **attributes: str) -> str:
    """A new queue; a FIFO one when the attributes say so."""
    name = f"q-{uuid.uuid4().hex}" + (".fifo" if "FifoQueue" in attributes else "")
    return sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]


def arn(sqs: Any, url: str) -> str:
    return sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"][
        "QueueArn"
    ]


def receive(sqs: Any, url: str, **more: Any) -> list[dict[str, Any]]:
    ask: dict[str, Any] = {"MaxNumberOfMessages": 10, "AttributeNames": ["All"], **more}
    return sqs.receive_message(QueueUrl=url, **ask).get("Messages", [])


def counts(sqs: Any, url: str) -> tuple[int, int, int]:
    """Visible, in flight, delayed."""
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    visible = found["ApproximateNumberOfMessages"]
    hidden = found["ApproximateNumberOfMessagesNotVisible"]
    return int(visible), int(hidden), int(found["ApproximateNumberOfMessagesDelayed"])


@contextmanager
def refused(code: str, text: str = "") -> Iterator[None]:
    """The block must end with this SQS error."""
    try:
        yield
    except ClientError as error:
        found = error.response["Error"]
        assert found["Code"] == code, f"{found['Code']} instead of {code}: {found['Message']}"
        assert text in found["Message"], found["Message"]
    else:
        raise AssertionError(f"no {code}")


def main(module: ModuleType) -> None:
    sqs = client(sys.argv[1])
    functions = inspect.getmembers(module, inspect.isfunction)
    checks = [(name, check) for name, check in functions if name.startswith("check_")]
    failed = 0
    for name, check in checks:
        try:
            check(sqs)
        except Exception:
            failed += 1
            print(f"FAILED {name}\n{traceback.format_exc()}")
    print(f"{len(checks)} checks, {failed} failed")
    sys.exit(1 if failed or not checks else 0)
