"""Attributes of queues, permissions and move tasks as AWS answered for them. See test_recorded.py
for where and with which clients."""

from __future__ import annotations

import base64
import json
from typing import Any

from broker_client import arn, attributes_of, fifo, new_name, queue, redriven
from test_recorded import error_of

ONE_SSE = (
    "You can use one type of server-side encryption (SSE) at one time. You can either enable KMS "
    "SSE or SQS SSE."
)


def test_a_booleans_case_does_not_matter_and_is_answered_lower(sqs: Any) -> None:
    url = queue(
        sqs, FifoQueue="True", ContentBasedDeduplication="TRUE", SqsManagedSseEnabled="False"
    )
    name = url.rsplit("/", 1)[1]
    expected = {
        "FifoQueue": "true",
        "ContentBasedDeduplication": "true",
        "SqsManagedSseEnabled": "false",
    }
    assert attributes_of(sqs, url, *expected) == expected
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"ContentBasedDeduplication": "False"})
    assert attributes_of(sqs, url, "ContentBasedDeduplication") == {
        "ContentBasedDeduplication": "false"
    }
    again = {"FifoQueue": "TRUE", "ContentBasedDeduplication": "False"}
    assert sqs.create_queue(QueueName=name, Attributes=again)["QueueUrl"] == url
    error = error_of(
        sqs.create_queue,
        QueueName=name,
        Attributes={"FifoQueue": "true", "ContentBasedDeduplication": "True"},
    )
    text = "A queue already exists with the same name and a different value for attribute "
    assert error == ("QueueAlreadyExists", text + "ContentBasedDeduplication")


def test_the_kind_of_a_queue_cannot_be_changed(sqs: Any) -> None:
    plain, ordered = queue(sqs), fifo(sqs)
    unknown = ("InvalidAttributeName", "Unknown Attribute FifoQueue.")
    for value in ("true", "false"):
        change = {"QueueUrl": plain, "Attributes": {"FifoQueue": value}}
        assert error_of(sqs.set_queue_attributes, **change) == unknown
    sqs.set_queue_attributes(QueueUrl=ordered, Attributes={"FifoQueue": "true"})
    change = {"QueueUrl": ordered, "Attributes": {"FifoQueue": "false"}}
    text = (
        "Invalid value for the parameter FifoQueue. Reason: Modifying queue type is not supported."
    )
    assert error_of(sqs.set_queue_attributes, **change) == ("InvalidAttributeValue", text)
    only = "You can specify the {} only when FifoQueue is set to true."
    for name, value, text in (
        ("FifoQueue", "false", "Unknown Attribute FifoQueue."),
        ("ContentBasedDeduplication", "false", "Unknown Attribute ContentBasedDeduplication."),
        ("DeduplicationScope", "queue", only.format("DeduplicationScope")),
        ("FifoThroughputLimit", "perQueue", only.format("FifoThroughputLimit")),
    ):
        make = {"QueueName": new_name(), "Attributes": {name: value}}
        assert error_of(sqs.create_queue, **make) == ("InvalidAttributeName", text)


SSE = ["KmsMasterKeyId", "KmsDataKeyReusePeriodSeconds", "SqsManagedSseEnabled"]


def test_there_is_one_kind_of_encryption_at_a_time(sqs: Any) -> None:
    url = queue(sqs)
    key = {"KmsMasterKeyId": "testKeyId", "KmsDataKeyReusePeriodSeconds": "6000"}
    both = {"QueueUrl": url, "Attributes": {**key, "SqsManagedSseEnabled": "true"}}
    assert error_of(sqs.set_queue_attributes, **both) == ("InvalidAttributeName", ONE_SSE)
    error = error_of(sqs.create_queue, QueueName=new_name(), Attributes=both["Attributes"])
    assert error == ("InvalidAttributeName", ONE_SSE)
    assert attributes_of(sqs, url, *SSE) == {"SqsManagedSseEnabled": "true"}
    sqs.set_queue_attributes(QueueUrl=url, Attributes=key)
    assert attributes_of(sqs, url, *SSE) == {**key, "SqsManagedSseEnabled": "false"}
    off = {"KmsMasterKeyId": "", "KmsDataKeyReusePeriodSeconds": "300"}
    sqs.set_queue_attributes(QueueUrl=url, Attributes=off)
    assert attributes_of(sqs, url, *SSE) == {"SqsManagedSseEnabled": "false"}
    sqs.set_queue_attributes(QueueUrl=url, Attributes=key)
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"SqsManagedSseEnabled": "True"})
    assert attributes_of(sqs, url, *SSE) == {"SqsManagedSseEnabled": "true"}
    alone = queue(sqs, KmsDataKeyReusePeriodSeconds="6000")
    assert attributes_of(sqs, alone, *SSE) == {"SqsManagedSseEnabled": "true"}


def test_policies_are_compared_by_what_they_say(sqs: Any) -> None:
    url, dead = redriven(sqs, 5)
    name = url.rsplit("/", 1)[1]
    target = arn(sqs, dead)
    for policy in (
        f'{{ "maxReceiveCount": 5,  "deadLetterTargetArn": "{target}" }}',
        json.dumps({"deadLetterTargetArn": target, "maxReceiveCount": "5"}),
    ):
        again = sqs.create_queue(QueueName=name, Attributes={"RedrivePolicy": policy})
        assert again["QueueUrl"] == url
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": policy})
        found = json.loads(attributes_of(sqs, url, "RedrivePolicy")["RedrivePolicy"])
        assert found == {"deadLetterTargetArn": target, "maxReceiveCount": 5}
    for bad, times in (("dummy", 5), (target, 0), (target, 1001), (target, "x")):
        policy = json.dumps({"deadLetterTargetArn": bad, "maxReceiveCount": times})
        change = {"QueueUrl": url, "Attributes": {"RedrivePolicy": policy}}
        code, text = error_of(sqs.set_queue_attributes, **change)
        assert code == "InvalidParameterValue" and "Reason: Invalid value for " in text


def test_permissions_are_granted_and_taken_in_these_words(sqs: Any) -> None:
    url = queue(sqs)
    grant = {"QueueUrl": url, "AWSAccountIds": ["668614515564"], "Actions": ["ReceiveMessage"]}
    sqs.add_permission(**grant, Label="one")
    error = error_of(sqs.add_permission, **grant, Label="one")
    text = "Value one for parameter Label is invalid. Reason: Already exists."
    assert error == ("InvalidParameterValue", text)
    policy = json.loads(attributes_of(sqs, url, "Policy")["Policy"])
    assert policy["Version"] == "2008-10-17"
    assert policy["Id"] == f"{arn(sqs, url)}/SQSDefaultPolicy"
    sqs.remove_permission(QueueUrl=url, Label="one")
    assert attributes_of(sqs, url, "Policy") == {}
    error = error_of(sqs.remove_permission, QueueUrl=url, Label="one")
    text = "Value one for parameter Label is invalid. Reason: can't find label."
    assert error == ("InvalidParameterValue", text)
    owners = {**grant, "Label": "two", "Actions": ["DeleteQueue"]}
    code, text = error_of(sqs.add_permission, **owners)
    assert code == "InvalidParameterValue" and "SQS:DeleteQueue" in text


def test_a_canceled_task_must_exist_and_its_source_as_well(sqs: Any) -> None:
    _, dead = redriven(sqs, 3)

    def handle(source: str) -> str:
        task = {"taskId": "10f57157-fc38-4da9-a113-4de7e12d05aa", "sourceArn": source}
        return base64.b64encode(json.dumps(task, separators=(",", ":")).encode()).decode()

    code = "ResourceNotFoundException"
    error = error_of(sqs.cancel_message_move_task, TaskHandle=handle(arn(sqs, dead)))
    assert error == (code, "Task does not exist.")
    error = error_of(sqs.cancel_message_move_task, TaskHandle=handle(arn(sqs, dead) + "-not"))
    assert error == (
        code,
        "The resource that you specified for the SourceArn parameter doesn't exist.",
    )
    error = error_of(sqs.cancel_message_move_task, TaskHandle="foobared")
    assert error == ("InvalidParameterValue", "Value for parameter TaskHandle is invalid.")
