"""The embedded broker as `aws sqs` sees it. The program's entry point is called in this process:
starting it takes longer than most calls."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from awscli.clidriver import create_clidriver

TEXT = "<body> & 世界\n"
ATTRIBUTES = {
    "text": {"DataType": "String", "StringValue": "grüße"},
    "label": {"DataType": "String.json", "StringValue": '{"a": 1}'},
    "number": {"DataType": "Number", "StringValue": "-12.5"},
    "bytes": {"DataType": "Binary", "BinaryValue": "of the text itself"},
}
# The exit code of a request that the service refuses.
REFUSED = 255
ENDPOINT = os.environ.get("DTQ_TEST_BROKER_ENDPOINT", "")


class Aws:
    """`aws sqs` with its options by name; maps and lists are given as JSON."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.driver = create_clidriver()

    def arguments(self, action: str, options: dict[str, Any]) -> list[str]:
        found = ["sqs", action, "--endpoint-url", ENDPOINT, "--output", "json"]
        for name, value in options.items():
            found += [
                f"--{name.replace('_', '-')}",
                value if isinstance(value, str) else json.dumps(value),
            ]
        return found

    def __call__(self, action: str, **options: Any) -> dict[str, Any]:
        """What it printed, which is nothing for some actions."""
        status = self.driver.main(self.arguments(action, options))
        printed = self.capsys.readouterr()
        assert status == 0, printed.err
        answer: dict[str, Any] = json.loads(printed.out or "{}")
        return answer

    def refused(self, action: str, **options: Any) -> str:
        """The error it printed."""
        assert self.driver.main(self.arguments(action, options)) == REFUSED
        return self.capsys.readouterr().err.strip()

    def queue(self, **attributes: str) -> str:
        name = f"cli-{uuid.uuid4().hex}" + (".fifo" if "FifoQueue" in attributes else "")
        options: dict[str, Any] = {"attributes": attributes} if attributes else {}
        url: str = self("create-queue", queue_name=name, **options)["QueueUrl"]
        return url

    def arn(self, url: str) -> str:
        found = self("get-queue-attributes", queue_url=url, attribute_names="QueueArn")
        arn: str = found["Attributes"]["QueueArn"]
        return arn

    def receive(self, url: str, **more: Any) -> list[dict[str, Any]]:
        more = {
            "max_number_of_messages": 10,
            "attribute_names": "All",
            "message_attribute_names": "All",
            **more,
        }
        found: list[dict[str, Any]] = self("receive-message", queue_url=url, **more).get(
            "Messages", []
        )
        return found


@pytest.fixture
def aws(capsys: pytest.CaptureFixture[str]) -> Aws:
    return Aws(capsys)


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def test_the_program_itself_runs_against_the_broker() -> None:
    program = Path(sys.executable).with_name("aws")
    command = [program, "sqs", "get-queue-url", "--endpoint-url", ENDPOINT, "--queue-name", "none"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == REFUSED
    assert ended.stderr.strip() == (
        "An error occurred (AWS.SimpleQueueService.NonExistentQueue) when calling the GetQueueUrl "
        "operation: The specified queue does not exist."
    )


def test_queues_are_made_changed_listed_by_pages_and_deleted(aws: Aws) -> None:
    prefix = f"cli-{uuid.uuid4().hex}"
    urls = [aws("create-queue", queue_name=f"{prefix}-{letter}")["QueueUrl"] for letter in "abc"]
    assert aws("get-queue-url", queue_name=f"{prefix}-a") == {"QueueUrl": urls[0]}
    aws("set-queue-attributes", queue_url=urls[0], attributes={"VisibilityTimeout": "45"})
    found = aws("get-queue-attributes", queue_url=urls[0], attribute_names="All")["Attributes"]
    assert (found["VisibilityTimeout"], found["ApproximateNumberOfMessages"]) == ("45", "0")
    # Two pages of the service, and the first page of the program.
    assert aws("list-queues", queue_name_prefix=prefix, page_size="2")["QueueUrls"] == urls
    first = aws("list-queues", queue_name_prefix=prefix, max_items="2")
    assert first["QueueUrls"] == urls[:2]
    rest = aws("list-queues", queue_name_prefix=prefix, starting_token=first["NextToken"])
    assert rest["QueueUrls"] == urls[2:]
    aws("delete-queue", queue_url=urls[0])
    assert aws("list-queues", queue_name_prefix=prefix)["QueueUrls"] == urls[1:]
    assert aws("list-queues", queue_name_prefix=f"{prefix}-none") == {}


def test_tags_are_set_listed_and_removed(aws: Aws) -> None:
    url = aws("create-queue", queue_name=f"cli-{uuid.uuid4().hex}", tags="team=data")["QueueUrl"]
    aws("tag-queue", queue_url=url, tags="cost=12")
    assert aws("list-queue-tags", queue_url=url) == {"Tags": {"cost": "12", "team": "data"}}
    aws("untag-queue", queue_url=url, tag_keys=["cost", "team"])
    assert aws("list-queue-tags", queue_url=url) == {}


def test_a_message_keeps_its_attributes_and_can_be_hidden_shown_and_deleted(aws: Aws) -> None:
    url = aws.queue()
    sent = aws("send-message", queue_url=url, message_body=TEXT, message_attributes=ATTRIBUTES)
    assert sent["MD5OfMessageBody"] == md5(TEXT)
    (message,) = aws.receive(url)
    assert (message["Body"], message["MD5OfBody"]) == (TEXT, md5(TEXT))
    encoded = base64.b64encode(b"of the text itself").decode()
    assert message["MessageAttributes"] == {
        **ATTRIBUTES,
        "bytes": {"DataType": "Binary", "BinaryValue": encoded},
    }
    assert message["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"
    handle = {"queue_url": url, "receipt_handle": message["ReceiptHandle"]}
    aws("change-message-visibility", **handle, visibility_timeout="0")
    (again,) = aws.receive(url)
    assert again["Attributes"]["ApproximateReceiveCount"] == "2"
    aws("delete-message", queue_url=url, receipt_handle=again["ReceiptHandle"])
    assert aws.receive(url, visibility_timeout="0") == []


def test_batches_are_answered_entry_by_entry(aws: Aws) -> None:
    url = aws.queue()
    entries = [
        {"Id": "good", "MessageBody": "one", "MessageAttributes": ATTRIBUTES},
        {"Id": "bad", "MessageBody": "two", "DelaySeconds": 901},
    ]
    sent = aws("send-message-batch", queue_url=url, entries=entries)
    assert [one["Id"] for one in sent["Successful"]] == ["good"]
    assert [(one["Id"], one["Code"]) for one in sent["Failed"]] == [
        ("bad", "InvalidParameterValue")
    ]
    (message,) = aws.receive(url)
    held = [{"Id": "0", "ReceiptHandle": message["ReceiptHandle"]}]
    hidden = [{**held[0], "VisibilityTimeout": 100}]
    assert "Failed" not in aws("change-message-visibility-batch", queue_url=url, entries=hidden)
    held.append({"Id": "1", "ReceiptHandle": "nonsense"})
    deleted = aws("delete-message-batch", queue_url=url, entries=held)
    assert [one["Id"] for one in deleted["Successful"]] == ["0"]
    assert [one["Code"] for one in deleted["Failed"]] == ["ReceiptHandleIsInvalid"]


def test_a_fifo_queue_keeps_its_groups_in_order_and_drops_duplicates(aws: Aws) -> None:
    url = aws.queue(FifoQueue="true", ContentBasedDeduplication="true")
    bodies = ["1", "1", "2"]
    sent = [
        aws("send-message", queue_url=url, message_body=body, message_group_id="g")
        for body in bodies
    ]
    assert sent[0]["MessageId"] == sent[1]["MessageId"]
    messages = aws.receive(url)
    assert [message["Body"] for message in messages] == ["1", "2"]
    assert messages[0]["Attributes"]["SequenceNumber"] == sent[0]["SequenceNumber"]


def test_dead_letters_go_to_their_queue_and_are_moved_back(aws: Aws) -> None:
    dead = aws.queue()
    policy = {"deadLetterTargetArn": aws.arn(dead), "maxReceiveCount": "1"}
    url = aws.queue(RedrivePolicy=json.dumps(policy))
    assert aws("list-dead-letter-source-queues", queue_url=dead)["queueUrls"] == [url]
    aws("send-message", queue_url=url, message_body="poison")
    assert len(aws.receive(url, visibility_timeout="0")) == 1
    assert aws.receive(url) == []
    (letter,) = aws.receive(dead, visibility_timeout="0", wait_time_seconds="20")
    assert letter["Attributes"]["DeadLetterQueueSourceArn"] == aws.arn(url)
    assert aws("start-message-move-task", source_arn=aws.arn(dead))["TaskHandle"]
    assert [one["Body"] for one in aws.receive(url, wait_time_seconds="20")] == ["poison"]
    assert len(aws("list-message-move-tasks", source_arn=aws.arn(dead))["Results"]) == 1


def test_a_purge_empties_the_queue_and_a_second_one_must_wait(aws: Aws) -> None:
    url = aws.queue()
    aws("send-message", queue_url=url, message_body="x")
    aws("purge-queue", queue_url=url)
    assert aws.receive(url) == []
    assert "(AWS.SimpleQueueService.PurgeQueueInProgress)" in aws.refused(
        "purge-queue", queue_url=url
    )


def test_errors_are_printed_with_their_codes(aws: Aws) -> None:
    url = aws.queue()
    name = url.rsplit("/", 1)[1]
    entry = {"Id": "a", "MessageBody": "x"}
    attributes = {"DelaySeconds": "9"}
    for code, action, options in [
        ("QueueAlreadyExists", "create-queue", {"queue_name": name, "attributes": attributes}),
        ("ReceiptHandleIsInvalid", "delete-message", {"queue_url": url, "receipt_handle": "x"}),
        (
            "InvalidAttributeName",
            "get-queue-attributes",
            {"queue_url": url, "attribute_names": "Nonsense"},
        ),
        ("InvalidMessageContents", "send-message", {"queue_url": url, "message_body": "\x01"}),
        (
            "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
            "send-message-batch",
            {"queue_url": url, "entries": [entry, entry]},
        ),
        (
            "ResourceNotFoundException",
            "list-message-move-tasks",
            {"source_arn": "arn:aws:sqs:us-east-1:000000000000:none"},
        ),
    ]:
        assert aws.refused(action, **options).startswith(
            f"An error occurred ({code}) when calling"
        ), code
