"""Queues, attributes, tags, and the errors around them."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

import pytest
from broker_client import (
    PREFIX,
    admin,
    arn,
    attributes_of,
    counts,
    new_name,
    put,
    put_many,
    queue,
    receive,
    refused,
)


def test_create_is_idempotent_and_names_the_attribute_that_differs(sqs: Any) -> None:
    name = uuid.uuid4().hex
    url = sqs.create_queue(QueueName=name, Attributes={"DelaySeconds": "3"})["QueueUrl"]
    assert sqs.create_queue(QueueName=name)["QueueUrl"] == url
    assert sqs.get_queue_url(QueueName=name)["QueueUrl"] == url
    assert url.endswith(f"/000000000000/{name}")
    with refused("QueueAlreadyExists", "VisibilityTimeout"):
        sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "9"})


@pytest.mark.parametrize("name", ["a b", "x" * 81, "ä", "x.fifo", "a/b", "a.b"])
def test_names_follow_the_rules(sqs: Any, name: str) -> None:
    with refused("InvalidParameterValue", "alphanumeric"):
        sqs.create_queue(QueueName=name)


def test_the_longest_names_are_accepted(sqs: Any) -> None:
    stem = uuid.uuid4().hex + "-_Aa0"
    sqs.create_queue(QueueName=stem + "x" * (80 - len(stem)))
    name = stem + "x" * (75 - len(stem)) + ".fifo"
    sqs.create_queue(QueueName=name, Attributes={"FifoQueue": "true"})
    with refused("InvalidParameterValue", "80"):
        sqs.create_queue(QueueName="x" + name, Attributes={"FifoQueue": "true"})


def test_fifo_names_and_the_fifo_attribute_go_together(sqs: Any) -> None:
    with refused("InvalidParameterValue", ".fifo"):
        sqs.create_queue(QueueName="plain", Attributes={"FifoQueue": "true"})
    with refused("InvalidParameterValue", ".fifo"):
        sqs.create_queue(QueueName=".fifo", Attributes={"FifoQueue": "true"})
    with refused("InvalidAttributeName", "FifoQueue"):
        sqs.create_queue(QueueName="plain", Attributes={"FifoQueue": "false"})


def test_names_differ_by_case(sqs: Any) -> None:
    name = new_name()
    sqs.create_queue(QueueName=name)
    with refused(PREFIX + "NonExistentQueue"):
        sqs.get_queue_url(QueueName=name.upper())


def test_a_missing_queue_has_the_error_consumers_compare(sqs: Any) -> None:
    url = queue(sqs) + "-not"
    for call in (
        lambda: sqs.send_message(QueueUrl=url, MessageBody="x"),
        lambda: sqs.receive_message(QueueUrl=url),
        lambda: sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"]),
        lambda: sqs.delete_queue(QueueUrl=url),
        lambda: sqs.get_queue_url(QueueName="no-such"),
    ):
        with refused("AWS.SimpleQueueService.NonExistentQueue", "does not exist"):
            call()


def test_defaults_are_awss(sqs: Any) -> None:
    before = int(time.time())
    found = attributes_of(sqs, queue(sqs))
    for name in ("CreatedTimestamp", "LastModifiedTimestamp"):
        assert before - 1 <= int(found.pop(name)) <= time.time()
    assert found.pop("QueueArn").startswith("arn:aws:sqs:eu-central-1:000000000000:q-")
    assert found == {
        "VisibilityTimeout": "30",
        "MaximumMessageSize": "1048576",
        "MessageRetentionPeriod": "345600",
        "DelaySeconds": "0",
        "ReceiveMessageWaitTimeSeconds": "0",
        "SqsManagedSseEnabled": "true",
        "ApproximateNumberOfMessages": "0",
        "ApproximateNumberOfMessagesNotVisible": "0",
        "ApproximateNumberOfMessagesDelayed": "0",
    }


def test_fifo_queues_have_more_attributes(sqs: Any) -> None:
    found = attributes_of(sqs, queue(sqs, FifoQueue="true"))
    assert found["FifoQueue"] == "true"
    assert found["ContentBasedDeduplication"] == "false"
    assert found["DeduplicationScope"] == "queue"
    assert found["FifoThroughputLimit"] == "perQueue"


LIMITS = {
    "VisibilityTimeout": (0, 43_200),
    "DelaySeconds": (0, 900),
    "MessageRetentionPeriod": (60, 1_209_600),
    "ReceiveMessageWaitTimeSeconds": (0, 20),
    "MaximumMessageSize": (1_024, 1_048_576),
    "KmsDataKeyReusePeriodSeconds": (60, 86_400),
}


@pytest.mark.parametrize("name", LIMITS)
def test_a_number_has_its_limits(sqs: Any, name: str) -> None:
    url = queue(sqs, **({"KmsMasterKeyId": "k"} if name.startswith("Kms") else {}))
    for good in LIMITS[name]:
        sqs.set_queue_attributes(QueueUrl=url, Attributes={name: str(good)})
        assert attributes_of(sqs, url, name) == {name: str(good)}
    low, high = LIMITS[name]
    for bad in (low - 1, high + 1, "", "1.5", "ten"):
        if name == "KmsDataKeyReusePeriodSeconds" and bad == "":
            continue
        with refused("InvalidAttributeValue", name):
            sqs.set_queue_attributes(QueueUrl=url, Attributes={name: str(bad)})
        with refused("InvalidAttributeValue", name):
            queue(sqs, **{name: str(bad)})


@pytest.mark.parametrize("name", ["Nonsense", "QueueArn", "ContentBasedDeduplication", "All"])
def test_attributes_that_cannot_be_set_are_named(sqs: Any, name: str) -> None:
    with refused("InvalidAttributeName", name):
        sqs.set_queue_attributes(QueueUrl=queue(sqs), Attributes={name: "true"})


def test_a_refused_change_changes_nothing(sqs: Any) -> None:
    url = queue(sqs)
    with refused("InvalidAttributeValue"):
        sqs.set_queue_attributes(
            QueueUrl=url, Attributes={"VisibilityTimeout": "7", "DelaySeconds": "901"}
        )
    assert attributes_of(sqs, url, "VisibilityTimeout") == {"VisibilityTimeout": "30"}


def test_only_what_is_asked_for_is_answered(sqs: Any) -> None:
    url = queue(sqs)
    assert attributes_of(sqs, url, "DelaySeconds") == {"DelaySeconds": "0"}
    answer = sqs.get_queue_attributes(QueueUrl=url)
    assert "Attributes" not in answer
    with refused("InvalidAttributeName"):
        attributes_of(sqs, url, "Nonsense")


def test_a_policy_is_stored_and_removed(sqs: Any) -> None:
    policy = json.dumps({"Version": "2012-10-17", "Statement": []})
    url = queue(sqs, Policy=policy)
    assert attributes_of(sqs, url, "Policy") == {"Policy": policy}
    with refused("InvalidAttributeValue", "Policy"):
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": "no policy"})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": ""})
    assert attributes_of(sqs, url, "Policy") == {}


def test_an_encryption_key_is_stored(sqs: Any) -> None:
    found = attributes_of(sqs, queue(sqs, KmsMasterKeyId="alias/aws/sqs"))
    assert found["KmsMasterKeyId"] == "alias/aws/sqs"
    assert found["KmsDataKeyReusePeriodSeconds"] == "300"


def test_a_change_moves_the_modification_time(sqs: Any, endpoint: str) -> None:
    url = queue(sqs)
    before = attributes_of(sqs, url)
    admin(endpoint, "clock", {"advance_seconds": 1})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"DelaySeconds": "1"})
    after = attributes_of(sqs, url)
    assert int(after["LastModifiedTimestamp"]) > int(before["LastModifiedTimestamp"])
    assert after["CreatedTimestamp"] == before["CreatedTimestamp"]


def test_redrive_policies_are_checked(sqs: Any) -> None:
    url = queue(sqs)
    target = arn(sqs, url)

    def policy(**members: Any) -> dict[str, str]:
        return {"RedrivePolicy": json.dumps(members)}

    with refused("InvalidParameterValue", "does not exist"):
        queue(sqs, **policy(deadLetterTargetArn=target + "x", maxReceiveCount=1))
    with refused("InvalidParameterValue", "maxReceiveCount"):
        queue(sqs, **policy(deadLetterTargetArn=target, maxReceiveCount=1001))
    with refused("InvalidParameterValue", "same type"):
        queue(sqs, FifoQueue="true", **policy(deadLetterTargetArn=target, maxReceiveCount=1))
    source = queue(sqs, **policy(deadLetterTargetArn=target, maxReceiveCount="5"))
    assert sqs.list_dead_letter_source_queues(QueueUrl=url)["queueUrls"] == [source]
    deny = json.dumps({"redrivePermission": "denyAll"})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedriveAllowPolicy": deny})
    with refused("InvalidParameterValue", "permission"):
        queue(sqs, **policy(deadLetterTargetArn=target, maxReceiveCount=5))


def test_listing_has_prefixes_and_pages(sqs: Any) -> None:
    prefix = uuid.uuid4().hex
    for number in range(5):
        sqs.create_queue(QueueName=f"{prefix}-{number}")
    assert len(sqs.list_queues(QueueNamePrefix=prefix)["QueueUrls"]) == 5
    pages = sqs.get_paginator("list_queues").paginate(
        QueueNamePrefix=prefix, PaginationConfig={"PageSize": 2}
    )
    found = [page["QueueUrls"] for page in pages]
    assert [len(page) for page in found] == [2, 2, 1]
    assert "QueueUrls" not in sqs.list_queues(QueueNamePrefix="no-such-prefix")


def test_pages_are_checked(sqs: Any) -> None:
    for bad in (0, 1_001):
        with refused("InvalidParameterValue", "MaxResults"):
            sqs.list_queues(MaxResults=bad)
    with refused("InvalidParameterValue", "NextToken"):
        sqs.list_queues(MaxResults=1, NextToken="?")


def test_tags_are_added_replaced_and_removed(sqs: Any) -> None:
    url = sqs.create_queue(QueueName=new_name(), tags={"a": "1"})["QueueUrl"]
    sqs.tag_queue(QueueUrl=url, Tags={"b": "2", "a": "3"})
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"a": "3", "b": "2"}
    sqs.untag_queue(QueueUrl=url, TagKeys=["a", "never-there"])
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"b": "2"}
    sqs.untag_queue(QueueUrl=url, TagKeys=["b"])
    assert "Tags" not in sqs.list_queue_tags(QueueUrl=url)


def test_tags_have_limits(sqs: Any) -> None:
    url = queue(sqs)
    sqs.tag_queue(QueueUrl=url, Tags={f"k{n}": "v" * 256 for n in range(50)})
    with refused("InvalidParameterValue", "50"):
        sqs.tag_queue(QueueUrl=url, Tags={"one more": ""})
    sqs.untag_queue(QueueUrl=url, TagKeys=["k1"])
    for bad in ({"": "v"}, {"k" * 129: "v"}, {"k0": "v" * 257}):
        with refused("InvalidParameterValue", "characters in length"):
            sqs.tag_queue(QueueUrl=url, Tags=bad)


def test_permissions_become_statements_of_the_policy(sqs: Any) -> None:
    url = queue(sqs)
    grant = {"QueueUrl": url, "Label": "l", "AWSAccountIds": ["111111111111"]}
    sqs.add_permission(**grant, Actions=["SendMessage", "ReceiveMessage"])
    policy = json.loads(attributes_of(sqs, url, "Policy")["Policy"])
    (statement,) = policy["Statement"]
    assert statement["Sid"] == "l" and statement["Effect"] == "Allow"
    assert statement["Principal"] == {"AWS": "arn:aws:iam::111111111111:root"}
    assert statement["Action"] == ["SQS:SendMessage", "SQS:ReceiveMessage"]
    assert statement["Resource"] == arn(sqs, url)
    with refused("InvalidParameterValue", "Already exists"):
        sqs.add_permission(**grant, Actions=["SendMessage"])
    with refused("OverLimit", "7", status=403):
        sqs.add_permission(**{**grant, "Label": "m"}, Actions=["SendMessage"] * 8)
    sqs.remove_permission(QueueUrl=url, Label="l")
    assert attributes_of(sqs, url, "Policy") == {}
    with refused("InvalidParameterValue", "label"):
        sqs.remove_permission(QueueUrl=url, Label="l")


def test_a_deleted_queue_is_gone_and_its_name_rests(sqs: Any) -> None:
    url = queue(sqs)
    put(sqs, url, "x")
    name = url.rsplit("/", 1)[1]
    sqs.delete_queue(QueueUrl=url)
    with refused(PREFIX + "NonExistentQueue"):
        sqs.receive_message(QueueUrl=url)
    assert "QueueUrls" not in sqs.list_queues(QueueNamePrefix=name)
    with refused(PREFIX + "QueueDeletedRecently", "60 seconds"):
        sqs.create_queue(QueueName=name)


def test_a_purge_empties_waiting_delayed_and_in_flight_once_a_minute(sqs: Any) -> None:
    url = queue(sqs)
    put_many(sqs, url, ["1", "2"])
    put(sqs, url, "3", DelaySeconds=900)
    (held,) = receive(sqs, url, MaxNumberOfMessages=1)
    assert counts(sqs, url) == (1, 1, 1)
    sqs.purge_queue(QueueUrl=url)
    assert counts(sqs, url) == (0, 0, 0)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=held["ReceiptHandle"])
    with refused(PREFIX + "PurgeQueueInProgress", "60 seconds", status=403):
        sqs.purge_queue(QueueUrl=url)
    put(sqs, url, "after")
    assert counts(sqs, url) == (1, 0, 0)
    with refused(PREFIX + "NonExistentQueue"):
        sqs.purge_queue(QueueUrl=url + "-not")
