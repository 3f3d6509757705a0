"""What proxies, health checks and people with a browser ask of the broker."""

from __future__ import annotations

import http.client
import json
import urllib.parse
from typing import Any

import pytest
from broker_client import call, new_name, put, queue


def ask(endpoint: str, method: str, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(endpoint).netloc, timeout=60)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, headers=named)
    answer = connection.getresponse()
    found = (
        answer.status,
        {name.lower(): value for name, value in answer.getheaders()},
        answer.read(),
    )
    connection.close()
    return found


def test_a_queue_url_leads_back_through_the_proxy_the_client_came_by(endpoint: str) -> None:
    own = endpoint.removeprefix("http://")
    name = new_name()
    for headers, base in (
        ({}, f"http://{own}"),
        ({"X-Forwarded-Proto": "https"}, f"https://{own}"),
        (
            {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "sqs.example"},
            "https://sqs.example",
        ),
        (
            {
                "X-Forwarded-Proto": "https",
                "X-Forwarded-Host": "sqs.example",
                "X-Forwarded-Port": "8443",
            },
            "https://sqs.example:8443",
        ),
        ({"Forwarded": 'for=10.0.0.1;proto=https;host="sqs.example"'}, "https://sqs.example"),
    ):
        url = f"{base}/000000000000/{name}"
        members = json.dumps({"QueueName": name}).encode()
        for action in ("CreateQueue", "GetQueueUrl"):
            connection = http.client.HTTPConnection(own, timeout=60)
            target = {"X-Amz-Target": f"AmazonSQS.{action}", **headers}
            connection.request("POST", "/", members, target)
            answer = json.loads(connection.getresponse().read())
            connection.close()
            assert answer == {"QueueUrl": url}
    # Whatever a URL's scheme and host, its path names the queue.
    url = f"https://sqs.example/000000000000/{name}"
    assert call(endpoint, "SendMessage", {"QueueUrl": url, "MessageBody": "x"})[0] == 200


@pytest.mark.parametrize("path", ["/", "/_dtq/health", "/_dtq/status"])
def test_a_head_request_is_answered_as_a_get_without_its_body(endpoint: str, path: str) -> None:
    status, headers, body = ask(endpoint, "HEAD", path)
    assert (status, body) == (200, b"")
    assert headers["content-type"] == "application/json"
    assert ask(endpoint, "GET", path)[0] == 200


def test_a_healthy_broker_says_so(endpoint: str) -> None:
    status, _, body = ask(endpoint, "GET", "/_dtq/health")
    assert (status, json.loads(body)) == (200, {"status": "ok"})


def test_a_get_of_a_queues_url_without_an_action_is_no_operation(endpoint: str, sqs: Any) -> None:
    path = urllib.parse.urlsplit(queue(sqs)).path
    for accept in ("*/*", "application/json"):
        status, headers, body = ask(endpoint, "GET", path, Accept=accept)
        assert status == 404 and headers["content-type"] == "text/xml"
        assert b"<UnknownOperationException" in body
    status, headers, body = ask(endpoint, "GET", "/_dtq/nonsense")
    assert status == 404 and "nothing" in json.loads(body)["error"]


def test_a_client_that_accepts_json_gets_the_query_protocols_elements_as_json(
    endpoint: str, sqs: Any
) -> None:
    url = queue(sqs)
    put(sqs, url, '{"foo": "ba\rr", "foo2": "ba&quot;r&quot;"}')

    def get(path: str, accept: str, **parameters: str) -> tuple[int, dict[str, str], bytes]:
        signed = "AWS4-HMAC-SHA256 Credential=a/20260101/eu-west-1/sqs/aws4_request"
        line = f"{path}?{urllib.parse.urlencode(parameters)}"
        return ask(endpoint, "GET", line, Accept=accept, Authorization=signed)

    path = urllib.parse.urlsplit(url).path
    status, headers, body = get("/", "application/json", Action="ListQueues")
    assert (status, headers["content-type"]) == (200, "application/json")
    answer = json.loads(body)["ListQueuesResponse"]
    assert url in answer["ListQueuesResult"]["queueUrls"]
    assert answer["ResponseMetadata"]["RequestId"] == headers["x-amzn-requestid"]
    receive = {"Action": "ReceiveMessage", "VisibilityTimeout": "0"}
    answer = json.loads(get(path, "application/json", **receive)[2])
    (message,) = answer["ReceiveMessageResponse"]["ReceiveMessageResult"]["messages"]
    assert message["Body"] == '{"foo": "ba\rr", "foo2": "ba&quot;r&quot;"}'
    every = {"Action": "GetQueueAttributes", "AttributeName.1": "All"}
    answer = json.loads(get(path, "application/json", **every)[2])
    found = answer["GetQueueAttributesResponse"]["GetQueueAttributesResult"]["Attributes"]
    assert {"Name": "VisibilityTimeout", "Value": "30"} in found
    status, _, body = get(path, "application/json", Action="ListQueues")
    error = json.loads(body)["Error"]
    assert status == 400 and error["Code"] == "InvalidAction" and error["Type"] == "Sender"
    assert error["Message"] == "The action ListQueues is not valid for this endpoint."
    status, headers, body = get("/", "*/*", Action="ListQueues")
    assert status == 200 and b"<ListQueuesResponse" in body
