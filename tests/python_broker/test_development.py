"""What the broker offers to those who test: accounts, faults, a clock, a fresh start, a look."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from broker_client import admin, bodies, counts, fifo, new_name, put, queue, receive, refused


def account(endpoint: str, number: str, **more: Any) -> Any:
    return boto3.client(
        "sqs",
        endpoint_url=endpoint,
        region_name="eu-central-1",
        aws_access_key_id=number,
        aws_secret_access_key="any",
        config=Config(**more) if more else None,
    )


def get(endpoint: str, path: str) -> Any:
    with urllib.request.urlopen(f"{endpoint}/_dtq/{path}", timeout=60) as answer:
        return json.load(answer)


@pytest.fixture(autouse=True)
def without_faults(endpoint: str) -> Iterator[None]:
    yield
    request = urllib.request.Request(f"{endpoint}/_dtq/faults", method="DELETE")
    urllib.request.urlopen(request, timeout=60).close()


def test_a_key_id_of_twelve_digits_is_an_account(sqs: Any, endpoint: str) -> None:
    one, two = account(endpoint, "123456789012"), account(endpoint, "210987654321")
    name = new_name()
    url = one.create_queue(QueueName=name)["QueueUrl"]
    assert url == f"{endpoint}/123456789012/{name}"
    for other in (two, sqs):
        with refused("AWS.SimpleQueueService.NonExistentQueue"):
            other.get_queue_url(QueueName=name)
        assert other.list_queues(QueueNamePrefix=name).get("QueueUrls", []) == []
        owner = other.get_queue_url(QueueName=name, QueueOwnerAWSAccountId="123456789012")
        assert owner["QueueUrl"] == url


def test_throttling_is_got_over_by_botocores_own_retries(endpoint: str) -> None:
    patient = account(endpoint, "any", retries={"mode": "standard", "max_attempts": 3})
    url = patient.create_queue(QueueName=new_name())["QueueUrl"]
    admin(endpoint, "faults", {"kind": "throttle", "action": "SendMessage", "count": 2})
    sent = put(patient, url, "x")
    assert sent["ResponseMetadata"]["RetryAttempts"] == 2


def test_a_lost_answer_makes_a_client_send_twice(sqs: Any, endpoint: str) -> None:
    patient = account(endpoint, "any", retries={"mode": "standard", "max_attempts": 2})
    url = queue(sqs)
    admin(endpoint, "faults", {"kind": "lose_answer", "action": "SendMessage", "count": 1})
    put(patient, url, "x")
    assert counts(sqs, url) == (2, 0, 0)
    admin(endpoint, "faults", {"kind": "lose_answer", "queue": url.rsplit("/", 1)[1]})
    with pytest.raises(BotoCoreError):
        put(sqs, url, "y")


def test_what_is_received_may_come_again_or_not_be_seen(sqs: Any, endpoint: str) -> None:
    url, ordered = queue(sqs), fifo(sqs)
    put(sqs, url, "x")
    put(sqs, ordered, "y", group="g")
    admin(endpoint, "faults", {"kind": "duplicate"})
    (first,), (again,) = receive(sqs, url), receive(sqs, url)
    assert first["MessageId"] == again["MessageId"]
    assert bodies(receive(sqs, ordered)) == ["y"]
    assert receive(sqs, ordered) == [], "FIFO queues deliver once"
    admin(endpoint, "faults", {"kind": "empty_receive", "queue": "q-*"})
    assert receive(sqs, url) == []


def test_a_look_takes_nothing(sqs: Any, endpoint: str) -> None:
    url = queue(sqs)
    for body in ("a", "b", "c"):
        put(sqs, url, body)
    held = receive(sqs, url, MaxNumberOfMessages=1)
    name = url.rsplit("/", 1)[1]
    seen = get(endpoint, f"peek?queue={name}&limit=2")
    assert [message["Body"] for message in seen["messages"]] == ["a", "b"]
    assert [message["Stage"] for message in seen["messages"]] == ["in_flight", "waiting"]
    assert seen["messages"][0]["MessageId"] == held[0]["MessageId"]
    rest = get(endpoint, f"peek?queue={name}&after={seen['next']}")
    assert [message["Body"] for message in rest["messages"]] == ["c"]
    assert rest["next"] is None
    assert counts(sqs, url) == (2, 1, 0)


def test_everything_is_gone_after_a_reset(sqs: Any, endpoint: str) -> None:
    url = queue(sqs)
    put(sqs, url, "x")
    admin(endpoint, "reset", {})
    assert counts(sqs, url) == (0, 0, 0)
    admin(endpoint, "faults", {"kind": "throttle"})
    admin(endpoint, "reset", {"queues": True})
    assert sqs.list_queues().get("QueueUrls", []) == []
    assert get(endpoint, "faults") == {"faults": []}
