"""The query protocol, spoken by hand: current SDKs only know the JSON one. A current SDK checks
what it did."""

from __future__ import annotations

import hashlib
import json
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from broker_client import (
    PREFIX,
    SPACE,
    arn,
    ask,
    attributes_of,
    bodies,
    counts,
    fifo,
    new_name,
    post,
    put,
    queue,
    receive,
    redriven,
    text,
    texts,
    wait_for,
)


def named(root: ET.Element, entry: str, key: str = "Name") -> dict[str | None, str | None]:
    """The entries of a map in an answer."""
    found = [(text(one, key), text(one, "Value")) for one in root.iter(SPACE + entry)]
    return dict(found)


def test_a_message_goes_through(sqs: Any) -> None:
    url = queue(sqs)
    body = "a <b> & c\r\n\u00e4\U0001f600"
    status, sent = ask(
        url,
        Action="SendMessage",
        MessageBody=body,
        MessageAttribute_1_Name="k",
        MessageAttribute_1_Value_DataType="String",
        MessageAttribute_1_Value_StringValue="v",
        MessageAttribute_2_Name="b",
        MessageAttribute_2_Value_DataType="Binary",
        MessageAttribute_2_Value_BinaryValue="AP8=",
        MessageSystemAttribute_1_Name="AWSTraceHeader",
        MessageSystemAttribute_1_Value_DataType="String",
        MessageSystemAttribute_1_Value_StringValue="Root=1",
    )
    assert status == 200 and sent.tag == SPACE + "SendMessageResponse"
    result = "SendMessageResult/"
    assert text(sent, result + "MD5OfMessageBody") == hashlib.md5(body.encode()).hexdigest()
    assert text(sent, result + "MD5OfMessageAttributes")
    status, got = ask(
        url,
        Action="ReceiveMessage",
        MaxNumberOfMessages="10",
        AttributeName_1="All",
        MessageAttributeName_1="All",
    )
    message = "ReceiveMessageResult/Message/"
    assert status == 200 and text(got, message + "Body") == body
    assert text(got, message + "MessageId") == text(sent, result + "MessageId")
    assert {"k", "b"} <= set(texts(got, "Name"))
    assert {"v"} == set(texts(got, "StringValue")) and {"AP8="} == set(texts(got, "BinaryValue"))
    found = named(got, "Attribute")
    assert found["ApproximateReceiveCount"] == "1" and found["AWSTraceHeader"] == "Root=1"
    handle = text(got, message + "ReceiptHandle")
    assert handle is not None
    changed = {"Action": "ChangeMessageVisibility", "VisibilityTimeout": "600"}
    assert ask(url, **changed, ReceiptHandle=handle)[0] == 200
    status, gone = ask(url, Action="DeleteMessage", ReceiptHandle=handle)
    assert status == 200 and gone.tag == SPACE + "DeleteMessageResponse"
    assert counts(sqs, url) == (0, 0, 0)


def test_both_protocols_see_the_same_message(sqs: Any) -> None:
    url = queue(sqs, VisibilityTimeout="0")
    attributes = {"k": {"DataType": "Binary", "BinaryValue": b"\x01\x02"}}
    sent = put(sqs, url, "x", MessageAttributes=attributes)
    _, got = ask(url, Action="ReceiveMessage", MessageAttributeName_1="All")
    message = "ReceiveMessageResult/Message/"
    assert text(got, message + "MessageId") == sent["MessageId"]
    assert text(got, message + "MD5OfMessageAttributes") == sent["MD5OfMessageAttributes"]
    handle = text(got, message + "ReceiptHandle")
    sqs.delete_message(QueueUrl=url, ReceiptHandle=handle)
    assert counts(sqs, url) == (0, 0, 0)


def test_queues_are_made_found_and_listed(sqs: Any, endpoint: str) -> None:
    name = new_name()
    status, made = ask(
        endpoint + "/",
        Action="CreateQueue",
        QueueName=name,
        Attribute_1_Name="VisibilityTimeout",
        Attribute_1_Value="12",
        Attribute_2_Name="DelaySeconds",
        Attribute_2_Value="3",
        Tag_1_Key="t",
        Tag_1_Value="1",
    )
    url = text(made, "CreateQueueResult/QueueUrl")
    assert status == 200 and url is not None
    _, found = ask(endpoint + "/", Action="GetQueueUrl", QueueName=name)
    assert text(found, "GetQueueUrlResult/QueueUrl") == url
    _, listed = ask(endpoint + "/", Action="ListQueues", QueueNamePrefix=name)
    assert text(listed, "ListQueuesResult/QueueUrl") == url
    asked = {"AttributeName_1": "VisibilityTimeout", "AttributeName_2": "DelaySeconds"}
    _, shown = ask(url, Action="GetQueueAttributes", **asked)
    assert named(shown, "Attribute") == {"VisibilityTimeout": "12", "DelaySeconds": "3"}
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"t": "1"}
    assert ask(url, Action="DeleteQueue")[0] == 200
    _, error = ask(endpoint + "/", Action="CreateQueue", QueueName=name)
    assert text(error, "Error/Code") == PREFIX + "QueueDeletedRecently"


def test_lists_come_in_pages(sqs: Any, endpoint: str) -> None:
    prefix = new_name()
    made = {sqs.create_queue(QueueName=f"{prefix}-{number}")["QueueUrl"] for number in range(3)}
    found: set[str | None] = set()
    token: dict[str, str] = {}
    for _ in range(2):
        asked = {"QueueNamePrefix": prefix, "MaxResults": "2", **token}
        _, page = ask(endpoint + "/", Action="ListQueues", **asked)
        found |= set(texts(page, "QueueUrl"))
        after = text(page, "ListQueuesResult/NextToken")
        token = {"NextToken": after} if after else {}
    assert found == made and not token


def test_attributes_tags_and_permissions_change(sqs: Any) -> None:
    url = queue(sqs)
    alone = {"Attribute_Name": "DelaySeconds", "Attribute_Value": "3"}
    assert ask(url, Action="SetQueueAttributes", **alone)[0] == 200
    assert attributes_of(sqs, url, "DelaySeconds") == {"DelaySeconds": "3"}
    answer = ask(
        url,
        Action="SetQueueAttributes",
        Attribute_1_Name="VisibilityTimeout",
        Attribute_1_Value="7",
    )
    assert answer[0] == 200
    assert attributes_of(sqs, url, "VisibilityTimeout") == {"VisibilityTimeout": "7"}
    assert ask(url, Action="TagQueue", Tag_1_Key="a", Tag_1_Value="1")[0] == 200
    _, tags = ask(url, Action="ListQueueTags")
    assert named(tags, "Tag", "Key") == {"a": "1"}
    assert ask(url, Action="UntagQueue", TagKey_1="a")[0] == 200
    assert "Tags" not in sqs.list_queue_tags(QueueUrl=url)
    granted = {"AWSAccountId_1": "111111111111", "ActionName_1": "SendMessage"}
    assert ask(url, Action="AddPermission", Label="l", **granted)[0] == 200
    policy = json.loads(attributes_of(sqs, url, "Policy")["Policy"])
    assert policy["Statement"][0]["Action"] == "SQS:SendMessage"
    assert ask(url, Action="RemovePermission", Label="l")[0] == 200
    assert ask(url, Action="PurgeQueue")[0] == 200
    assert ask(url, Action="PurgeQueue")[0] == 403


def test_batches_fail_in_part(sqs: Any) -> None:
    url = queue(sqs)
    entry = "SendMessageBatchRequestEntry_"
    status, answer = ask(
        url,
        Action="SendMessageBatch",
        **{
            entry + "1_Id": "a",
            entry + "1_MessageBody": "x",
            entry + "1_DelaySeconds": "0",
            entry + "2_Id": "b",
            entry + "2_MessageBody": "",
        },
    )
    result = "SendMessageBatchResult/"
    assert status == 200
    assert text(answer, result + "SendMessageBatchResultEntry/Id") == "a"
    assert text(answer, result + "BatchResultErrorEntry/Code") == "EmptyValue"
    assert text(answer, result + "BatchResultErrorEntry/SenderFault") == "true"
    (message,) = receive(sqs, url)
    for action in ("ChangeMessageVisibilityBatch", "DeleteMessageBatch"):
        entry = f"{action}RequestEntry_"
        _, answer = ask(
            url,
            Action=action,
            **{
                entry + "1_Id": "good",
                entry + "1_ReceiptHandle": message["ReceiptHandle"],
                entry + "1_VisibilityTimeout": "60",
                entry + "2_Id": "bad",
                entry + "2_ReceiptHandle": "garbage",
                entry + "2_VisibilityTimeout": "60",
            },
        )
        result = f"{action}Result/"
        assert text(answer, f"{result}{action}ResultEntry/Id") == "good"
        assert text(answer, result + "BatchResultErrorEntry/Code") == "ReceiptHandleIsInvalid"
    assert counts(sqs, url) == (0, 0, 0)


def test_fifo_messages_go_through(sqs: Any) -> None:
    url = fifo(sqs)
    ids = {"MessageGroupId": "g", "MessageDeduplicationId": "d"}
    _, sent = ask(url, Action="SendMessage", MessageBody="x", **ids)
    assert len(text(sent, "SendMessageResult/SequenceNumber") or "") == 20
    _, got = ask(url, Action="ReceiveMessage", AttributeName_1="All", ReceiveRequestAttemptId="one")
    found = named(got, "Attribute")
    assert found["MessageGroupId"] == "g" and found["MessageDeduplicationId"] == "d"


def test_dead_letters_are_moved_and_listed(sqs: Any, endpoint: str) -> None:
    url, dead = redriven(sqs, 1, VisibilityTimeout="0")
    put(sqs, url, "x")
    receive(sqs, url)
    _, sources = ask(dead, Action="ListDeadLetterSourceQueues")
    assert text(sources, "ListDeadLetterSourceQueuesResult/QueueUrl") == url
    status, started = ask(
        endpoint + "/",
        Action="StartMessageMoveTask",
        SourceArn=arn(sqs, dead),
        MaxNumberOfMessagesPerSecond="500",
    )
    assert status == 200 and text(started, "StartMessageMoveTaskResult/TaskHandle")
    wait_for("the message is back", lambda: counts(sqs, url) == (1, 0, 0))
    _, listed = ask(endpoint + "/", Action="ListMessageMoveTasks", SourceArn=arn(sqs, dead))
    entry = "ListMessageMoveTasksResult/ListMessageMoveTasksResultEntry/"
    assert text(listed, entry + "ApproximateNumberOfMessagesMoved") == "1"
    _, error = ask(endpoint + "/", Action="CancelMessageMoveTask", TaskHandle="garbage")
    assert text(error, "Error/Code") == "InvalidParameterValue"


@pytest.mark.parametrize(
    ("status", "code", "parameters"),
    [
        (400, PREFIX + "NonExistentQueue", {"Action": "SendMessage", "MessageBody": "x"}),
        (400, "InvalidAction", {"Action": "Nonsense"}),
        (400, "InvalidAction", {}),
        (400, "InvalidAction", {"Action": "CreateQueue", "QueueName": "a"}),
        (400, "InvalidAction", {"Action": "ListQueues"}),
        (
            400,
            "InvalidParameterValue",
            {
                "Action": "AddPermission",
                "Label": "l",
                "AWSAccountId": "1",
                "ActionName": "\x01&<b>",
            },
        ),
        (400, "MalformedInput", {"Action": "ReceiveMessage", "MaxNumberOfMessages": "many"}),
        (
            404,
            "ResourceNotFoundException",
            {
                "Action": "ListMessageMoveTasks",
                "SourceArn": "arn:aws:sqs:us-east-1:000000000000:no-such-queue",
            },
        ),
    ],
)
def test_errors_have_the_old_codes(
    endpoint: str, status: int, code: str, parameters: dict[str, str]
) -> None:
    found, error = ask(endpoint + "/000000000000/no-such-queue", **parameters)
    assert found == status and error.tag == SPACE + "ErrorResponse"
    assert text(error, "Error/Code") == code
    assert text(error, "Error/Type") == "Sender"
    assert text(error, "Error/Message") and text(error, "RequestId")


@pytest.mark.parametrize("body", [b"Action=%zz", b"Action=SendMessage&MessageBody=%ff", b"&&=&"])
def test_a_malformed_form_is_the_clients_fault(endpoint: str, body: bytes) -> None:
    status, headers, answer = post(endpoint + "/000000000000/q", body)
    assert status == 400 and headers["content-type"] == "text/xml"
    assert ET.fromstring(answer).tag == SPACE + "ErrorResponse"


def test_parameters_may_be_in_the_url_and_the_queue_in_a_parameter(sqs: Any, endpoint: str) -> None:
    url = queue(sqs)
    asked = {"Action": "SendMessage", "MessageBody": "in the URL", "QueueUrl": url}
    status, _, answer = post(f"{endpoint}/?{urllib.parse.urlencode(asked)}", b"")
    assert status == 200 and ET.fromstring(answer).tag == SPACE + "SendMessageResponse"
    assert bodies(receive(sqs, url)) == ["in the URL"]


def test_an_unsigned_get_reads_and_changes_nothing(sqs: Any, endpoint: str) -> None:
    url = queue(sqs)
    read = {"Action": "GetQueueUrl", "QueueName": url.rsplit("/", 1)[1]}
    with urllib.request.urlopen(f"{endpoint}/?{urllib.parse.urlencode(read)}") as answer:
        assert text(ET.fromstring(answer.read()), "GetQueueUrlResult/QueueUrl") == url
    asked = {"Action": "SendMessage", "MessageBody": "by GET", "QueueUrl": url}
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{endpoint}/?{urllib.parse.urlencode(asked)}")
    assert refused.value.code == 403
    assert counts(sqs, url)[0] == 0


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"Value_StringValue": "v"}, "must contain non-empty message attribute name"),
        ({"Name": "k"}, "must contain non-empty message attribute type"),
    ],
)
def test_an_attribute_without_a_name_or_a_value_is_refused_not_left_out(
    sqs: Any, given: dict[str, str], reason: str
) -> None:
    url = queue(sqs)
    attribute = {f"MessageAttribute_1_{name}": value for name, value in given.items()}
    status, root = ask(url, Action="SendMessage", MessageBody="x", **attribute)
    assert (status, text(root, "Error/Code")) == (400, "InvalidParameterValue")
    assert reason in str(text(root, "Error/Message"))
    assert counts(sqs, url) == (0, 0, 0)
