"""What AWS answered, as LocalStack recorded it in tests/aws/services/sqs/test_sqs.snapshot.json or
asserts it in a test marked as validated on AWS. Runs with boto3 of today (JSON) and with the last
that spoke the query protocol: what a client sees is the same unless said otherwise."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError
from broker_client import (
    PREFIX,
    bodies,
    counts,
    new_name,
    put,
    queue,
    receive,
)

WRONG_TYPE = "The request include parameter that is not valid for this queue type."
IDS = "can only include alphanumeric and punctuation characters. 1 to 128 in length."
ENTRY_ID = (
    "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be "
    "at most 80 letters long."
)


def error_of(call: Any, **parameters: Any) -> tuple[str, str]:
    """Code and text of the error that a call ends with; it is the sender's."""
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    error = caught.value.response["Error"]
    assert error["Type"] == "Sender"
    return error["Code"], error["Message"]


def speaks_query(sqs: Any) -> bool:
    return sqs.meta.service_model.metadata["protocol"] == "query"


def test_what_is_empty_has_no_members(sqs: Any) -> None:
    url = queue(sqs)
    for answer in (
        sqs.receive_message(QueueUrl=url),
        sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1, AttributeNames=[]),
        sqs.receive_message(QueueUrl=url, MessageAttributeNames=[]),
        sqs.get_queue_attributes(QueueUrl=url),
        sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[]),
        sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"]),
        sqs.list_queue_tags(QueueUrl=url),
        sqs.list_queues(QueueNamePrefix=new_name()),
    ):
        del answer["ResponseMetadata"]
        assert answer == {}


def test_numbers_out_of_range_are_refused_in_these_words(sqs: Any) -> None:
    url = queue(sqs)
    for name, value, reason in (
        ("MaxNumberOfMessages", 11, "Must be between 1 and 10, if provided."),
        ("WaitTimeSeconds", 21, "Must be >= 0 and <= 20, if provided."),
        ("WaitTimeSeconds", -1, "Must be >= 0 and <= 20, if provided."),
    ):
        text = f"Value {value} for parameter {name} is invalid. Reason: {reason}"
        error = error_of(sqs.receive_message, QueueUrl=url, **{name: value})
        assert error == ("InvalidParameterValue", text)


def test_a_missing_queue_has_one_text_in_each_protocol(sqs: Any) -> None:
    text = "The specified queue does not exist"
    text += " for this wsdl version." if speaks_query(sqs) else "."
    for call, name in ((sqs.get_queue_url, "QueueName"), (sqs.receive_message, "QueueUrl")):
        assert error_of(call, **{name: new_name()}) == (PREFIX + "NonExistentQueue", text)


def test_bodies_have_these_limits(sqs: Any) -> None:
    url = queue(sqs)
    error = error_of(sqs.send_message, QueueUrl=url, MessageBody="")
    assert error == ("MissingParameter", "The request must contain the parameter MessageBody.")
    attribute = {"k": {"DataType": "String", "StringValue": "x"}}
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"MaximumMessageSize": "1024"})
    put(sqs, url, "a" * 1024)
    text = "One or more parameters are invalid. Reason: Message must be shorter than 1024 bytes."
    body = {"MessageBody": "a" * (1024 - 7), "MessageAttributes": attribute}
    error = error_of(sqs.send_message, QueueUrl=url, **body)
    assert error == ("InvalidParameterValue", text)
    entries = [{"Id": str(size), "MessageBody": "a" * size} for size in (1024, 1025)]
    answer = sqs.send_message_batch(QueueUrl=url, Entries=entries)
    assert [one["Id"] for one in answer["Successful"]] == ["1024"]
    text = "One or more parameters cannot be validated. Reason: Message must be shorter than 1024 "
    text += "bytes."
    failed = {"Id": "1025", "Code": "InvalidParameterValue", "Message": text, "SenderFault": True}
    assert answer["Failed"] == [failed]


def test_a_batch_of_failures_alone_has_no_successes(sqs: Any) -> None:
    url = queue(sqs)
    answer = sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": "1", "MessageBody": "\x02"}])
    assert "Successful" not in answer and answer["Failed"][0]["Code"] == "InvalidMessageContents"
    answer = sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": "1", "MessageBody": "x"}])
    assert "Failed" not in answer and answer["Successful"][0]["Id"] == "1"


@pytest.mark.parametrize("id", ["", "testLongId" * 10, "invalid:id"])
def test_ids_of_entries_are_refused_in_these_words(sqs: Any, id: str) -> None:
    entries = [{"Id": id, "ReceiptHandle": "x"}]
    error = error_of(sqs.delete_message_batch, QueueUrl=queue(sqs), Entries=entries)
    assert error == (PREFIX + "InvalidBatchEntryId", ENTRY_ID)


def test_too_many_entries_are_counted(sqs: Any) -> None:
    entries = [{"Id": str(n), "MessageBody": "x"} for n in range(20)]
    error = error_of(sqs.send_message_batch, QueueUrl=queue(sqs), Entries=entries)
    text = "Maximum number of entries per request are 10. You have sent 20."
    assert error == (PREFIX + "TooManyEntriesInBatchRequest", text)


def test_handles_are_repeated_in_errors(sqs: Any) -> None:
    url = queue(sqs)
    error = error_of(sqs.delete_message, QueueUrl=url, ReceiptHandle="garbage")
    text = 'The input receipt handle "garbage" is not a valid receipt handle.'
    assert error == ("ReceiptHandleIsInvalid", text)
    put(sqs, url, "x")
    (message,) = receive(sqs, url)
    handle = message["ReceiptHandle"]
    sqs.delete_message(QueueUrl=url, ReceiptHandle=handle)
    hide = {"QueueUrl": url, "ReceiptHandle": handle, "VisibilityTimeout": 42}
    text = f"Value {handle} for parameter ReceiptHandle is invalid. Reason: Message does not exist "
    text += "or is not available for visibility timeout change."
    assert error_of(sqs.change_message_visibility, **hide) == ("InvalidParameterValue", text)


def test_message_attributes_are_chosen_by_these_names(sqs: Any) -> None:
    url = queue(sqs, VisibilityTimeout="0")
    values = {"Help.Me": "Me", "Hello": "There", "General": "Kenobi"}
    sent = {name: {"DataType": "String", "StringValue": text} for name, text in values.items()}
    answer = put(sqs, url, "msg", MessageAttributes=sent)
    assert answer["MD5OfMessageAttributes"] == "4c360f3fdafd970e05fae2f149d997f5"
    whole = {"General", "Hello", "Help.Me"}
    for names, found, md5 in (
        ([], set(), None),
        (["All"], whole, "4c360f3fdafd970e05fae2f149d997f5"),
        (["*"], whole, "4c360f3fdafd970e05fae2f149d997f5"),
        ([".*"], whole, "4c360f3fdafd970e05fae2f149d997f5"),
        (["Foo", "Help"], set(), None),
        (["Hello", "General"], {"Hello", "General"}, "fca026605781cb4126a1e9044df24232"),
        (["Foo", "Hello"], {"Hello"}, "a311262e065454b75da111d535b8dacd"),
        (["Hel.*"], {"Hello", "Help.Me"}, "83fee93c1bcd8b9a5a923ffacdc636c7"),
        (["AWS."], set(), None),
        (["..foo"], set(), None),
    ):
        (message,) = receive(sqs, url, MessageAttributeNames=names, WaitTimeSeconds=5)
        assert set(message.get("MessageAttributes", {})) == found, names
        assert message.get("MD5OfMessageAttributes") == md5, names


def test_system_attributes_are_chosen_by_either_parameter(sqs: Any) -> None:
    url = queue(sqs, VisibilityTimeout="0")
    put(sqs, url, "msg")
    whole = {
        "ApproximateFirstReceiveTimestamp",
        "ApproximateReceiveCount",
        "SenderId",
        "SentTimestamp",
    }
    parameters = ["AttributeNames"]
    if not speaks_query(sqs):
        parameters.append("MessageSystemAttributeNames")
    for parameter in parameters:
        for names, found in (
            (["All"], whole),
            (["SenderId"], {"SenderId"}),
            (["SenderId", "SequenceNumber"], {"SenderId"}),
        ):
            ask = {"QueueUrl": url, "WaitTimeSeconds": 5, parameter: names}
            (message,) = sqs.receive_message(**ask)["Messages"]
            assert set(message["Attributes"]) == found, (parameter, names)
    if not speaks_query(sqs):
        both = {"MessageSystemAttributeNames": ["All"], "AttributeNames": ["SenderId"]}
        (message,) = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5, **both)["Messages"]
        assert set(message["Attributes"]) == whole


def test_names_and_values_of_message_attributes_have_these_limits(sqs: Any) -> None:
    url = queue(sqs)
    good = {"attr.1øßä": {"StringValue": "Valida", "DataType": "String"}}
    put(sqs, url, "x", MessageAttributes=good)
    (message,) = receive(sqs, url, MessageAttributeNames=["All"])
    assert message["MessageAttributes"] == good

    def refused(name: str, **value: Any) -> tuple[str, str]:
        attribute = {name: {"DataType": "String", "StringValue": "x", **value}}
        return error_of(
            sqs.send_message, QueueUrl=url, MessageBody="x", MessageAttributes=attribute
        )

    bad = [*(f"Invalid-{c}-attr" for c in '!"§(?'), "aWs.x", "AMAZON.x", ".x", "x.", "L" * 257]
    for name in bad:
        assert refused(name)[0] == "InvalidParameterValue", name
    text = (
        "Message (user) attribute 'ErrorDetails' must contain a non-empty value of type 'String'."
    )
    assert refused("ErrorDetails", StringValue="") == ("InvalidParameterValue", text)
    for kind in ("Invalid", f"Number.{'L' * 256}"):
        assert refused("x", DataType=kind)[0] == "InvalidParameterValue", kind
    assert refused("x", StringValue="\x08,\x0b")[0] == "InvalidParameterValue"
    for number in ("ten", "NaN", "inf"):
        assert refused("x", DataType="Number", StringValue=number)[0] == "InvalidParameterValue"


def test_a_trace_is_no_part_of_the_sum_of_attributes(sqs: Any) -> None:
    url = queue(sqs)
    timestamp = {"timestamp": {"StringValue": "1493147359900", "DataType": "Number"}}
    text = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
    trace = {"AWSTraceHeader": {"StringValue": text, "DataType": "String"}}
    plain = put(sqs, url, "test", MessageAttributes=timestamp)
    traced = put(sqs, url, "test", MessageAttributes=timestamp, MessageSystemAttributes=trace)
    assert plain["MD5OfMessageAttributes"] == traced["MD5OfMessageAttributes"]
    assert plain["MD5OfMessageAttributes"] == "235c5c510d26fb653d073faed50ae77c"
    assert traced["MD5OfMessageSystemAttributes"] == "5ae4d5d7636402d80f4eb6d213245a88"
    assert "MD5OfMessageSystemAttributes" not in plain


def test_a_trace_header_of_the_request_goes_with_the_message(sqs: Any) -> None:
    trace = "Root=1-3152b799-8954dae64eda91bc9a23a7e8;Parent=7fa8c0f79203be72;Sampled=1"

    def add(request: Any, **_: Any) -> None:
        request.headers["X-Amzn-Trace-Id"] = trace

    url = queue(sqs)
    sqs.meta.events.register("before-send.sqs.SendMessage", add)
    try:
        assert "MD5OfMessageSystemAttributes" not in put(sqs, url, "test")
    finally:
        sqs.meta.events.unregister("before-send.sqs.SendMessage", add)
    (message,) = receive(sqs, url, AttributeNames=["AWSTraceHeader"])
    assert message["Attributes"] == {"AWSTraceHeader": trace}


def test_ids_of_groups_are_checked_on_standard_queues_too(sqs: Any) -> None:
    url = queue(sqs)
    for bad in ("", "a" * 129, "group 123"):
        text = f"Value {bad} for parameter MessageGroupId is invalid. Reason: MessageGroupId {IDS}"
        error = error_of(sqs.send_message, QueueUrl=url, MessageBody="x", MessageGroupId=bad)
        assert error == ("InvalidParameterValue", text)
    put(sqs, url, "message", "test")
    (message,) = receive(sqs, url)
    assert message["Attributes"]["MessageGroupId"] == "test"


def test_a_message_whose_timeout_ended_is_not_hidden_again(sqs: Any) -> None:
    url = queue(sqs, VisibilityTimeout="1")
    put(sqs, url, "test")
    (first,) = receive(sqs, url)
    again = receive(sqs, url, WaitTimeSeconds=20, VisibilityTimeout=0)
    hide = {"QueueUrl": url, "VisibilityTimeout": 600}
    for message in (first, *again):
        sqs.change_message_visibility(**hide, ReceiptHandle=message["ReceiptHandle"])
    assert counts(sqs, url) == (1, 0, 0)
    assert bodies(receive(sqs, url)) == ["test"]


def test_a_handle_of_an_earlier_receive_ends_the_later_ones_timeout(sqs: Any) -> None:
    url = queue(sqs)
    put(sqs, url, "test")
    (first,) = receive(sqs, url, VisibilityTimeout=0)
    assert len(receive(sqs, url, VisibilityTimeout=600)) == 1
    sqs.change_message_visibility(
        QueueUrl=url, ReceiptHandle=first["ReceiptHandle"], VisibilityTimeout=0
    )
    assert len(receive(sqs, url)) == 1
