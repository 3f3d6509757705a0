"""Signatures, in URLs above all, against a broker with keys. Run with the last boto3 that spoke
the query protocol: it puts a whole request into such a URL."""

from __future__ import annotations

import datetime
import urllib.error
import urllib.request
import xml.etree.ElementTree as ET
from typing import Any
from unittest import mock

import boto3
import botocore.auth
import pytest
from broker_client import SPACE, bodies, new_name, post, receive, text

KEY, SECRET = "team", "s3cret"


def keyed(endpoint: str, key: str = KEY, secret: str = SECRET, **more: Any) -> Any:
    return boto3.client(
        "sqs",
        endpoint_url=endpoint,
        region_name="eu-central-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        **more,
    )


@pytest.fixture
def keyed_sqs(endpoint: str) -> Any:
    return keyed(endpoint)


def fetch(url: str) -> tuple[int, ET.Element]:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, ET.fromstring(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, ET.fromstring(error.read())


def code_of(url: str) -> tuple[int, str | None]:
    status, answer = fetch(url)
    return status, text(answer, "Error/Code")


def url_for(sqs: Any, action: str, life: int = 60, **members: Any) -> str:
    return sqs.generate_presigned_url(action, Params=members, ExpiresIn=life, HttpMethod="GET")


def test_a_presigned_url_does_what_was_signed(keyed_sqs: Any) -> None:
    made = fetch(url_for(keyed_sqs, "create_queue", QueueName=new_name()))
    assert made[0] == 200
    queue = text(made[1], "CreateQueueResult/QueueUrl")
    assert queue
    body = "a b+c%20d&e=\u00e4/~"
    attribute = {"k-1": {"DataType": "String", "StringValue": "v"}}
    sent = url_for(
        keyed_sqs, "send_message", QueueUrl=queue, MessageBody=body, MessageAttributes=attribute
    )
    assert fetch(sent)[1].tag == f"{SPACE}SendMessageResponse"
    assert bodies(receive(keyed_sqs, queue)) == [body]
    _, found = fetch(
        url_for(keyed_sqs, "get_queue_attributes", QueueUrl=queue, AttributeNames=["QueueArn"])
    )
    named = text(found, "GetQueueAttributesResult/Attribute/Value") or ""
    assert named.startswith("arn:aws:sqs:eu-central-1:"), "the region that was signed for"


def test_a_presigned_url_can_be_for_a_post(endpoint: str, keyed_sqs: Any) -> None:
    url = keyed_sqs.generate_presigned_url("list_queues", HttpMethod="POST")
    status, _, body = post(url, b"")
    assert status == 200 and ET.fromstring(body).tag == f"{SPACE}ListQueuesResponse"
    assert post(url, b"QueueNamePrefix=x")[0] == 403, "the body is signed, too"
    assert code_of(url) == (403, "SignatureDoesNotMatch")


def test_a_session_token_is_signed_along(endpoint: str) -> None:
    sqs = keyed(endpoint, aws_session_token="a/token+with=signs")
    assert fetch(url_for(sqs, "list_queues"))[0] == 200


def test_a_presigned_url_that_was_changed_is_refused(endpoint: str, keyed_sqs: Any) -> None:
    url = url_for(keyed_sqs, "create_queue", QueueName=new_name())
    wrong = (403, "SignatureDoesNotMatch")
    assert code_of(url + "x") == wrong
    assert code_of(url.replace("CreateQueue", "DeleteQueue")) == wrong
    assert code_of(url.replace("X-Amz-Expires=60", "X-Amz-Expires=61")) == wrong
    assert code_of(url + "&Tag.1.Key=a&Tag.1.Value=b") == wrong
    assert code_of(url_for(keyed(endpoint, secret="other"), "list_queues")) == wrong
    other = url_for(keyed(endpoint, key="other"), "list_queues")
    assert code_of(other) == (403, "InvalidClientTokenId")
    assert code_of(f"{endpoint}/?Action=ListQueues") == (403, "MissingAuthenticationToken")


def test_a_presigned_url_has_a_life(keyed_sqs: Any) -> None:
    past = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=90)
    for life, expected in ((60, (403, "SignatureDoesNotMatch")), (3_600, (200, None))):
        with mock.patch.object(botocore.auth, "datetime", wraps=datetime) as clock:
            clock.datetime.utcnow.return_value = past.replace(tzinfo=None)
            url = url_for(keyed_sqs, "list_queues", life=life)
        assert past.strftime("X-Amz-Date=%Y%m%dT%H%M%SZ") in url
        assert code_of(url) == expected
    for life in (0, 604_801):
        assert code_of(url_for(keyed_sqs, "list_queues", life=life))[0] == 403


@pytest.mark.parametrize(
    ("signature", "status", "code"),
    [
        ({}, 403, "AccessDenied;Sender"),
        ({"Authorization": "Basic YTpi"}, 403, "AccessDenied;Sender"),
        ({"Authorization": "AWS4-HMAC-SHA256 Credential=x"}, 400, "IncompleteSignature;Sender"),
    ],
)
def test_over_json_no_signature_and_half_of_one_are_refused_as_recorded(
    endpoint: str, signature: dict[str, str], status: int, code: str
) -> None:
    named = {"Content_Type": "application/x-amz-json-1.0", "X_Amz_Target": "AmazonSQS.ListQueues"}
    found, headers, _ = post(endpoint, b"{}", **named, **signature)
    assert (found, headers["x-amzn-query-error"]) == (status, code)
