"""Messages as they are sent: sums, attributes, sizes, characters, batches."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import pytest
from broker_client import (
    PREFIX,
    bodies,
    call,
    counts,
    fifo,
    put,
    put_many,
    queue,
    receive,
    refused,
)

LIMIT = 1_048_576
ATTRIBUTES = {
    "a.text": {"DataType": "String", "StringValue": "wörter"},
    "a.number": {"DataType": "Number.int", "StringValue": "12"},
    "bytes": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
}
TRACE = {
    "AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-5759e988-bd862e3fe1be46a9"}
}


def field(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def test_a_send_answers_the_sums_of_body_and_attributes(sqs: Any) -> None:
    url = queue(sqs)
    sent = put(sqs, url, "bödy", MessageAttributes=ATTRIBUTES, MessageSystemAttributes=TRACE)
    assert sent["MD5OfMessageBody"] == hashlib.md5("bödy".encode()).hexdigest()
    text = b"".join(
        [
            field(b"a.number") + field(b"Number.int") + b"\x01" + field(b"12"),
            field(b"a.text") + field(b"String") + b"\x01" + field("wörter".encode()),
            field(b"bytes") + field(b"Binary") + b"\x02" + field(b"\x00\xff"),
        ]
    )
    assert sent["MD5OfMessageAttributes"] == hashlib.md5(text).hexdigest()
    header = TRACE["AWSTraceHeader"]["StringValue"].encode()
    text = field(b"AWSTraceHeader") + field(b"String") + b"\x01" + field(header)
    assert sent["MD5OfMessageSystemAttributes"] == hashlib.md5(text).hexdigest()
    assert "SequenceNumber" not in sent
    (message,) = receive(sqs, url, MessageAttributeNames=["All"])
    assert message["MessageId"] == sent["MessageId"]
    assert message["Body"] == "bödy" and message["MD5OfBody"] == sent["MD5OfMessageBody"]
    assert message["MessageAttributes"] == ATTRIBUTES
    assert message["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    assert message["Attributes"]["AWSTraceHeader"] == header.decode()


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["All"], {"a.text", "a.number", "bytes"}),
        ([".*"], {"a.text", "a.number", "bytes"}),
        (["a.*"], {"a.text", "a.number"}),
        (["bytes", "absent"], {"bytes"}),
        ([], set()),
    ],
)
def test_message_attributes_come_as_asked_for(sqs: Any, names: list[str], found: set[str]) -> None:
    url = queue(sqs)
    put(sqs, url, "x", MessageAttributes=ATTRIBUTES)
    (message,) = receive(sqs, url, MessageAttributeNames=names)
    assert set(message.get("MessageAttributes", {})) == found
    if found == set(ATTRIBUTES) or not found:
        return
    # The sum is of what is answered, or clients would call it wrong.
    text = b"".join(
        field(name.encode())
        + field(ATTRIBUTES[name]["DataType"].encode())
        + (b"\x02" if "BinaryValue" in ATTRIBUTES[name] else b"\x01")
        + field(ATTRIBUTES[name].get("BinaryValue") or ATTRIBUTES[name]["StringValue"].encode())
        for name in sorted(found)
    )
    assert message["MD5OfMessageAttributes"] == hashlib.md5(text).hexdigest()


def test_system_attributes_come_by_either_parameter(sqs: Any) -> None:
    url = queue(sqs, VisibilityTimeout="0")
    before = time.time() * 1_000
    put(sqs, url, "x")
    asks = [
        {"AttributeNames": ["All"]},
        {"AttributeNames": [], "MessageSystemAttributeNames": ["All"]},
    ]
    for count, names in enumerate(asks, start=1):
        (message,) = receive(sqs, url, **names)
        found = message["Attributes"]
        assert set(found) == {
            "SenderId",
            "SentTimestamp",
            "ApproximateReceiveCount",
            "ApproximateFirstReceiveTimestamp",
        }
        assert found["ApproximateReceiveCount"] == str(count)
        sent, first = (
            int(found[name]) for name in ("SentTimestamp", "ApproximateFirstReceiveTimestamp")
        )
        assert before - 1_000 <= sent <= first <= time.time() * 1_000 + 1_000
    names = {"AttributeNames": [], "MessageSystemAttributeNames": ["SenderId"]}
    (message,) = receive(sqs, url, **names)
    assert set(message["Attributes"]) == {"SenderId"}
    (message,) = receive(sqs, url, AttributeNames=[])
    assert "Attributes" not in message


@pytest.mark.parametrize(
    "attribute",
    [
        {"DataType": "Text", "StringValue": "x"},
        {"DataType": "Number", "StringValue": "x"},
        {"DataType": "Number", "StringValue": ""},
        {"DataType": "String", "StringValue": ""},
        {"DataType": "String"},
        {"DataType": "String", "StringValue": "\x00"},
        {"DataType": "Binary", "BinaryValue": b""},
        {"DataType": "Binary", "StringValue": "x"},
        {"DataType": "", "StringValue": "x"},
        {"StringValue": "x"},
    ],
)
def test_a_bad_attribute_is_refused(sqs: Any, attribute: dict[str, Any]) -> None:
    url = queue(sqs)
    with refused("InvalidParameterValue", "'k'"):
        put(sqs, url, "x", MessageAttributes={"k": attribute})
    assert counts(sqs, url) == (0, 0, 0)


@pytest.mark.parametrize(
    "name", ["", ".a", "a.", "a..b", "a b", "AWS.x", "amazon.x", "x" * 257, "§"]
)
def test_a_bad_attribute_name_is_refused(sqs: Any, name: str) -> None:
    with refused("InvalidParameterValue", "attribute name"):
        attribute = {"DataType": "String", "StringValue": "x"}
        put(sqs, queue(sqs), "x", MessageAttributes={name: attribute})


def test_ten_attributes_are_the_most(sqs: Any) -> None:
    url = queue(sqs)
    attribute = {"DataType": "String.custom", "StringValue": "x"}
    put(sqs, url, "x", MessageAttributes={f"k{n}": attribute for n in range(10)})
    with refused("InvalidParameterValue", "10"):
        put(sqs, url, "x", MessageAttributes={f"k{n}": attribute for n in range(11)})


@pytest.mark.parametrize(
    "attributes",
    [
        {"Other": {"DataType": "String", "StringValue": "x"}},
        {"AWSTraceHeader": {"DataType": "Number", "StringValue": "1"}},
    ],
)
def test_the_trace_header_is_the_only_system_attribute(sqs: Any, attributes: Any) -> None:
    with refused("InvalidParameterValue", "system attribute"):
        put(sqs, queue(sqs), "x", MessageSystemAttributes=attributes)


def test_a_message_of_the_largest_size_passes_and_one_byte_more_does_not(sqs: Any) -> None:
    url = queue(sqs)
    put(sqs, url, "ä" * (LIMIT // 2))
    with refused("InvalidParameterValue", str(LIMIT)):
        put(sqs, url, "ä" * (LIMIT // 2) + "x")
    assert counts(sqs, url) == (1, 0, 0)


def test_attributes_count_towards_the_size_and_system_attributes_do_not(sqs: Any) -> None:
    url = queue(sqs)
    attributes = {"name": {"DataType": "String", "StringValue": "x" * 90}}
    body = "b" * (LIMIT - 100)
    put(sqs, url, body, MessageAttributes=attributes, MessageSystemAttributes=TRACE)
    with refused("InvalidParameterValue", str(LIMIT)):
        put(sqs, url, body + "b", MessageAttributes=attributes)


def test_a_queues_own_maximum_size_holds(sqs: Any) -> None:
    url = queue(sqs, MaximumMessageSize="1024")
    put(sqs, url, "x" * 1_024)
    with refused("InvalidParameterValue", "1024"):
        put(sqs, url, "x" * 1_025)


@pytest.mark.parametrize("character", ["\x00", "\x08", "\x0b", "\x1f", "\ufffe", "\uffff"])
def test_characters_xml_has_no_place_for_are_refused(sqs: Any, character: str) -> None:
    with refused("InvalidMessageContents"):
        put(sqs, queue(sqs), f"a{character}b")


def test_all_other_characters_arrive(sqs: Any) -> None:
    url = queue(sqs)
    body = "\t\n\r \x7f\u0085\ud7ff\ue000\ufffd\U00010000\U0010ffff<&>\"'"
    put(sqs, url, body)
    assert bodies(receive(sqs, url)) == [body]


def test_an_empty_body_is_missing(sqs: Any) -> None:
    with refused("MissingParameter", "MessageBody"):
        put(sqs, queue(sqs), "")


def test_delays_out_of_range_are_refused(sqs: Any) -> None:
    url = queue(sqs)
    for seconds in (-1, 901):
        with refused("InvalidParameterValue", "DelaySeconds"):
            put(sqs, url, "x", DelaySeconds=seconds)


def test_a_batch_fails_in_part(sqs: Any) -> None:
    url = queue(sqs)
    entries = [
        {"Id": "good", "MessageBody": "1", "MessageAttributes": ATTRIBUTES},
        {"Id": "characters", "MessageBody": "\x00"},
        {"Id": "empty", "MessageBody": ""},
        {"Id": "delay", "MessageBody": "x", "DelaySeconds": 901},
        {"Id": "good-2", "MessageBody": "2"},
    ]
    answer = sqs.send_message_batch(QueueUrl=url, Entries=entries)
    assert [one["Id"] for one in answer["Successful"]] == ["good", "good-2"]
    for one in answer["Successful"]:
        assert one["MessageId"] and one["MD5OfMessageBody"]
    assert "MD5OfMessageAttributes" in answer["Successful"][0]
    assert all(one["SenderFault"] is True and one["Message"] for one in answer["Failed"])
    assert {one["Id"]: one["Code"] for one in answer["Failed"]} == {
        "characters": "InvalidMessageContents",
        "empty": "EmptyValue",
        "delay": "InvalidParameterValue",
    }
    assert bodies(receive(sqs, url)) == ["1", "2"]


ACTIONS = {
    "SendMessageBatch": {"MessageBody": "x"},
    "DeleteMessageBatch": {"ReceiptHandle": "garbage"},
    "ChangeMessageVisibilityBatch": {"ReceiptHandle": "garbage", "VisibilityTimeout": 1},
}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(
    ("ids", "code"),
    [
        ([], "EmptyBatchRequest"),
        ([str(n) for n in range(11)], "TooManyEntriesInBatchRequest"),
        (["a", "a"], "BatchEntryIdsNotDistinct"),
        (["a b"], "InvalidBatchEntryId"),
        ([""], "InvalidBatchEntryId"),
        (["x" * 81], "InvalidBatchEntryId"),
    ],
)
def test_a_bad_batch_fails_as_a_whole(
    endpoint: str, sqs: Any, action: str, ids: list[str], code: str
) -> None:
    url = queue(sqs)
    entries = [{"Id": name, **ACTIONS[action]} for name in ids]
    status, headers, body = call(endpoint, action, {"QueueUrl": url, "Entries": entries})
    assert status == 400
    assert body["__type"] == f"com.amazonaws.sqs#{code}"
    assert headers["x-amzn-query-error"] == f"{PREFIX}{code};Sender"
    assert counts(sqs, url) == (0, 0, 0)


def test_a_batch_without_a_queue_says_so(endpoint: str) -> None:
    url = endpoint + "/000000000000/no-such-queue"
    for action, members in ACTIONS.items():
        _, _, body = call(endpoint, action, {"QueueUrl": url, "Entries": [{"Id": "a", **members}]})
        assert body["__type"] == "com.amazonaws.sqs#QueueDoesNotExist"


def test_a_batch_is_limited_as_a_whole_in_bytes(sqs: Any) -> None:
    url = queue(sqs)

    def send(last: int) -> Any:
        sizes = [LIMIT // 2, LIMIT // 2 - 10, last]
        entries = [{"Id": str(n), "MessageBody": "x" * size} for n, size in enumerate(sizes)]
        return sqs.send_message_batch(QueueUrl=url, Entries=entries)

    with refused(PREFIX + "BatchRequestTooLong", str(LIMIT)):
        send(11)
    assert counts(sqs, url) == (0, 0, 0)
    assert len(send(10)["Successful"]) == 3


def test_batches_of_handles_fail_in_part(sqs: Any) -> None:
    url = queue(sqs)
    put(sqs, url, "x")
    (message,) = receive(sqs, url)
    entries = [
        {"Id": "good", "ReceiptHandle": message["ReceiptHandle"]},
        {"Id": "bad", "ReceiptHandle": "garbage"},
    ]
    changed = sqs.change_message_visibility_batch(
        QueueUrl=url, Entries=[{**entry, "VisibilityTimeout": 9} for entry in entries]
    )
    deleted = sqs.delete_message_batch(QueueUrl=url, Entries=entries)
    for answer in (changed, deleted):
        assert [one["Id"] for one in answer["Successful"]] == ["good"]
        assert [one["Code"] for one in answer["Failed"]] == ["ReceiptHandleIsInvalid"]
    assert counts(sqs, url) == (0, 0, 0)


def test_a_fifo_batch_keeps_its_order(sqs: Any) -> None:
    url = fifo(sqs)
    expected = [str(number) for number in range(10)]
    sent = put_many(sqs, url, expected, MessageGroupId="g")
    numbers = [int(one["SequenceNumber"]) for one in sent]
    assert numbers == sorted(set(numbers))
    assert bodies(receive(sqs, url)) == expected
