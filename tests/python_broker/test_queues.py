"""Queues, attributes, tags, and the errors around them."""

from __future__ import annotations

import json
import sys
import uuid
from typing import Any

from harness import arn, main, queue, refused


def check_create_is_idempotent_and_names_the_attribute_that_differs(sqs: Any) -> None:
    name = uuid.uuid4().hex
    url = sqs.create_queue(QueueName=name, Attributes={"DelaySeconds": "3"})["QueueUrl"]
    assert sqs.create_queue(QueueName=name)["QueueUrl"] == url
    assert sqs.get_queue_url(QueueName=name)["QueueUrl"] == url
    assert url.endswith(f"/000000000000/{name}")
    with refused("QueueAlreadyExists", "VisibilityTimeout"):
        sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "9"})


def check_names_follow_the_rules(sqs: Any) -> None:
    for name in ["a b", "x" * 81, "ä", "x.fifo"]:
        with refused("InvalidParameterValue", "alphanumeric"):
            sqs.create_queue(QueueName=name)
    with refused("InvalidParameterValue", ".fifo"):
        sqs.create_queue(QueueName="plain", Attributes={"FifoQueue": "true"})
    with refused("InvalidAttributeName", "FifoQueue"):
        sqs.create_queue(QueueName="plain", Attributes={"FifoQueue": "false"})


def check_a_missing_queue_has_the_error_consumers_compare(sqs: Any) -> None:
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


def check_defaults_are_awss(sqs: Any) -> None:
    found = sqs.get_queue_attributes(QueueUrl=queue(sqs), AttributeNames=["All"])["Attributes"]
    assert found["VisibilityTimeout"] == "30"
    assert found["MaximumMessageSize"] == "1048576"
    assert found["MessageRetentionPeriod"] == "345600"
    assert found["DelaySeconds"] == found["ReceiveMessageWaitTimeSeconds"] == "0"
    assert found["QueueArn"].startswith("arn:aws:sqs:eu-central-1:000000000000:q-")
    assert "FifoQueue" not in found


def check_attributes_are_set_and_refused(sqs: Any) -> None:
    url = queue(sqs)
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "7", "Policy": "{}"})
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout", "Policy"])
    assert found["Attributes"] == {"VisibilityTimeout": "7", "Policy": "{}"}
    with refused("InvalidAttributeValue", "DelaySeconds"):
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"DelaySeconds": "901"})
    for name in ["Nonsense", "QueueArn", "ContentBasedDeduplication"]:
        with refused("InvalidAttributeName", name):
            sqs.set_queue_attributes(QueueUrl=url, Attributes={name: "true"})
    with refused("InvalidAttributeName"):
        sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Nonsense"])


def check_redrive_policies_are_checked(sqs: Any) -> None:
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


def check_listing_has_prefixes_and_pages(sqs: Any) -> None:
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


def check_tags_and_permissions(sqs: Any) -> None:
    url = sqs.create_queue(QueueName=uuid.uuid4().hex, tags={"a": "1"})["QueueUrl"]
    sqs.tag_queue(QueueUrl=url, Tags={"b": "2"})
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"a": "1", "b": "2"}
    sqs.untag_queue(QueueUrl=url, TagKeys=["a"])
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"b": "2"}
    sqs.add_permission(
        QueueUrl=url, Label="l", AWSAccountIds=["111111111111"], Actions=["SendMessage"]
    )
    policy = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])
    assert json.loads(policy["Attributes"]["Policy"])["Statement"][0]["Sid"] == "l"
    sqs.remove_permission(QueueUrl=url, Label="l")
    assert "Attributes" not in sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])


def check_purge_empties_once_a_minute(sqs: Any) -> None:
    url = queue(sqs)
    sqs.send_message(QueueUrl=url, MessageBody="x")
    handle = sqs.receive_message(QueueUrl=url)["Messages"][0]["ReceiptHandle"]
    sqs.purge_queue(QueueUrl=url)
    assert "Messages" not in sqs.receive_message(QueueUrl=url)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=handle)
    with refused("AWS.SimpleQueueService.PurgeQueueInProgress", "60 seconds"):
        sqs.purge_queue(QueueUrl=url)


if __name__ == "__main__":
    main(sys.modules[__name__])
