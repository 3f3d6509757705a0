"""FIFO queues as AWS answered for them. See test_recorded.py for where and with which clients."""

from __future__ import annotations

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
    queue,
    receive,
    redriven,
)
from test_recorded import WRONG_TYPE, error_of


def give_back(sqs: Any, url: str, message: dict[str, Any], seconds: int = 0) -> None:
    handle = message["ReceiptHandle"]
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=seconds)


def filled(sqs: Any, names: list[str], **more: str) -> str:
    """A queue of messages; what is before the dash is the group."""
    url = fifo(sqs, **more)
    for name in names:
        put(sqs, url, name, name.split("-")[0])
    return url


def test_a_message_that_was_given_back_comes_before_those_in_flight_behind_it(sqs: Any) -> None:
    url = filled(sqs, ["g1-m1", "g1-m2", "g2-m1"])
    first, second = receive(sqs, url, MaxNumberOfMessages=2)
    assert bodies([first, second]) == ["g1-m1", "g1-m2"]
    give_back(sqs, url, first)
    # The group that was given back is behind the one that has waited.
    found = receive(sqs, url, MaxNumberOfMessages=3)
    assert bodies(found) == ["g2-m1", "g1-m1"]
    give_back(sqs, url, second)
    assert receive(sqs, url) == [], "g1-m1 is in flight again"
    delete(sqs, url, found[1])
    assert bodies(receive(sqs, url)) == ["g1-m2"]


@pytest.mark.parametrize("held", [0, 1, 2])
def test_what_is_before_the_first_in_flight_can_be_received(sqs: Any, held: int) -> None:
    url = filled(sqs, ["1-foo", "1-bar", "1-baz"])
    messages = receive(sqs, url, VisibilityTimeout=600)
    for number, message in enumerate(messages):
        if number != held:
            give_back(sqs, url, message)
    assert bodies(receive(sqs, url)) == ["1-foo", "1-bar", "1-baz"][:held]
    assert counts(sqs, url) == (2 - held, 1 + held, 0)


def test_groups_take_turns(sqs: Any) -> None:
    url = filled(sqs, ["g1-m1", "g2-m1", "g2-m2", "g3-m1", "g1-m2"])
    first = receive(sqs, url, MaxNumberOfMessages=3, VisibilityTimeout=0)
    assert bodies(first) == ["g1-m1", "g1-m2", "g2-m1"]
    second = receive(sqs, url, VisibilityTimeout=0)
    assert bodies(second) == ["g3-m1", "g1-m1", "g1-m2", "g2-m1", "g2-m2"]


def test_a_groups_timeouts_end_together_and_in_order(sqs: Any) -> None:
    names = ["g1-m1", "g1-m2", "g1-m3", "g1-m4", "g2-m1", "g3-m1"]
    url = filled(sqs, names, VisibilityTimeout="1")
    assert bodies(receive(sqs, url, MaxNumberOfMessages=2)) == ["g1-m1", "g1-m2"]
    assert bodies(receive(sqs, url, MaxNumberOfMessages=1)) == ["g2-m1"]
    held = [*receive(sqs, url, VisibilityTimeout=600)]
    assert bodies(held) == ["g3-m1"], "the whole group is behind what is in flight"
    found = receive(sqs, url, WaitTimeSeconds=20)
    found += receive(sqs, url, WaitTimeSeconds=2) if len(found) < 5 else []
    assert bodies(found) == ["g1-m1", "g1-m2", "g1-m3", "g1-m4", "g2-m1"]


def test_a_group_of_which_something_is_in_flight_stays_behind_it_after_a_delete(sqs: Any) -> None:
    url = filled(sqs, ["g1-m1", "g2-m1", "g1-m2", "g2-m2", "g1-m3", "g1-m4", "g3-m1"])
    first, second = receive(sqs, url, MaxNumberOfMessages=2)
    delete(sqs, url, first)
    assert bodies(receive(sqs, url)) == ["g2-m1", "g2-m2", "g3-m1"]
    delete(sqs, url, second)
    assert bodies(receive(sqs, url)) == ["g1-m3", "g1-m4"]


def test_a_group_that_is_free_again_is_served_by_its_next_messages_age(sqs: Any) -> None:
    url = filled(sqs, ["g1-m1", "g2-m1", "g1-m2", "g2-m2", "g1-m3", "g1-m4", "g3-m1"])
    delete(sqs, url, *receive(sqs, url, MaxNumberOfMessages=2))
    assert bodies(receive(sqs, url)) == ["g2-m1", "g2-m2", "g1-m3", "g1-m4", "g3-m1"]


def test_one_entry_without_its_ids_fails_the_whole_batch(sqs: Any) -> None:
    url = queue(sqs, FifoQueue="true")
    whole = {"MessageBody": "x", "MessageGroupId": "g", "MessageDeduplicationId": "d"}
    for missing, text in (
        ("MessageGroupId", "The request must contain the parameter MessageGroupId."),
        (
            "MessageDeduplicationId",
            "The queue should either have ContentBasedDeduplication enabled or "
            "MessageDeduplicationId provided explicitly",
        ),
    ):
        part = {name: value for name, value in whole.items() if name != missing}
        entries = [{"Id": "good", **whole}, {"Id": "bad", **part}]
        error = error_of(sqs.send_message_batch, QueueUrl=url, Entries=entries)
        assert error == ("InvalidParameterValue", text)
        assert counts(sqs, url) == (0, 0, 0)
    one = {"QueueUrl": url, "MessageBody": "x", "MessageDeduplicationId": "d"}
    error = error_of(sqs.send_message, **one)
    assert error == ("MissingParameter", "The request must contain the parameter MessageGroupId.")


def test_a_purge_forgets_deduplication_ids(sqs: Any) -> None:
    url = fifo(sqs)
    first = put(sqs, url, "x", "g")
    sqs.purge_queue(QueueUrl=url)
    second = put(sqs, url, "x", "g")
    assert second["MessageId"] != first["MessageId"]
    assert put(sqs, url, "x", "g")["MessageId"] == second["MessageId"]
    assert bodies(receive(sqs, url)) == ["x"]


def test_a_late_delete_names_its_handle(sqs: Any) -> None:
    url = filled(sqs, ["g-x"], VisibilityTimeout="0")
    (message,) = receive(sqs, url)
    handle = message["ReceiptHandle"]
    error = error_of(sqs.delete_message, QueueUrl=url, ReceiptHandle=handle)
    text = f"Value {handle} for parameter ReceiptHandle is invalid. Reason: The receipt handle has "
    text += "expired."
    assert error == ("InvalidParameterValue", text)
    # In a batch the code is another one: github.com/smaskalik/sqsmover/issues/54.
    answer = sqs.delete_message_batch(QueueUrl=url, Entries=[{"Id": "1", "ReceiptHandle": handle}])
    failed = {"Id": "1", "Code": "ReceiptHandleIsInvalid", "SenderFault": True}
    assert answer["Failed"] == [{**failed, "Message": "The receipt handle has expired"}]
    hide = {"QueueUrl": url, "ReceiptHandle": handle, "VisibilityTimeout": 5}
    code, _ = error_of(sqs.change_message_visibility, **hide)
    assert code == PREFIX + "MessageNotInflight"


def test_a_delay_of_its_own_is_refused_in_these_words(sqs: Any) -> None:
    ask = {"QueueUrl": fifo(sqs), "MessageBody": "x", "MessageGroupId": "g", "DelaySeconds": 2}
    text = f"Value 2 for parameter DelaySeconds is invalid. Reason: {WRONG_TYPE}"
    assert error_of(sqs.send_message, **ask) == ("InvalidParameterValue", text)


def test_a_group_goes_on_after_a_dead_letter_and_after_it_was_empty(sqs: Any) -> None:
    url, dead = redriven(sqs, 2, FifoQueue="true", ContentBasedDeduplication="true")
    sent = put(sqs, url, "foobar", "1")
    for _ in range(3):
        receive(sqs, url, VisibilityTimeout=0, WaitTimeSeconds=1)
    (letter,) = receive(sqs, dead, WaitTimeSeconds=10)
    assert letter["MessageId"] == sent["MessageId"] and letter["Body"] == "foobar"
    put(sqs, url, "foobar2", "1")
    (message,) = receive(sqs, url)
    assert message["Body"] == "foobar2"
    delete(sqs, url, message)
    assert receive(sqs, url) == []
    put(sqs, url, "foobar3", "1")
    assert bodies(receive(sqs, url)) == ["foobar3"]


@pytest.mark.parametrize("scope", ["queue", "messageGroup"])
def test_the_scope_of_deduplication_is_settled_when_a_queue_is_made(sqs: Any, scope: str) -> None:
    limits = {"queue": "perQueue", "messageGroup": "perMessageGroupId"}
    scopes = {
        name: {"DeduplicationScope": name, "FifoThroughputLimit": limit}
        for name, limit in limits.items()
    }
    url = fifo(sqs, **scopes[scope])
    other = scopes["queue" if scope == "messageGroup" else "messageGroup"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes=other)
    assert attributes_of(sqs, url, *other) == other
    for group in ("g1", "g2"):
        put(sqs, url, "x", group, MessageDeduplicationId="same")
    assert counts(sqs, url) == (1 if scope == "queue" else 2, 0, 0)
