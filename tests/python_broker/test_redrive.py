"""Dead-letter queues, and moving messages out of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from broker_client import (
    arn,
    bodies,
    counts,
    delete,
    fifo,
    put,
    put_many,
    queue,
    receive,
    received_so_often,
    redriven,
    refused,
    wait_for,
)

FIFO = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}


def policy(**members: Any) -> dict[str, str]:
    return {"RedrivePolicy": json.dumps(members)}


def allow(sqs: Any, url: str, permission: str, *sources: str) -> None:
    members: dict[str, Any] = {"redrivePermission": permission}
    if sources:
        members["sourceQueueArns"] = list(sources)
    attributes = {"RedriveAllowPolicy": json.dumps(members)}
    sqs.set_queue_attributes(QueueUrl=url, Attributes=attributes)


def test_a_message_is_dead_lettered_by_timeouts_alone(sqs: Any) -> None:
    url, dead = redriven(sqs, 2, VisibilityTimeout="1")
    sent = put(
        sqs, url, "poison", MessageAttributes={"k": {"DataType": "String", "StringValue": "v"}}
    )
    for count in (1, 2):
        (message,) = receive(sqs, url, WaitTimeSeconds=20)
        assert received_so_often(message) == count
    (message,) = receive(sqs, dead, WaitTimeSeconds=20, MessageAttributeNames=["All"])
    assert message["MessageId"] == sent["MessageId"]
    assert message["MessageAttributes"]["k"]["StringValue"] == "v"
    assert received_so_often(message) == 3, "the count goes on"
    assert message["Attributes"]["DeadLetterQueueSourceArn"] == arn(sqs, url)
    assert counts(sqs, url) == (0, 0, 0) and counts(sqs, dead) == (0, 1, 0)


def test_a_message_is_dead_lettered_when_it_is_given_back_too_often(sqs: Any) -> None:
    url, dead = redriven(sqs, 1)
    put(sqs, url, "poison")
    (message,) = receive(sqs, url)
    assert counts(sqs, dead) == (0, 0, 0)
    sqs.change_message_visibility(
        QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
    )
    assert receive(sqs, url) == []
    assert bodies(receive(sqs, dead)) == ["poison"]


def test_a_receive_that_finds_a_lowered_limit_moves_what_exceeds_it(sqs: Any) -> None:
    url, dead = redriven(sqs, 5, VisibilityTimeout="0")
    put(sqs, url, "old")
    for _ in range(3):
        assert len(receive(sqs, url)) == 1
    put(sqs, url, "new")
    lowered = policy(deadLetterTargetArn=arn(sqs, dead), maxReceiveCount=2)
    sqs.set_queue_attributes(QueueUrl=url, Attributes=lowered)
    assert bodies(receive(sqs, url)) == ["new"], "the receive takes what is left"
    assert bodies(receive(sqs, dead)) == ["old"]


def test_a_poison_head_blocks_nobody(sqs: Any) -> None:
    url, dead = redriven(sqs, 1, VisibilityTimeout="0")
    put_many(sqs, url, ["poison"] * 20)
    while receive(sqs, url):
        pass
    put(sqs, url, "healthy")
    assert bodies(receive(sqs, url, VisibilityTimeout=60)) == ["healthy"]
    assert counts(sqs, dead) == (20, 0, 0) and counts(sqs, url) == (0, 1, 0)


def test_a_deleted_message_is_never_dead_lettered(sqs: Any) -> None:
    url, dead = redriven(sqs, 1, VisibilityTimeout="5")
    put(sqs, url, "x")
    (message,) = receive(sqs, url)
    delete(sqs, url, message)
    assert receive(sqs, dead, WaitTimeSeconds=6) == []


def test_an_old_handle_does_not_reach_into_the_dead_letter_queue(sqs: Any) -> None:
    url, dead = redriven(sqs, 1, VisibilityTimeout="0")
    put(sqs, url, "x")
    (message,) = receive(sqs, url)
    delete(sqs, url, message)
    assert counts(sqs, dead) == (1, 0, 0)


def test_a_dead_fifo_head_frees_its_group_and_order_is_kept(sqs: Any) -> None:
    url, dead = redriven(sqs, 1, **FIFO, VisibilityTimeout="0")
    put_many(sqs, url, ["0", "1", "2"], MessageGroupId="g")
    assert bodies(receive(sqs, url, MaxNumberOfMessages=1)) == ["0"]
    assert bodies(receive(sqs, url, MaxNumberOfMessages=1)) == ["1"]
    assert bodies(receive(sqs, url, MaxNumberOfMessages=1)) == ["2"]
    found = receive(sqs, dead)
    assert bodies(found) == ["0", "1", "2"]
    assert found[0]["Attributes"]["MessageGroupId"] == "g"


def test_a_message_dead_lettered_into_a_queue_with_a_policy_is_received_there(sqs: Any) -> None:
    last = queue(sqs)
    middle = queue(sqs, **policy(deadLetterTargetArn=arn(sqs, last), maxReceiveCount=1))
    url = queue(
        sqs,
        VisibilityTimeout="0",
        **policy(deadLetterTargetArn=arn(sqs, middle), maxReceiveCount=2),
    )
    put(sqs, url, "x")
    for _ in range(2):
        receive(sqs, url)
    (message,) = receive(sqs, middle, VisibilityTimeout=0)
    assert received_so_often(message) == 3
    assert receive(sqs, middle) == []
    (message,) = receive(sqs, last)
    assert message["Attributes"]["DeadLetterQueueSourceArn"] == arn(sqs, middle)


def test_without_its_dead_letter_queue_messages_stay(sqs: Any) -> None:
    url, dead = redriven(sqs, 1, VisibilityTimeout="0")
    sqs.delete_queue(QueueUrl=dead)
    put(sqs, url, "x")
    for count in (1, 2, 3):
        (message,) = receive(sqs, url)
        assert received_so_often(message) == count


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"maxReceiveCount": 1}, "deadLetterTargetArn"),
        ({"deadLetterTargetArn": "TARGET"}, "maxReceiveCount"),
        ({"deadLetterTargetArn": "TARGET", "maxReceiveCount": 0}, "maxReceiveCount"),
        ({"deadLetterTargetArn": "TARGET", "maxReceiveCount": 1001}, "maxReceiveCount"),
        ({"deadLetterTargetArn": "TARGET", "maxReceiveCount": "many"}, "maxReceiveCount"),
        ({"deadLetterTargetArn": "TARGETx", "maxReceiveCount": 1}, "does not exist"),
    ],
)
def test_a_bad_redrive_policy_is_refused(sqs: Any, members: dict[str, Any], text: str) -> None:
    target = arn(sqs, queue(sqs))
    members = {
        name: value.replace("TARGET", target) if isinstance(value, str) else value
        for name, value in members.items()
    }
    with refused("InvalidParameterValue", text):
        queue(sqs, **policy(**members))
    with refused("InvalidParameterValue", "JSON"):
        queue(sqs, RedrivePolicy="no json")


def test_a_dead_letter_queue_is_of_its_sources_type(sqs: Any) -> None:
    with refused("InvalidParameterValue", "same type"):
        fifo(sqs, **policy(deadLetterTargetArn=arn(sqs, queue(sqs)), maxReceiveCount=1))
    with refused("InvalidParameterValue", "same type"):
        queue(sqs, **policy(deadLetterTargetArn=arn(sqs, fifo(sqs)), maxReceiveCount=1))


def test_the_redrive_allow_policy_decides_who_may_dead_letter_here(sqs: Any) -> None:
    dead, url, other = queue(sqs), queue(sqs), queue(sqs)
    wanted = policy(deadLetterTargetArn=arn(sqs, dead), maxReceiveCount="5")
    allow(sqs, dead, "denyAll")
    with refused("InvalidParameterValue", "permission"):
        sqs.set_queue_attributes(QueueUrl=url, Attributes=wanted)
    allow(sqs, dead, "byQueue", arn(sqs, url))
    sqs.set_queue_attributes(QueueUrl=url, Attributes=wanted)
    with refused("InvalidParameterValue", "permission"):
        sqs.set_queue_attributes(QueueUrl=other, Attributes=wanted)
    allow(sqs, dead, "allowAll")
    sqs.set_queue_attributes(QueueUrl=other, Attributes=wanted)
    for bad in (("byQueue",), ("allowAll", arn(sqs, url)), ("nonsense",)):
        with refused("InvalidParameterValue", "RedriveAllowPolicy"):
            allow(sqs, dead, *bad)
    with refused("InvalidParameterValue", "RedriveAllowPolicy"):
        allow(sqs, dead, "byQueue", *[arn(sqs, url)] * 11)


def test_the_sources_of_a_dead_letter_queue_are_listed_in_pages(sqs: Any) -> None:
    dead = queue(sqs)
    assert sqs.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"] == []
    wanted = policy(deadLetterTargetArn=arn(sqs, dead), maxReceiveCount=5)
    sources = {queue(sqs, **wanted) for _ in range(5)}
    assert set(sqs.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"]) == sources
    pages = sqs.get_paginator("list_dead_letter_source_queues").paginate(
        QueueUrl=dead, PaginationConfig={"PageSize": 2}
    )
    found = [page["queueUrls"] for page in pages]
    assert [len(page) for page in found] == [2, 2, 1]
    assert {url for page in found for url in page} == sources
    sqs.set_queue_attributes(QueueUrl=min(sources), Attributes={"RedrivePolicy": ""})
    assert len(sqs.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"]) == 4


def dead_letters(sqs: Any, number: int) -> tuple[str, str, list[dict[str, Any]]]:
    """A queue, and its dead-letter queue with so many messages."""
    url, dead = redriven(sqs, 1, VisibilityTimeout="0")
    sent = put_many(sqs, url, [str(n) for n in range(number)])
    while receive(sqs, url):
        pass
    assert counts(sqs, dead) == (number, 0, 0)
    return url, dead, sent


def tasks(sqs: Any, dead: str, most: int = 10) -> list[dict[str, Any]]:
    answer = sqs.list_message_move_tasks(SourceArn=arn(sqs, dead), MaxResults=most)
    return answer.get("Results", [])


def test_messages_move_back_to_where_they_came_from_as_new_ones(sqs: Any) -> None:
    url, dead, sent = dead_letters(sqs, 12)
    sqs.start_message_move_task(SourceArn=arn(sqs, dead))
    wait_for("the task ends", lambda: tasks(sqs, dead)[0]["Status"] == "COMPLETED")
    (task,) = tasks(sqs, dead)
    assert task["ApproximateNumberOfMessagesMoved"] == 12
    assert task["ApproximateNumberOfMessagesToMove"] == 12
    assert task["SourceArn"] == arn(sqs, dead) and task["StartedTimestamp"] > 0
    assert not {"TaskHandle", "DestinationArn", "FailureReason"} & set(task)
    assert counts(sqs, dead) == (0, 0, 0) and counts(sqs, url) == (12, 0, 0)
    found = receive(sqs, url, VisibilityTimeout=60) + receive(sqs, url, VisibilityTimeout=60)
    assert bodies(found) == [str(n) for n in range(12)]
    assert {received_so_often(one) for one in found} == {1}
    assert not any("DeadLetterQueueSourceArn" in one["Attributes"] for one in found)
    assert not {one["MessageId"] for one in found} & {one["MessageId"] for one in sent}


def test_messages_move_to_a_named_destination(sqs: Any) -> None:
    url, dead, _ = dead_letters(sqs, 3)
    other = queue(sqs)
    sqs.start_message_move_task(SourceArn=arn(sqs, dead), DestinationArn=arn(sqs, other))
    wait_for("the task ends", lambda: tasks(sqs, dead)[0]["Status"] == "COMPLETED")
    assert tasks(sqs, dead)[0]["DestinationArn"] == arn(sqs, other)
    assert counts(sqs, url) == (0, 0, 0) and counts(sqs, other) == (3, 0, 0)


def test_a_move_keeps_to_its_rate_and_can_be_cancelled(sqs: Any) -> None:
    url, dead, _ = dead_letters(sqs, 6)
    source = arn(sqs, dead)
    started = sqs.start_message_move_task(SourceArn=source, MaxNumberOfMessagesPerSecond=1)
    with refused("InvalidParameterValue", "already a task running"):
        sqs.start_message_move_task(SourceArn=source)
    (task,) = tasks(sqs, dead)
    assert task["Status"] == "RUNNING" and task["TaskHandle"] == started["TaskHandle"]
    assert task["MaxNumberOfMessagesPerSecond"] == 1
    wait_for("two are moved", lambda: tasks(sqs, dead)[0]["ApproximateNumberOfMessagesMoved"] > 1)
    answer = sqs.cancel_message_move_task(TaskHandle=started["TaskHandle"])
    moved = answer["ApproximateNumberOfMessagesMoved"]
    assert tasks(sqs, dead)[0]["Status"] == "CANCELLED"
    assert counts(sqs, url) == (moved, 0, 0) and counts(sqs, dead) == (6 - moved, 0, 0)
    with refused("InvalidParameterValue", "active"):
        sqs.cancel_message_move_task(TaskHandle=started["TaskHandle"])
    sqs.start_message_move_task(SourceArn=source)
    wait_for("the rest is moved", lambda: counts(sqs, url) == (6, 0, 0))
    assert len(tasks(sqs, dead)) == 2 and len(tasks(sqs, dead, 1)) == 1


def test_a_message_that_was_sent_there_has_no_way_back(sqs: Any) -> None:
    _, dead, _ = dead_letters(sqs, 0)
    put(sqs, dead, "sent directly")
    sqs.start_message_move_task(SourceArn=arn(sqs, dead))
    wait_for("the task ends", lambda: tasks(sqs, dead)[0]["Status"] != "RUNNING")
    (task,) = tasks(sqs, dead)
    assert task["Status"] == "FAILED"
    assert task["FailureReason"] == "CouldNotDetermineMessageSource"
    assert counts(sqs, dead) == (1, 0, 0)


def test_what_a_move_task_needs(sqs: Any) -> None:
    url, dead = redriven(sqs, 1)
    source = arn(sqs, dead)
    with refused("ResourceNotFoundException", status=404):
        sqs.start_message_move_task(SourceArn=source + "x")
    with refused("ResourceNotFoundException", status=404):
        sqs.start_message_move_task(SourceArn=source, DestinationArn=source + "x")
    with refused("InvalidParameterValue", "Dead Letter Queue"):
        sqs.start_message_move_task(SourceArn=arn(sqs, url))
    with refused("InvalidParameterValue", "arn:<partition>"):
        sqs.start_message_move_task(SourceArn=dead)
    with refused("InvalidParameterValue", "same type"):
        sqs.start_message_move_task(SourceArn=source, DestinationArn=arn(sqs, fifo(sqs)))
    with refused("InvalidParameterValue", "different"):
        sqs.start_message_move_task(SourceArn=source, DestinationArn=source)
    for rate in (0, 501):
        with refused("InvalidParameterValue", "MaxNumberOfMessagesPerSecond"):
            sqs.start_message_move_task(SourceArn=source, MaxNumberOfMessagesPerSecond=rate)
    for most in (0, 11):
        with refused("InvalidParameterValue", "MaxResults"):
            tasks(sqs, dead, most)
    with refused("InvalidParameterValue", "TaskHandle"):
        sqs.cancel_message_move_task(TaskHandle="garbage")
    with refused("MissingParameter", "SourceArn"):
        sqs.start_message_move_task()
