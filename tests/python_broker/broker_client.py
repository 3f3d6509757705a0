"""How the tests speak to the broker: as any boto3 user, and by plain HTTP."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

SPACE = "{http://queue.amazonaws.com/doc/2012-11-05/}"
PREFIX = "AWS.SimpleQueueService."
T = TypeVar("T")


def client(endpoint: str, verify: Any = None, **more: Any) -> Any:
    """An SQS client as a user would make it, without retries that would hide errors."""
    return boto3.client(
        "sqs",
        endpoint_url=endpoint,
        region_name="eu-central-1",
        verify=verify,
        aws_access_key_id="any",
        aws_secret_access_key="thing",
        config=Config(retries={"max_attempts": 0}, parameter_validation=False, **more),
    )


def new_name(suffix: str = "") -> str:
    return f"q-{uuid.uuid4().hex}{suffix}"


def queue(sqs: Any, **attributes: str) -> str:
    """A new queue; a FIFO one when the attributes say so."""
    name = new_name(".fifo" if "FifoQueue" in attributes else "")
    return sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]


def fifo(sqs: Any, **more: str) -> str:
    """A new FIFO queue with content-based deduplication."""
    return queue(sqs, **{"FifoQueue": "true", "ContentBasedDeduplication": "true", **more})


def redriven(sqs: Any, times: int, **more: str) -> tuple[str, str]:
    """A new queue and its dead-letter queue."""
    dead = queue(sqs, **{name: value for name, value in more.items() if name == "FifoQueue"})
    policy = json.dumps({"deadLetterTargetArn": arn(sqs, dead), "maxReceiveCount": times})
    return queue(sqs, RedrivePolicy=policy, **more), dead


def put(sqs: Any, url: str, body: str, group: str | None = None, **more: Any) -> dict[str, Any]:
    if group is not None:
        more["MessageGroupId"] = group
    return sqs.send_message(QueueUrl=url, MessageBody=body, **more)


def put_many(sqs: Any, url: str, bodies: list[str], **more: Any) -> list[dict[str, Any]]:
    """Sends in batches of ten, all of which must succeed."""
    sent = []
    for start in range(0, len(bodies), 10):
        part = bodies[start : start + 10]
        entries = [{"Id": str(n), "MessageBody": body, **more} for n, body in enumerate(part)]
        answer = sqs.send_message_batch(QueueUrl=url, Entries=entries)
        assert not answer.get("Failed")
        sent += answer["Successful"]
    return sent


def attributes_of(sqs: Any, url: str, *names: str) -> dict[str, str]:
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(names or ["All"]))
    return found.get("Attributes", {})


def arn(sqs: Any, url: str) -> str:
    return attributes_of(sqs, url, "QueueArn")["QueueArn"]


def receive(sqs: Any, url: str, **more: Any) -> list[dict[str, Any]]:
    ask: dict[str, Any] = {"MaxNumberOfMessages": 10, "AttributeNames": ["All"], **more}
    return sqs.receive_message(QueueUrl=url, **ask).get("Messages", [])


def delete(sqs: Any, url: str, *messages: dict[str, Any]) -> None:
    for message in messages:
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


def bodies(messages: list[dict[str, Any]]) -> list[str]:
    return [message["Body"] for message in messages]


def received_so_often(message: dict[str, Any]) -> int:
    return int(message["Attributes"]["ApproximateReceiveCount"])


def counts(sqs: Any, url: str) -> tuple[int, int, int]:
    """Visible, in flight, delayed."""
    found = attributes_of(sqs, url)
    visible = found["ApproximateNumberOfMessages"]
    hidden = found["ApproximateNumberOfMessagesNotVisible"]
    return int(visible), int(hidden), int(found["ApproximateNumberOfMessagesDelayed"])


def wait_for(what: str, condition: Callable[[], T | None], patience: float = 60.0) -> T:
    """Looks until the condition gives something."""
    until = time.monotonic() + patience
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < until, f"{what}: not within {patience} s"
        time.sleep(0.02)


@contextmanager
def refused(code: str, text: str = "", status: int = 400) -> Iterator[None]:
    """The block must end with this SQS error."""
    try:
        yield
    except ClientError as error:
        found = error.response["Error"]
        assert found["Code"] == code, f"{found['Code']} instead of {code}: {found['Message']}"
        assert text in found["Message"], found["Message"]
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == status
    else:
        raise AssertionError(f"no {code}")


def post(url: str, data: bytes, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """A plain POST; the status, the headers with their names in lower case, and the body."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data=data, headers=named)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            fields = {name.lower(): value for name, value in answer.headers.items()}
            return answer.status, fields, answer.read()
    except urllib.error.HTTPError as error:
        fields = {name.lower(): value for name, value in error.headers.items()}
        return error.code, fields, error.read()


def admin(endpoint: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Asks the broker for something beyond SQS."""
    status, _, answer = post(f"{endpoint}/_dtq/{path}", json.dumps(body).encode())
    assert status == 200, answer
    return json.loads(answer)


def call(endpoint: str, action: str, body: bytes | dict[str, Any]) -> tuple[int, dict, Any]:
    """An unsigned call of the JSON protocol."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    status, headers, answer = post(
        endpoint,
        data,
        X_Amz_Target=f"AmazonSQS.{action}",
        Content_Type="application/x-amz-json-1.0",
    )
    return status, headers, json.loads(answer)


def ask(url: str, **parameters: str) -> tuple[int, ET.Element]:
    """An unsigned form POST of the query protocol, as old SDKs do it: `_` stands for `.`."""
    fields = {name.replace("_", "."): value for name, value in parameters.items()}
    data = urllib.parse.urlencode({"Version": "2012-11-05", **fields}).encode()
    status, _, answer = post(url, data, Content_Type="application/x-www-form-urlencoded")
    return status, ET.fromstring(answer)


def text(root: ET.Element, path: str) -> str | None:
    return root.findtext("/".join(SPACE + part for part in path.split("/")))


def texts(root: ET.Element, name: str) -> list[str | None]:
    return [one.text for one in root.iter(SPACE + name)]
