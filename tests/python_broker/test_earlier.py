"""Rules that take minutes, days or very many messages: on a folder made by
`tests/sqs_server/earlier.rs`, which tells what is in the queues named here."""

from __future__ import annotations

import time
from typing import Any

import pytest
from broker_client import (
    PREFIX,
    bodies,
    counts,
    delete,
    put,
    receive,
    refused,
    wait_for,
)


def url_of(sqs: Any, name: str) -> str:
    return sqs.get_queue_url(QueueName=name)["QueueUrl"]


@pytest.mark.parametrize(("name", "left"), [("short", "3"), ("long", "5")])
def test_a_message_is_dropped_when_its_retention_is_over(sqs: Any, name: str, left: str) -> None:
    url = url_of(sqs, name)
    wait_for("the others are dropped", lambda: counts(sqs, url) == (1, 0, 0))
    assert bodies(receive(sqs, url)) == [left]


def test_a_deduplication_id_may_be_used_again_after_five_minutes(sqs: Any) -> None:
    url = url_of(sqs, "ids.fifo")
    for name in ("1", "2"):
        put(sqs, url, "again", "g", MessageDeduplicationId=name)
    assert bodies(receive(sqs, url)) == ["1", "2", "again"]


def test_a_queue_may_be_purged_again_after_60_seconds(sqs: Any) -> None:
    sqs.purge_queue(QueueUrl=url_of(sqs, "purged-before"))
    with refused(PREFIX + "PurgeQueueInProgress", "60 seconds", status=403):
        sqs.purge_queue(QueueUrl=url_of(sqs, "purged-now"))


def test_delays_and_visibility_timeouts_end_after_15_minutes_and_12_hours(sqs: Any) -> None:
    url = url_of(sqs, "hidden")
    wait_for("one of each is over", lambda: counts(sqs, url) == (2, 1, 1))
    assert bodies(receive(sqs, url)) == ["1", "3"]


def test_with_120000_in_flight_a_receive_is_over_the_limit(sqs: Any) -> None:
    url = url_of(sqs, "full")
    assert counts(sqs, url) == (15, 119_988, 0)
    taken = receive(sqs, url, VisibilityTimeout=600) + receive(sqs, url, VisibilityTimeout=600)
    assert counts(sqs, url) == (3, 120_000, 0) and len(taken) == 12
    with refused("OverLimit", "in flight", status=403):
        receive(sqs, url)
    began = time.monotonic()
    assert receive(sqs, url, WaitTimeSeconds=1) == [], "a long poll is not told"
    assert time.monotonic() - began >= 0.9
    delete(sqs, url, *taken[:2])
    assert len(receive(sqs, url)) == 2
