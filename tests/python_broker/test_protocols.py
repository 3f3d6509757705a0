"""What both protocols promise whatever the action: errors, headers, tolerance, connections."""

from __future__ import annotations

import http.client
import json
import re
import urllib.parse
from typing import Any

import pytest
from broker_client import (
    PREFIX,
    ask,
    call,
    client,
    counts,
    fifo,
    new_name,
    post,
    put,
    queue,
    receive,
    refused,
    text,
)

NO_QUEUE = "http://sqs.eu-central-1.amazonaws.com/000000000000/no-such-queue"


@pytest.mark.parametrize(
    ("action", "members", "shape", "code"),
    [
        (
            "ReceiveMessage",
            {"QueueUrl": NO_QUEUE},
            "QueueDoesNotExist",
            PREFIX + "NonExistentQueue",
        ),
        ("GetQueueUrl", {"QueueName": "nope"}, "QueueDoesNotExist", PREFIX + "NonExistentQueue"),
        ("DeleteMessage", {"QueueUrl": NO_QUEUE}, "QueueDoesNotExist", PREFIX + "NonExistentQueue"),
        ("GetQueueUrl", {}, "InvalidParameterValueException", "InvalidParameterValue"),
        (
            "CreateQueue",
            {"QueueName": "a b"},
            "InvalidParameterValueException",
            "InvalidParameterValue",
        ),
        (
            "CreateQueue",
            {"QueueName": "a", "Attributes": {"Nonsense": "1"}},
            "InvalidAttributeName",
            "InvalidAttributeName",
        ),
        (
            "CreateQueue",
            {"QueueName": "a", "Attributes": {"DelaySeconds": "x"}},
            "InvalidAttributeValue",
            "InvalidAttributeValue",
        ),
        ("Nonsense", {}, "UnknownOperationException", "InvalidAction"),
    ],
)
def test_an_error_has_its_type_and_the_query_code_in_a_header(
    endpoint: str, action: str, members: dict[str, Any], shape: str, code: str
) -> None:
    status, headers, body = call(endpoint, action, members)
    assert status == 400
    assert headers["x-amzn-query-error"] == f"{code};Sender"
    # Errors that the service's model does not have come from AWS's framework.
    space = "com.amazon.coral.service" if shape.endswith("Exception") else "com.amazonaws.sqs"
    assert body["__type"] == f"{space}#{shape}"
    assert body["message"]
    assert headers["content-type"] == "application/x-amz-json-1.0"


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"\xff\xfe", b'{"QueueUrl": 5}', b'{"QueueUrl": "' + b"x", b"null", b'"text"'],
)
def test_malformed_json_is_the_clients_fault(endpoint: str, body: bytes) -> None:
    status, headers, answer = call(endpoint, "SendMessage", body)
    assert status == 400
    assert answer["__type"].startswith("com.amazon.coral.service#")
    assert headers["x-amzn-query-error"].endswith(";Sender")


def test_a_number_out_of_any_range_is_refused(endpoint: str, sqs: Any) -> None:
    members = b'{"QueueUrl": "%s", "MaxNumberOfMessages": 1e400}' % queue(sqs).encode()
    assert call(endpoint, "ReceiveMessage", members)[0] == 400
    members = members.replace(b"1e400", b"99999999999999999999999999")
    assert call(endpoint, "ReceiveMessage", members)[0] == 400


def test_unknown_and_null_members_are_ignored(endpoint: str, sqs: Any) -> None:
    url = queue(sqs)
    members = {
        "QueueUrl": url,
        "MessageBody": "x",
        "DelaySeconds": None,
        "MessageAttributes": None,
        "FutureMember": {"a": [1]},
    }
    status, _, sent = call(endpoint, "SendMessage", members)
    assert status == 200
    assert receive(sqs, url)[0]["MessageId"] == sent["MessageId"]


def test_every_answer_carries_a_request_id(endpoint: str) -> None:
    uuid = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
    ids = set()
    for action in ("ListQueues", "Nonsense"):
        _, headers, _ = call(endpoint, action, {})
        assert uuid.fullmatch(headers["x-amzn-requestid"])
        ids.add(headers["x-amzn-requestid"])
    _, answer = ask(endpoint + "/", Action="ListQueues")
    ids.add(text(answer, "ResponseMetadata/RequestId"))
    _, error = ask(endpoint + "/", Action="Nonsense")
    ids.add(text(error, "RequestId"))
    assert len(ids) == 4 and None not in ids


@pytest.mark.parametrize(
    "host", ["http://localhost:1", "https://sqs.us-west-2.amazonaws.com", "http://other:9324", ""]
)
def test_only_the_path_of_a_queue_url_decides(sqs: Any, host: str) -> None:
    url = queue(sqs)
    named = host + urllib.parse.urlsplit(url).path
    put(sqs, named, "x")
    assert counts(sqs, url) == (1, 0, 0)


def test_any_credentials_are_accepted_and_none(endpoint: str, sqs: Any) -> None:
    url = queue(sqs)
    put(client(endpoint), url, "signed")
    status, _, _ = call(endpoint, "SendMessage", {"QueueUrl": url, "MessageBody": "unsigned"})
    assert status == 200
    assert ask(url, Action="SendMessage", MessageBody="form")[0] == 200
    assert counts(sqs, url) == (3, 0, 0)


def test_a_queue_url_names_the_host_the_client_used(endpoint: str) -> None:
    port = urllib.parse.urlsplit(endpoint).port
    other = client(f"http://localhost:{port}")
    url = other.create_queue(QueueName=new_name())["QueueUrl"]
    assert url.startswith(f"http://localhost:{port}/000000000000/")


def test_a_connection_serves_many_requests(endpoint: str, sqs: Any) -> None:
    host = urllib.parse.urlsplit(endpoint).netloc
    connection = http.client.HTTPConnection(host, timeout=30)
    connection.connect()
    socket = connection.sock
    body = json.dumps({"QueueUrl": queue(sqs), "MessageBody": "x"})
    headers = {"X-Amz-Target": "AmazonSQS.SendMessage"}
    for _ in range(5):
        connection.request("POST", "/", body, headers)
        answer = connection.getresponse()
        assert answer.status == 200 and answer.read()
        assert connection.sock is socket, "the server closed the connection"
    connection.close()


def test_a_chunked_request_is_read_whole(endpoint: str, sqs: Any) -> None:
    url = queue(sqs)
    host = urllib.parse.urlsplit(endpoint).netloc
    connection = http.client.HTTPConnection(host, timeout=30)
    body = json.dumps({"QueueUrl": url, "MessageBody": "in chunks " * 10_000}).encode()
    parts = [body[start : start + 7_000] for start in range(0, len(body), 7_000)]
    headers = {"X-Amz-Target": "AmazonSQS.SendMessage", "Transfer-Encoding": "chunked"}
    connection.request("POST", "/", iter(parts), headers, encode_chunked=True)
    assert connection.getresponse().status == 200
    connection.close()
    assert receive(sqs, url)[0]["Body"] == "in chunks " * 10_000


def test_a_body_of_which_json_escapes_every_byte_arrives(endpoint: str, sqs: Any) -> None:
    url = queue(sqs)
    escaped = b"\\u0041" * 1_048_576
    body = b'{"QueueUrl": "%s", "MessageBody": "%s"}' % (url.encode(), escaped)
    assert call(endpoint, "SendMessage", body)[0] == 200
    assert receive(sqs, url)[0]["Body"] == "A" * 1_048_576


def test_a_request_that_is_far_too_large_is_refused(endpoint: str) -> None:
    try:
        status, _, _ = post(endpoint, b"x" * (17 << 20), X_Amz_Target="AmazonSQS.SendMessage")
    except ConnectionError:
        return  # Refused while it was still being sent.
    except OSError as error:
        assert isinstance(getattr(error, "reason", error), ConnectionError)
        return
    assert status == 413


@pytest.mark.parametrize("kind", [queue, fifo])
def test_missing_members_are_named(sqs: Any, kind: Any) -> None:
    url = kind(sqs)
    with refused("AWS.SimpleQueueService.NonExistentQueue"):
        sqs.receive_message()
    with refused("MissingParameter", "MessageBody"):
        sqs.send_message(QueueUrl=url)
    with refused("MissingParameter", "ReceiptHandle"):
        sqs.delete_message(QueueUrl=url)
    with refused("MissingParameter", "VisibilityTimeout"):
        handle = "AQ=="
        put(sqs, url, "x", "g" if kind is fifo else None)
        (message,) = receive(sqs, url)
        handle = message["ReceiptHandle"]
        sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle)


def test_exceptions_have_the_classes_of_the_service_model(sqs: Any) -> None:
    with pytest.raises(sqs.exceptions.QueueDoesNotExist):
        sqs.get_queue_url(QueueName="no-such-queue")
    with pytest.raises(sqs.exceptions.QueueDoesNotExist):
        sqs.send_message(QueueUrl=NO_QUEUE, MessageBody="x")
    url = queue(sqs)
    with pytest.raises(sqs.exceptions.ReceiptHandleIsInvalid):
        sqs.delete_message(QueueUrl=url, ReceiptHandle="garbage")
    with pytest.raises(sqs.exceptions.EmptyBatchRequest):
        sqs.send_message_batch(QueueUrl=url, Entries=[])
    with pytest.raises(sqs.exceptions.InvalidMessageContents):
        sqs.send_message(QueueUrl=url, MessageBody="\x01")
    with pytest.raises(sqs.exceptions.ResourceNotFoundException):
        sqs.list_message_move_tasks(SourceArn="arn:aws:sqs:us-east-1:000000000000:no-such-queue")
