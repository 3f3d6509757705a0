"""Receives: limits, long polls, delays, visibility, receipt handles, counts."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from broker_client import (
    PREFIX,
    admin,
    bodies,
    client,
    counts,
    delete,
    put,
    put_many,
    queue,
    receive,
    received_so_often,
    refused,
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MaxNumberOfMessages", 0),
        ("MaxNumberOfMessages", 11),
        ("WaitTimeSeconds", -1),
        ("WaitTimeSeconds", 21),
        ("VisibilityTimeout", -1),
        ("VisibilityTimeout", 43_201),
        ("ReceiveRequestAttemptId", "x" * 129),
        ("ReceiveRequestAttemptId", "a b"),
    ],
)
def test_what_a_receive_asks_for_has_limits(sqs: Any, name: str, value: Any) -> None:
    with refused("InvalidParameterValue", name):
        sqs.receive_message(QueueUrl=queue(sqs), **{name: value})


def test_one_message_is_the_default_and_ten_the_most(sqs: Any) -> None:
    url = queue(sqs)
    put_many(sqs, url, [str(number) for number in range(15)])
    first = sqs.receive_message(QueueUrl=url)["Messages"]
    assert bodies(first) == ["0"]
    assert len(receive(sqs, url)) == 10
    assert len(receive(sqs, url)) == 4
    assert "Messages" not in sqs.receive_message(QueueUrl=url)
    assert counts(sqs, url) == (0, 15, 0)


def test_counts_are_exact_at_every_stage(sqs: Any) -> None:
    url = queue(sqs)
    put_many(sqs, url, [str(number) for number in range(7)])
    put_many(sqs, url, ["later"] * 3, DelaySeconds=900)
    assert counts(sqs, url) == (7, 0, 3)
    held = receive(sqs, url, MaxNumberOfMessages=4)
    assert counts(sqs, url) == (3, 4, 3)
    delete(sqs, url, *held[:2])
    assert counts(sqs, url) == (3, 2, 3)
    sqs.change_message_visibility(
        QueueUrl=url, ReceiptHandle=held[2]["ReceiptHandle"], VisibilityTimeout=0
    )
    assert counts(sqs, url) == (4, 1, 3)


def test_an_empty_long_poll_lasts_as_long_as_asked(sqs: Any) -> None:
    url = queue(sqs)
    began = time.monotonic()
    assert receive(sqs, url, WaitTimeSeconds=1) == []
    assert time.monotonic() - began >= 0.9


def test_the_queues_own_wait_holds_unless_a_receive_names_one(sqs: Any) -> None:
    url = queue(sqs, ReceiveMessageWaitTimeSeconds="1")
    began = time.monotonic()
    assert receive(sqs, url) == []
    assert time.monotonic() - began >= 0.9
    patient = queue(sqs, ReceiveMessageWaitTimeSeconds="20")
    began = time.monotonic()
    assert receive(sqs, patient, WaitTimeSeconds=0) == []
    assert time.monotonic() - began < 19


def poll(sqs: Any, url: str, **more: Any) -> Any:
    """A long poll in a thread of its own. One that nothing wakes ends without messages."""
    pool = ThreadPoolExecutor(1)
    return pool.submit(lambda: receive(sqs, url, WaitTimeSeconds=20, **more))


def test_a_long_poll_wakes_on_a_send(sqs: Any) -> None:
    url = queue(sqs)
    waiting = poll(sqs, url)
    put(sqs, url, "x")
    assert bodies(waiting.result(60)) == ["x"]


def test_a_long_poll_wakes_on_the_end_of_a_delay(sqs: Any) -> None:
    url = queue(sqs)
    put(sqs, url, "later", DelaySeconds=1)
    assert bodies(poll(sqs, url).result(60)) == ["later"]


def test_a_long_poll_wakes_on_an_expired_visibility(sqs: Any) -> None:
    url = queue(sqs)
    put(sqs, url, "x")
    (first,) = receive(sqs, url, VisibilityTimeout=1)
    (second,) = poll(sqs, url).result(60)
    assert second["MessageId"] == first["MessageId"]
    assert received_so_often(second) == 2


def test_a_long_poll_wakes_on_a_visibility_of_zero(sqs: Any) -> None:
    url = queue(sqs)
    put(sqs, url, "x")
    (first,) = receive(sqs, url, VisibilityTimeout=600)
    waiting = poll(sqs, url)
    sqs.change_message_visibility(
        QueueUrl=url, ReceiptHandle=first["ReceiptHandle"], VisibilityTimeout=0
    )
    assert len(waiting.result(60)) == 1


def test_a_long_poll_on_a_queue_that_is_deleted_ends_with_its_error(sqs: Any) -> None:
    url = queue(sqs)
    arrived = threading.Event()

    def wait() -> list[dict[str, Any]]:
        arrived.set()
        return receive(sqs, url, WaitTimeSeconds=20)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait)
        arrived.wait(30)
        sqs.delete_queue(QueueUrl=url)
        with refused(PREFIX + "NonExistentQueue"):
            waiting.result(60)


def test_each_message_goes_to_one_of_many_long_polls(sqs: Any) -> None:
    url = queue(sqs)
    polls = [poll(sqs, url, MaxNumberOfMessages=1) for _ in range(8)]
    put_many(sqs, url, [str(number) for number in range(8)])
    found = [body for waiting in polls for body in bodies(waiting.result(60))]
    assert sorted(found) == [str(number) for number in range(8)]


def test_sixty_idle_long_polls_keep_nobody_waiting(sqs: Any) -> None:
    idle, busy = queue(sqs), queue(sqs)
    polls = [poll(sqs, idle, MaxNumberOfMessages=1) for _ in range(60)]
    for number in range(30):
        put(sqs, busy, str(number))
        (message,) = receive(sqs, busy)
        delete(sqs, busy, message)
    put_many(sqs, idle, [str(number) for number in range(60)])
    found = [message for waiting in polls for message in waiting.result(60)]
    while left := receive(sqs, idle):
        found += left
    assert sorted(int(body) for body in bodies(found)) == list(range(60))


def test_clients_that_hang_up_in_a_poll_take_nothing_and_count_no_receive(
    endpoint: str, sqs: Any
) -> None:
    url = queue(sqs)
    for patience in (0.05, 0.2, 0.5):
        impatient = client(endpoint, read_timeout=patience)
        with pytest.raises(ReadTimeoutError):
            receive(impatient, url, WaitTimeSeconds=20)
    put(sqs, url, "x")
    (message,) = receive(sqs, url, WaitTimeSeconds=20)
    assert received_so_often(message) == 1


def test_a_messages_own_delay_overrides_the_queues(sqs: Any) -> None:
    url = queue(sqs, DelaySeconds="900")
    put(sqs, url, "later")
    put(sqs, url, "now", DelaySeconds=0)
    assert bodies(receive(sqs, url)) == ["now"]
    assert counts(sqs, url) == (0, 1, 1)
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"DelaySeconds": "0"})
    assert counts(sqs, url) == (0, 1, 1), "a delay once given stays on standard queues"


def test_the_queues_visibility_timeout_holds_unless_a_receive_names_one(sqs: Any) -> None:
    url = queue(sqs, VisibilityTimeout="1")
    put(sqs, url, "x")
    (first,) = receive(sqs, url)
    (second,) = receive(sqs, url, WaitTimeSeconds=20, VisibilityTimeout=600)
    assert received_so_often(second) == 2
    assert second["ReceiptHandle"] != first["ReceiptHandle"]
    assert receive(sqs, url, WaitTimeSeconds=2) == []


def test_visibility_can_be_prolonged_and_ended(sqs: Any) -> None:
    url = queue(sqs, VisibilityTimeout="5")
    put(sqs, url, "x")
    (first,) = receive(sqs, url)
    handle = {"QueueUrl": url, "ReceiptHandle": first["ReceiptHandle"]}
    sqs.change_message_visibility(**handle, VisibilityTimeout=600)
    assert receive(sqs, url, WaitTimeSeconds=6) == []
    sqs.change_message_visibility(**handle, VisibilityTimeout=0)
    (second,) = receive(sqs, url)
    assert received_so_often(second) == 2


def test_visibility_is_at_most_twelve_hours_from_the_receive(sqs: Any, endpoint: str) -> None:
    url = queue(sqs)
    put(sqs, url, "x")
    (message,) = receive(sqs, url, VisibilityTimeout=43_200)
    handle = {"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]}
    for seconds in (43_201, -1):
        with refused("InvalidParameterValue", "VisibilityTimeout"):
            sqs.change_message_visibility(**handle, VisibilityTimeout=seconds)
    admin(endpoint, "clock", {"advance_seconds": 1})
    with refused("InvalidParameterValue", "Total VisibilityTimeout"):
        sqs.change_message_visibility(**handle, VisibilityTimeout=43_200)
    sqs.change_message_visibility(**handle, VisibilityTimeout=43_100)


def test_deleting_is_idempotent_and_the_rest_is_refused_afterwards(sqs: Any) -> None:
    url = queue(sqs)
    put(sqs, url, "x")
    (message,) = receive(sqs, url)
    delete(sqs, url, message)
    delete(sqs, url, message)
    with refused("InvalidParameterValue", "Message does not exist"):
        sqs.change_message_visibility(
            QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=5
        )


def test_a_late_delete_works_on_a_standard_queue(sqs: Any) -> None:
    url = queue(sqs, VisibilityTimeout="0")
    put(sqs, url, "x")
    (message,) = receive(sqs, url)
    delete(sqs, url, message)
    assert counts(sqs, url) == (0, 0, 0)


def test_a_late_change_of_visibility_has_no_effect_on_a_standard_queue(sqs: Any) -> None:
    url = queue(sqs, VisibilityTimeout="0")
    put(sqs, url, "x")
    (message,) = receive(sqs, url)
    handle = {"ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 600}
    sqs.change_message_visibility(QueueUrl=url, **handle)
    batch = sqs.change_message_visibility_batch(QueueUrl=url, Entries=[{"Id": "1", **handle}])
    assert batch["Successful"] == [{"Id": "1"}]
    assert counts(sqs, url) == (1, 0, 0)
    assert len(receive(sqs, url, VisibilityTimeout=600)) == 1
    sqs.change_message_visibility(QueueUrl=url, **{**handle, "VisibilityTimeout": 0})
    assert received_so_often(receive(sqs, url)[0]) == 3, (
        "the first handle is good for a held message"
    )


@pytest.mark.parametrize("handle", ["garbage", "AQEB", "AAAA" * 20, "ä"])
def test_a_handle_that_never_was_is_invalid(sqs: Any, handle: str) -> None:
    url = queue(sqs)
    with refused("ReceiptHandleIsInvalid", status=404):
        sqs.delete_message(QueueUrl=url, ReceiptHandle=handle)
    with refused("ReceiptHandleIsInvalid", status=404):
        sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=1)


def test_a_handle_of_another_queue_is_invalid(sqs: Any) -> None:
    url, other = queue(sqs), queue(sqs)
    put(sqs, url, "x")
    (message,) = receive(sqs, url)
    with refused("ReceiptHandleIsInvalid", status=404):
        delete(sqs, other, message)
    assert counts(sqs, url) == (0, 1, 0)


def test_a_quiet_groups_messages_come_before_a_noisy_ones_backlog(sqs: Any) -> None:
    url = queue(sqs)
    put_many(sqs, url, [f"noisy {number}" for number in range(60)], MessageGroupId="noisy")
    held = [message for _ in range(3) for message in receive(sqs, url)]
    assert len(held) == 30
    put(sqs, url, "quiet 1", "quiet")
    put(sqs, url, "quiet 2", "quiet")
    put(sqs, url, "alone")
    found = bodies(receive(sqs, url, MaxNumberOfMessages=4))
    assert found == ["quiet 1", "quiet 2", "alone", "noisy 30"]
    assert {message["Attributes"]["MessageGroupId"] for message in held} == {"noisy"}


def test_messages_of_one_group_of_a_standard_queue_are_in_flight_together(sqs: Any) -> None:
    url = queue(sqs)
    put_many(sqs, url, ["1", "2", "3"], MessageGroupId="g")
    first = receive(sqs, url, MaxNumberOfMessages=1)
    rest = receive(sqs, url)
    assert bodies(first + rest) == ["1", "2", "3"]
    assert "SequenceNumber" not in first[0]["Attributes"]


def test_an_attempt_id_is_ignored_on_a_standard_queue(sqs: Any) -> None:
    url = queue(sqs)
    put_many(sqs, url, ["1", "2"])
    for body in ("1", "2"):
        found = receive(sqs, url, MaxNumberOfMessages=1, ReceiveRequestAttemptId="one")
        assert bodies(found) == [body]
