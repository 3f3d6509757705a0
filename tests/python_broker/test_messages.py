"""Messages: limits, sums, attributes, batches, delays, visibility."""

from __future__ import annotations

import hashlib
import sys
import time
from typing import Any

from harness import counts, main, queue, receive, refused


def check_sums_and_attributes_come_back(sqs: Any) -> None:
    url = queue(sqs)
    attributes = {
        "a.text": {"DataType": "String", "StringValue": "wörter"},
        "a.number": {"DataType": "Number.int", "StringValue": "12"},
        "bytes": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
    }
    trace = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1"}}
    sent = sqs.send_message(
        QueueUrl=url, MessageBody="b", MessageAttributes=attributes, MessageSystemAttributes=trace
    )
    assert sent["MD5OfMessageBody"] == hashlib.md5(b"b").hexdigest()

    def field(data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + data

    text = b"".join(
        [
            field(b"a.number") + field(b"Number.int") + b"\x01" + field(b"12"),
            field(b"a.text") + field(b"String") + b"\x01" + field("wörter".encode()),
            field(b"bytes") + field(b"Binary") + b"\x02" + field(b"\x00\xff"),
        ]
    )
    assert sent["MD5OfMessageAttributes"] == hashlib.md5(text).hexdigest()
    (message,) = receive(sqs, url, MessageAttributeNames=["All"], VisibilityTimeout=0)
    assert message["MessageAttributes"] == attributes
    assert message["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    assert message["Attributes"]["AWSTraceHeader"] == "Root=1"
    (message,) = receive(sqs, url, MessageAttributeNames=["a.*"], VisibilityTimeout=0)
    assert set(message["MessageAttributes"]) == {"a.text", "a.number"}
    (message,) = receive(sqs, url, AttributeNames=[], VisibilityTimeout=0)
    assert "MessageAttributes" not in message and "Attributes" not in message
    names = ["ApproximateReceiveCount"]
    (message,) = receive(sqs, url, AttributeNames=[], MessageSystemAttributeNames=names)
    assert message["Attributes"] == {"ApproximateReceiveCount": "4"}


def check_bad_messages_are_refused(sqs: Any) -> None:
    url = queue(sqs)
    with refused("MissingParameter", "MessageBody"):
        sqs.send_message(QueueUrl=url, MessageBody="")
    with refused("InvalidMessageContents"):
        sqs.send_message(QueueUrl=url, MessageBody="a\x00b")
    with refused("InvalidParameterValue", "1048576"):
        sqs.send_message(QueueUrl=url, MessageBody="x" * 1_048_577)
    with refused("InvalidParameterValue", "DelaySeconds"):
        sqs.send_message(QueueUrl=url, MessageBody="x", DelaySeconds=901)
    with refused("InvalidParameterValue"):
        sqs.send_message(QueueUrl=url, MessageBody="x", MessageDeduplicationId="d")
    for bad in [
        {"DataType": "Text", "StringValue": "x"},
        {"DataType": "Number", "StringValue": "x"},
        {"DataType": "String", "StringValue": ""},
        {"StringValue": "x"},
    ]:
        with refused("InvalidParameterValue"):
            sqs.send_message(QueueUrl=url, MessageBody="x", MessageAttributes={"k": bad})
    sqs.send_message(QueueUrl=url, MessageBody="\x1f".replace("\x1f", "\t") * 1_048_576)
    assert counts(sqs, url) == (1, 0, 0)


def check_numbers_of_a_receive_are_limited(sqs: Any) -> None:
    url = queue(sqs)
    for bad in (
        {"MaxNumberOfMessages": 0},
        {"MaxNumberOfMessages": 11},
        {"WaitTimeSeconds": 21},
        {"VisibilityTimeout": 43_201},
    ):
        with refused("InvalidParameterValue", next(iter(bad))):
            sqs.receive_message(QueueUrl=url, **bad)


def check_batches_fail_in_part_and_as_a_whole(sqs: Any) -> None:
    url = queue(sqs)

    def send(*entries: dict[str, Any]) -> Any:
        return sqs.send_message_batch(QueueUrl=url, Entries=list(entries))

    answer = send({"Id": "a", "MessageBody": "1"}, {"Id": "b", "MessageBody": "\x00"})
    assert [one["Id"] for one in answer["Successful"]] == ["a"]
    (failed,) = answer["Failed"]
    assert failed["Id"] == "b" and failed["SenderFault"] is True
    assert failed["Code"] == "InvalidMessageContents"
    prefix = "AWS.SimpleQueueService."
    with refused(prefix + "EmptyBatchRequest"):
        send()
    with refused(prefix + "TooManyEntriesInBatchRequest", "11"):
        send(*({"Id": str(n), "MessageBody": "x"} for n in range(11)))
    with refused(prefix + "BatchEntryIdsNotDistinct"):
        send({"Id": "a", "MessageBody": "1"}, {"Id": "a", "MessageBody": "2"})
    with refused(prefix + "InvalidBatchEntryId"):
        send({"Id": "a b", "MessageBody": "1"})
    with refused(prefix + "BatchRequestTooLong"):
        send(*({"Id": str(n), "MessageBody": "x" * 600_000} for n in range(2)))
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


def check_delays_of_queue_and_message(sqs: Any) -> None:
    url = queue(sqs, DelaySeconds="1")
    sqs.send_message(QueueUrl=url, MessageBody="later")
    sqs.send_message(QueueUrl=url, MessageBody="now", DelaySeconds=0)
    assert [one["Body"] for one in receive(sqs, url)] == ["now"]
    assert counts(sqs, url) == (0, 1, 1)
    began = time.monotonic()
    assert [one["Body"] for one in receive(sqs, url, WaitTimeSeconds=10)] == ["later"]
    assert time.monotonic() - began < 5


def check_visibility_ends_and_can_be_changed(sqs: Any) -> None:
    url = queue(sqs, VisibilityTimeout="1")
    sqs.send_message(QueueUrl=url, MessageBody="x")
    (first,) = receive(sqs, url)
    (second,) = receive(sqs, url, WaitTimeSeconds=10, VisibilityTimeout=60)
    assert second["Attributes"]["ApproximateReceiveCount"] == "2"
    assert second["ReceiptHandle"] != first["ReceiptHandle"]
    handle = {"QueueUrl": url, "ReceiptHandle": second["ReceiptHandle"]}
    sqs.change_message_visibility(**handle, VisibilityTimeout=0)
    (third,) = receive(sqs, url, VisibilityTimeout=60)
    handle = {"QueueUrl": url, "ReceiptHandle": third["ReceiptHandle"]}
    for seconds in (43_201, -1):
        with refused("InvalidParameterValue"):
            sqs.change_message_visibility(**handle, VisibilityTimeout=seconds)
    sqs.delete_message(**handle)
    sqs.delete_message(**handle)
    with refused("InvalidParameterValue"):
        sqs.change_message_visibility(**handle, VisibilityTimeout=5)
    with refused("ReceiptHandleIsInvalid"):
        sqs.delete_message(QueueUrl=url, ReceiptHandle="garbage")


def check_a_late_delete_works_on_a_standard_queue(sqs: Any) -> None:
    url = queue(sqs, VisibilityTimeout="0")
    sqs.send_message(QueueUrl=url, MessageBody="x")
    (message,) = receive(sqs, url)
    with refused("AWS.SimpleQueueService.MessageNotInflight"):
        sqs.change_message_visibility(
            QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=5
        )
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    assert counts(sqs, url) == (0, 0, 0)


if __name__ == "__main__":
    main(sys.modules[__name__])
