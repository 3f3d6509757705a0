"""FIFO queues: order, group locks, deduplication, repeated receives."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from broker_client import (
    PREFIX,
    attributes_of,
    bodies,
    counts,
    delete,
    fifo,
    put,
    put_many,
    queue,
    receive,
    received_so_often,
    refused,
)

EXPIRED = "expired"


def hide(sqs: Any, url: str, message: dict[str, Any], seconds: int) -> None:
    sqs.change_message_visibility(
        QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=seconds
    )


def test_a_receive_takes_several_of_one_group_in_order(sqs: Any) -> None:
    url = fifo(sqs)
    expected = [str(number) for number in range(12)]
    put_many(sqs, url, expected, MessageGroupId="g")
    first = receive(sqs, url)
    assert bodies(first) == expected[:10]
    numbers = [one["Attributes"]["SequenceNumber"] for one in first]
    assert numbers == sorted(numbers) and all(len(number) == 20 for number in numbers)


def test_a_group_is_locked_until_all_its_messages_are_deleted(sqs: Any) -> None:
    url = fifo(sqs)
    put_many(sqs, url, ["a0", "a1", "a2"], MessageGroupId="a")
    put(sqs, url, "b0", "b")
    held = receive(sqs, url, MaxNumberOfMessages=2)
    assert bodies(held) == ["a0", "a1"]
    assert bodies(receive(sqs, url)) == ["b0"]
    delete(sqs, url, held[0])
    assert receive(sqs, url) == []
    delete(sqs, url, held[1])
    assert bodies(receive(sqs, url)) == ["a2"]


def test_a_group_is_locked_until_visibility_ends_and_order_is_kept(sqs: Any) -> None:
    url = fifo(sqs)
    put_many(sqs, url, ["0", "1", "2"], MessageGroupId="g")
    first, second = receive(sqs, url, MaxNumberOfMessages=2, VisibilityTimeout=600)
    hide(sqs, url, second, 0)
    assert receive(sqs, url) == [], "the first one is still in flight"
    hide(sqs, url, first, 1)
    again = receive(sqs, url, WaitTimeSeconds=20)
    assert bodies(again) == ["0", "1", "2"]
    assert [received_so_often(one) for one in again] == [2, 2, 1]


def test_groups_are_taken_by_the_age_of_their_heads(sqs: Any) -> None:
    url = fifo(sqs)
    for body in ("a0", "b0", "a1", "c0"):
        put(sqs, url, body, body[0])
    assert bodies(receive(sqs, url)) == ["a0", "a1", "b0", "c0"]


def test_an_expired_handle_neither_deletes_nor_hides(sqs: Any) -> None:
    url = fifo(sqs, VisibilityTimeout="0")
    put(sqs, url, "x", "g")
    (first,) = receive(sqs, url)
    with refused("InvalidParameterValue", EXPIRED):
        delete(sqs, url, first)
    with refused(PREFIX + "MessageNotInflight"):
        hide(sqs, url, first, 5)
    (second,) = receive(sqs, url, VisibilityTimeout=600)
    with refused("InvalidParameterValue", EXPIRED):
        delete(sqs, url, first)
    delete(sqs, url, second)
    delete(sqs, url, second)
    assert counts(sqs, url) == (0, 0, 0)


def test_duplicates_answer_with_the_first_message_even_after_its_delete(sqs: Any) -> None:
    url = fifo(sqs)
    first = put(sqs, url, "x", "g")
    (message,) = receive(sqs, url)
    assert message["Attributes"]["MessageDeduplicationId"] == hashlib.sha256(b"x").hexdigest()
    delete(sqs, url, message)
    second = put(sqs, url, "x", "g")
    assert second["MessageId"] == first["MessageId"]
    assert second["SequenceNumber"] == first["SequenceNumber"]
    assert put(sqs, url, "x", "other")["MessageId"] == first["MessageId"]
    assert receive(sqs, url) == []


def test_a_given_deduplication_id_overrides_the_bodys(sqs: Any) -> None:
    url = fifo(sqs)
    put(sqs, url, "x", "g", MessageDeduplicationId="1")
    put(sqs, url, "x", "g", MessageDeduplicationId="2")
    put(sqs, url, "y", "g", MessageDeduplicationId="1")
    put(sqs, url, "z", "g", MessageDeduplicationId=hashlib.sha256(b"w").hexdigest())
    put(sqs, url, "w", "g")
    found = receive(sqs, url)
    assert bodies(found) == ["x", "x", "z"]
    assert found[0]["Attributes"]["MessageDeduplicationId"] == "1"


def test_attributes_are_no_part_of_the_content(sqs: Any) -> None:
    url = fifo(sqs)
    attribute = {"k": {"DataType": "String", "StringValue": "v"}}
    first = put(sqs, url, "x", "g")
    second = put(sqs, url, "x", "g", MessageAttributes=attribute)
    assert first["MessageId"] == second["MessageId"]


def test_duplicates_within_a_batch_are_one_message(sqs: Any) -> None:
    url = fifo(sqs)
    sent = put_many(sqs, url, ["x", "x", "y"], MessageGroupId="g")
    assert sent[0]["MessageId"] == sent[1]["MessageId"] != sent[2]["MessageId"]
    assert counts(sqs, url) == (2, 0, 0)


def test_the_scope_of_deduplication_can_be_the_group(sqs: Any) -> None:
    scope = {"DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"}
    url = fifo(sqs, **scope)
    assert attributes_of(sqs, url, *scope) == scope
    put(sqs, url, "x", "a")
    put(sqs, url, "x", "b")
    put(sqs, url, "x", "b")
    assert counts(sqs, url) == (2, 0, 0)
    with refused("InvalidAttributeValue", "messageGroup"):
        fifo(sqs, FifoThroughputLimit="perMessageGroupId")
    for name in scope:
        with refused("InvalidAttributeValue", name):
            fifo(sqs, **{name: "nonsense"})


def test_a_fifo_send_needs_a_group_and_a_deduplication_id(sqs: Any) -> None:
    url = queue(sqs, FifoQueue="true")
    with refused("MissingParameter", "MessageGroupId"):
        put(sqs, url, "x", MessageDeduplicationId="d")
    with refused("InvalidParameterValue", "ContentBasedDeduplication"):
        put(sqs, url, "x", "g")
    put(sqs, url, "x", "g", MessageDeduplicationId="d")


@pytest.mark.parametrize("name", ["MessageGroupId", "MessageDeduplicationId"])
@pytest.mark.parametrize("value", ["", "a b", "x" * 129, "ä"])
def test_ids_have_their_characters_and_length(sqs: Any, name: str, value: str) -> None:
    ids = {"MessageGroupId": "g", "MessageDeduplicationId": "d", name: value}
    with refused("InvalidParameterValue", name):
        sqs.send_message(QueueUrl=fifo(sqs), MessageBody="x", **ids)


def test_all_punctuation_is_allowed_in_ids(sqs: Any) -> None:
    url = fifo(sqs)
    name = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
    put(sqs, url, "x", name, MessageDeduplicationId=name)
    (message,) = receive(sqs, url)
    assert message["Attributes"]["MessageGroupId"] == name


def test_a_standard_queue_refuses_a_deduplication_id(sqs: Any) -> None:
    with refused("InvalidParameterValue", "MessageDeduplicationId"):
        put(sqs, queue(sqs), "x", MessageDeduplicationId="d")


def test_a_messages_own_delay_may_be_zero_and_means_the_queues(sqs: Any) -> None:
    url = fifo(sqs, DelaySeconds="900")
    put(sqs, url, "x", "g", DelaySeconds=0)
    assert counts(sqs, url) == (0, 0, 1)
    with refused("InvalidParameterValue", "DelaySeconds"):
        put(sqs, url, "y", "g", DelaySeconds=1)
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"DelaySeconds": "0"})
    assert bodies(receive(sqs, url)) == ["x"], "a changed delay holds for what is there"


def test_an_attempt_is_answered_with_the_same_messages_and_hides_them_anew(sqs: Any) -> None:
    url = fifo(sqs)
    put_many(sqs, url, ["1", "2", "3"], MessageGroupId="g")
    ask = {"ReceiveRequestAttemptId": "one", "MaxNumberOfMessages": 2}
    first = receive(sqs, url, **ask, VisibilityTimeout=5)
    again = receive(sqs, url, **ask, VisibilityTimeout=600)
    assert first == again and bodies(first) == ["1", "2"]
    assert receive(sqs, url, WaitTimeSeconds=6) == [], "the first timeout no longer counts"
    assert receive(sqs, url, ReceiveRequestAttemptId="two") == []
    delete(sqs, url, *again)
    assert bodies(receive(sqs, url, ReceiveRequestAttemptId="two")) == ["3"]


@pytest.mark.parametrize("change", ["delete", "hide", "show"])
def test_an_attempt_whose_messages_were_touched_cannot_be_repeated(sqs: Any, change: str) -> None:
    url = fifo(sqs)
    put_many(sqs, url, ["1", "2"], MessageGroupId="g")
    first, _ = receive(sqs, url, ReceiveRequestAttemptId="one")
    if change == "delete":
        delete(sqs, url, first)
    else:
        hide(sqs, url, first, 600 if change == "hide" else 0)
    with refused("InvalidParameterValue", "not retryable"):
        receive(sqs, url, ReceiveRequestAttemptId="one")


def test_an_attempt_whose_visibility_ended_is_a_new_receive(sqs: Any) -> None:
    url = fifo(sqs)
    put(sqs, url, "x", "g")
    ask = {"ReceiveRequestAttemptId": "one", "WaitTimeSeconds": 20}
    (first,) = receive(sqs, url, **ask, VisibilityTimeout=0)
    (second,) = receive(sqs, url, **ask, VisibilityTimeout=600)
    assert second["ReceiptHandle"] != first["ReceiptHandle"]
    assert received_so_often(second) == 2
    assert receive(sqs, url, **ask) == [second]


def test_an_empty_attempt_is_not_remembered(sqs: Any) -> None:
    url = fifo(sqs)
    assert receive(sqs, url, ReceiveRequestAttemptId="one") == []
    put(sqs, url, "x", "g")
    assert len(receive(sqs, url, ReceiveRequestAttemptId="one")) == 1
