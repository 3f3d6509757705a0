"""What AWS answers on the wire over JSON 1.0, below what SDKs show: status, `__type` and header.

The facts are those of answers recorded from AWS by yavosh/pail (`test/diff/testdata/golden`).
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from broker_client import fifo, post, put, queue, receive, refused

CORAL = "com.amazon.coral.service#"
MODELLED = "com.amazonaws.sqs#"
BODY = {"MessageBody": "x"}
MISSING = (400, CORAL + "MissingRequiredParameterException", "MissingParameter;Sender")
INVALID = (400, CORAL + "InvalidParameterValueException", "InvalidParameterValue;Sender")
LISTS = (
    400,
    MODELLED + "UnsupportedOperation",
    "AWS.SimpleQueueService.UnsupportedOperation;Sender",
)
GARBAGE = {"ReceiptHandle": "garbage"}
GARBLED = (404, MODELLED + "ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid;Sender")


def texts(**value: Any) -> dict[str, Any]:
    return {**BODY, "MessageAttributes": {"a": {"DataType": "String", **value}}}


@pytest.mark.parametrize(
    ("action", "members", "answer"),
    [
        ("DeleteMessage", GARBAGE, GARBLED),
        ("ChangeMessageVisibility", {**GARBAGE, "VisibilityTimeout": 1}, GARBLED),
        ("ChangeMessageVisibility", GARBAGE, MISSING),
        ("DeleteMessage", {}, MISSING),
        ("SendMessage", {"MessageBody": ""}, MISSING),
        ("SendMessage", {**BODY, "MessageDeduplicationId": "d"}, INVALID),
        ("SendMessage", texts(StringListValues=["b"]), LISTS),
        ("SendMessage", texts(StringValue="b", BinaryListValues=["Yg=="]), LISTS),
        ("ReceiveMessage", {"MaxNumberOfMessages": 11}, INVALID),
        (
            "GetQueueAttributes",
            {"AttributeNames": ["Bogus"]},
            (400, MODELLED + "InvalidAttributeName", "InvalidAttributeName;Sender"),
        ),
        (
            "Bogus",
            {},
            (400, CORAL + "UnknownOperationException", "InvalidAction;Sender"),
        ),
    ],
)
def test_an_error_has_aws_status_namespace_and_header(
    sqs: Any, endpoint: str, action: str, members: dict[str, Any], answer: tuple[int, str, str]
) -> None:
    assert error_of(endpoint, action, {"QueueUrl": queue(sqs), **members}) == answer


@pytest.mark.parametrize("members", [BODY, {"QueueUrl": "", **BODY}])
def test_without_a_queue_url_there_is_no_such_queue(endpoint: str, members: dict[str, str]) -> None:
    code = "AWS.SimpleQueueService.NonExistentQueue;Sender"
    expected = (400, MODELLED + "QueueDoesNotExist", code)
    assert error_of(endpoint, "SendMessage", members) == expected


def test_a_queues_url_is_not_looked_for_without_a_name(sqs: Any, endpoint: str) -> None:
    assert error_of(endpoint, "GetQueueUrl", {}) == INVALID
    with refused("InvalidParameterValue", "Must specify a queue name."):
        sqs.get_queue_url()


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"{"])
def test_a_body_that_is_no_input_is_malformed(endpoint: str, body: bytes) -> None:
    status, headers, answer = raw(endpoint, "GetQueueUrl", body)
    assert status == 400 and headers["x-amzn-query-error"] == "MalformedInput;Sender"
    assert json.loads(answer)["__type"] == CORAL + "SerializationException"


def test_empty_lists_of_values_are_no_values(sqs: Any, endpoint: str) -> None:
    url = queue(sqs)
    message = texts(StringValue="b", StringListValues=[], BinaryListValues=[])
    assert raw(endpoint, "SendMessage", json.dumps({"QueueUrl": url, **message}).encode())[0] == 200
    (received,) = receive(sqs, url, MessageAttributeNames=["All"])
    assert received["MessageAttributes"] == {"a": {"StringValue": "b", "DataType": "String"}}


def test_entries_of_a_batch_fail_with_codes_and_texts_of_their_own(sqs: Any) -> None:
    good = {"Id": "good", "MessageBody": "x"}
    entries = [good, {"Id": "bad", "MessageBody": ""}]
    (failed,) = sqs.send_message_batch(QueueUrl=queue(sqs), Entries=entries)["Failed"]
    text = "No Value Found for SendMessageBatchRequestEntry.2.MessageBody."
    assert failed == {"Id": "bad", "Code": "EmptyValue", "Message": text, "SenderFault": True}

    text = "The request include parameter that is not valid for this queue type."
    entries = [good, {"Id": "bad", "MessageBody": "x", "MessageDeduplicationId": "d"}]
    answer = sqs.send_message_batch(QueueUrl=queue(sqs), Entries=entries)
    assert [one["Id"] for one in answer["Successful"]] == ["good"]
    assert [(one["Code"], one["Message"]) for one in answer["Failed"]] == [
        ("InvalidParameterValue", text)
    ]
    entries = [{**good, "MessageGroupId": "g", "DelaySeconds": 1}]
    (failed,) = sqs.send_message_batch(QueueUrl=fifo(sqs), Entries=entries)["Failed"]
    assert (failed["Code"], failed["Message"]) == ("InvalidParameterValue", text)


def test_a_policy_of_one_statement_takes_and_gives_up_another(sqs: Any) -> None:
    own = {"Sid": "own", "Effect": "Allow", "Principal": "*", "Action": "sqs:*", "Resource": "*"}
    url = queue(sqs, Policy=json.dumps({"Version": "2012-10-17", "Statement": own}))

    def labels() -> list[str]:
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])["Attributes"]
        return [one["Sid"] for one in json.loads(found["Policy"])["Statement"]]

    share = {"QueueUrl": url, "Actions": ["SendMessage"]}
    sqs.add_permission(Label="new", AWSAccountIds=["123456789012"], **share)
    assert labels() == ["own", "new"]
    sqs.remove_permission(QueueUrl=url, Label="own")
    assert labels() == ["new"]
    with refused("InvalidParameterValue", "Value [abc] for parameter PrincipalId is invalid."):
        sqs.add_permission(Label="other", AWSAccountIds=["abc"], **share)
    for label in ["a b", "x" * 81]:
        with refused("InvalidParameterValue", f"Value {label} for parameter Label is invalid."):
            sqs.add_permission(Label=label, AWSAccountIds=["123456789012"], **share)


def test_tags_are_given_and_named(sqs: Any) -> None:
    url = queue(sqs)
    with refused("MissingParameter", "Tags"):
        sqs.tag_queue(QueueUrl=url, Tags={})
    with refused("InvalidParameterValue", "Tag keys must be between 1 and 128"):
        sqs.untag_queue(QueueUrl=url, TagKeys=[])


def test_a_handle_of_another_queue_is_refused_in_these_words(sqs: Any) -> None:
    url, other = queue(sqs), queue(sqs)
    put(sqs, url, "x")
    (message,) = receive(sqs, url)
    entries = [{"Id": "a", "ReceiptHandle": message["ReceiptHandle"]}]
    (failed,) = sqs.delete_message_batch(QueueUrl=other, Entries=entries)["Failed"]
    assert failed["Code"] == "ReceiptHandleIsInvalid"
    text = f'The receipt handle "{message["ReceiptHandle"]}" is not valid for this queue.'
    assert failed["Message"] == text


def raw(endpoint: str, action: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
    named = {"Content_Type": "application/x-amz-json-1.0", "X_Amz_Target": f"AmazonSQS.{action}"}
    return post(endpoint, body, **named)


def error_of(endpoint: str, action: str, members: dict[str, Any]) -> tuple[int, str, str]:
    """Status, `__type` and the header for clients that know the older protocol's codes."""
    status, headers, answer = raw(endpoint, action, json.dumps(members).encode())
    return status, json.loads(answer)["__type"], headers["x-amzn-query-error"]
