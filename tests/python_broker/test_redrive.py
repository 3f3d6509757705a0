"""FIFO queues, dead-letter queues and moving messages out of them."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from harness import arn, counts, main, queue, receive, refused


def fifo(sqs: Any, **more: str) -> str:
    return queue(sqs, FifoQueue="true", ContentBasedDeduplication="true", **more)


def put(sqs: Any, url: str, body: str, group: str = "g", **more: Any) -> dict[str, Any]:
    return sqs.send_message(QueueUrl=url, MessageBody=body, MessageGroupId=group, **more)


def bodies(messages: list[dict[str, Any]]) -> list[str]:
    return [message["Body"] for message in messages]


def check_a_group_is_in_order_and_locked(sqs: Any) -> None:
    url = fifo(sqs)
    for number in range(4):
        put(sqs, url, f"a{number}", "a")
    put(sqs, url, "b0", "b")
    first = receive(sqs, url, MaxNumberOfMessages=2)
    assert bodies(first) == ["a0", "a1"]
    assert bodies(receive(sqs, url)) == ["b0"]
    assert receive(sqs, url) == []
    sqs.delete_message(QueueUrl=url, ReceiptHandle=first[0]["ReceiptHandle"])
    assert receive(sqs, url) == []
    handle = first[1]["ReceiptHandle"]
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=0)
    again = receive(sqs, url)
    assert bodies(again) == ["a1", "a2", "a3"]
    numbers = [int(one["Attributes"]["SequenceNumber"]) for one in again]
    assert numbers == sorted(numbers) and len(str(numbers[0])) == 20
    with refused("InvalidParameterValue", "expired"):
        sqs.delete_message(QueueUrl=url, ReceiptHandle=handle)


def check_duplicates_answer_with_the_first_message(sqs: Any) -> None:
    url = fifo(sqs)
    first = put(sqs, url, "x")
    (message,) = receive(sqs, url)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    second = put(sqs, url, "x")
    assert second["MessageId"] == first["MessageId"]
    assert second["SequenceNumber"] == first["SequenceNumber"]
    assert receive(sqs, url) == []
    put(sqs, url, "x", MessageDeduplicationId="other")
    assert bodies(receive(sqs, url)) == ["x"]


def check_the_scope_of_deduplication(sqs: Any) -> None:
    scope = {"DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"}
    url = fifo(sqs, **scope)
    put(sqs, url, "x", "a")
    put(sqs, url, "x", "b")
    assert counts(sqs, url) == (2, 0, 0)
    with refused("InvalidAttributeValue"):
        fifo(sqs, FifoThroughputLimit="perMessageGroupId")


def check_what_fifo_sends_need(sqs: Any) -> None:
    url = queue(sqs, FifoQueue="true")
    with refused("MissingParameter", "MessageGroupId"):
        sqs.send_message(QueueUrl=url, MessageBody="x", MessageDeduplicationId="d")
    with refused("InvalidParameterValue", "ContentBasedDeduplication"):
        put(sqs, url, "x")
    put(sqs, url, "x", MessageDeduplicationId="d", DelaySeconds=0)
    with refused("InvalidParameterValue", "DelaySeconds"):
        put(sqs, url, "x", MessageDeduplicationId="e", DelaySeconds=1)


def check_an_attempt_can_be_repeated(sqs: Any) -> None:
    url = fifo(sqs)
    put(sqs, url, "x")
    first = receive(sqs, url, ReceiveRequestAttemptId="one")
    again = receive(sqs, url, ReceiveRequestAttemptId="one")
    assert first[0]["ReceiptHandle"] == again[0]["ReceiptHandle"]
    assert receive(sqs, url, ReceiveRequestAttemptId="two") == []


def check_groups_on_a_standard_queue(sqs: Any) -> None:
    url = queue(sqs)
    put(sqs, url, "1")
    put(sqs, url, "2")
    messages = receive(sqs, url)
    assert len(messages) == 2
    assert messages[0]["Attributes"]["MessageGroupId"] == "g"


def redriven(sqs: Any, times: int, **more: str) -> tuple[str, str]:
    dead = queue(sqs, **{name: value for name, value in more.items() if name == "FifoQueue"})
    policy = json.dumps({"deadLetterTargetArn": arn(sqs, dead), "maxReceiveCount": times})
    return queue(sqs, RedrivePolicy=policy, **more), dead


def check_a_message_is_dead_lettered_by_timeouts_alone(sqs: Any) -> None:
    url, dead = redriven(sqs, 2, VisibilityTimeout="0")
    sent = sqs.send_message(QueueUrl=url, MessageBody="poison")
    for count in "12":
        (message,) = receive(sqs, url)
        assert message["Attributes"]["ApproximateReceiveCount"] == count
    sqs.send_message(QueueUrl=url, MessageBody="healthy")
    assert bodies(receive(sqs, url)) == ["healthy"]
    (message,) = receive(sqs, dead, WaitTimeSeconds=5)
    assert message["MessageId"] == sent["MessageId"]
    assert message["Attributes"]["ApproximateReceiveCount"] == "3"
    assert message["Attributes"]["DeadLetterQueueSourceArn"] == arn(sqs, url)


def check_a_dead_fifo_head_frees_its_group(sqs: Any) -> None:
    url, dead = redriven(
        sqs, 1, FifoQueue="true", ContentBasedDeduplication="true", VisibilityTimeout="0"
    )
    put(sqs, url, "poison")
    put(sqs, url, "next")
    assert bodies(receive(sqs, url, MaxNumberOfMessages=1)) == ["poison"]
    assert bodies(receive(sqs, url, MaxNumberOfMessages=1)) == ["next"]
    assert bodies(receive(sqs, dead, MaxNumberOfMessages=1)) == ["poison"]


def check_messages_are_moved_back(sqs: Any) -> None:
    url, dead = redriven(sqs, 1, VisibilityTimeout="0")
    sent = sqs.send_message_batch(
        QueueUrl=url, Entries=[{"Id": str(n), "MessageBody": str(n)} for n in range(6)]
    )["Successful"]
    receive(sqs, url)
    assert counts(sqs, dead) == (6, 0, 0) and counts(sqs, url) == (0, 0, 0)
    source = arn(sqs, dead)
    with refused("ResourceNotFoundException"):
        sqs.start_message_move_task(SourceArn=source + "x")
    with refused("InvalidParameterValue", "Dead Letter Queue"):
        sqs.start_message_move_task(SourceArn=arn(sqs, url))
    slow = sqs.start_message_move_task(SourceArn=source, MaxNumberOfMessagesPerSecond=1)
    with refused("InvalidParameterValue", "already a task running"):
        sqs.start_message_move_task(SourceArn=source)
    (task,) = sqs.list_message_move_tasks(SourceArn=source)["Results"]
    assert task["Status"] == "RUNNING" and task["TaskHandle"] == slow["TaskHandle"]
    moved = sqs.cancel_message_move_task(TaskHandle=slow["TaskHandle"])
    assert moved["ApproximateNumberOfMessagesMoved"] < 6
    sqs.start_message_move_task(SourceArn=source)
    until = time.monotonic() + 10
    while sqs.list_message_move_tasks(SourceArn=source)["Results"][0]["Status"] == "RUNNING":
        assert time.monotonic() < until, "the task does not end"
    assert counts(sqs, dead) == (0, 0, 0) and counts(sqs, url) == (6, 0, 0)
    messages = receive(sqs, url, VisibilityTimeout=60)
    assert {one["Attributes"]["ApproximateReceiveCount"] for one in messages} == {"1"}
    assert not {one["MessageId"] for one in messages} & {one["MessageId"] for one in sent}


if __name__ == "__main__":
    main(sys.modules[__name__])
