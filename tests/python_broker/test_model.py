"""Every action of botocore's service model is answered, in the shape the model gives its answer."""

from __future__ import annotations

from typing import Any

import botocore.session
from botocore.model import Shape
from broker_client import arn, call, new_name, put, queue, receive, redriven

MODEL = botocore.session.get_session().get_service_model("sqs")
KINDS = {"string": str, "integer": int, "long": int, "boolean": bool, "blob": str, "timestamp": int}


def check(shape: Shape, value: Any, path: str) -> None:
    """The value has the shape: no member the model does not know, none missing that it requires."""
    if shape.type_name == "structure":
        unknown = set(value) - set(shape.members)
        assert not unknown, f"{path}: the model has no {unknown}"
        missing = set(shape.required_members) - set(value)
        assert not missing, f"{path}: {missing} are required"
        for name, member in value.items():
            check(shape.members[name], member, f"{path}.{name}")
    elif shape.type_name == "list":
        for member in value:
            check(shape.member, member, f"{path}[]")
    elif shape.type_name == "map":
        for name, member in value.items():
            check(shape.key, name, f"{path} key")
            check(shape.value, member, f"{path}.{name}")
    else:
        assert isinstance(value, KINDS[shape.type_name]), f"{path}: {value!r}"


def inputs(sqs: Any) -> dict[str, dict[str, Any]]:
    """An input for each action that it accepts and, where it can, answers fully."""
    url, dead = redriven(sqs, 3)
    slow, slow_dead = redriven(sqs, 3)
    for number in range(3):
        put(sqs, slow_dead, str(number))
    source = arn(sqs, slow_dead)
    task = sqs.start_message_move_task(
        SourceArn=source, DestinationArn=arn(sqs, slow), MaxNumberOfMessagesPerSecond=1
    )
    put(sqs, dead, "moved")
    attribute = {"n": {"DataType": "Number", "StringValue": "1"}}
    trace = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1"}}
    for number in range(5):
        put(sqs, url, str(number), MessageAttributes=attribute, MessageSystemAttributes=trace)
    held = [message["ReceiptHandle"] for message in receive(sqs, url)]
    put(sqs, url, "waits", MessageAttributes=attribute, MessageSystemAttributes=trace)
    sqs.tag_queue(QueueUrl=url, Tags={"a": "1"})
    permission = {"Label": "x", "AWSAccountIds": ["111111111111"], "Actions": ["SendMessage"]}
    sqs.add_permission(QueueUrl=url, **permission)
    bad = {"Id": "bad", "ReceiptHandle": "garbage"}
    return {
        "AddPermission": {"QueueUrl": url, **permission, "Label": "y"},
        "CancelMessageMoveTask": {"TaskHandle": task["TaskHandle"]},
        "ChangeMessageVisibility": {
            "QueueUrl": url,
            "ReceiptHandle": held[0],
            "VisibilityTimeout": 60,
        },
        "ChangeMessageVisibilityBatch": {
            "QueueUrl": url,
            "Entries": [
                {"Id": "good", "ReceiptHandle": held[1], "VisibilityTimeout": 60},
                {**bad, "VisibilityTimeout": 60},
            ],
        },
        "CreateQueue": {"QueueName": new_name()},
        "DeleteMessage": {"QueueUrl": url, "ReceiptHandle": held[2]},
        "DeleteMessageBatch": {
            "QueueUrl": url,
            "Entries": [{"Id": "good", "ReceiptHandle": held[3]}, bad],
        },
        "DeleteQueue": {"QueueUrl": queue(sqs)},
        "GetQueueAttributes": {"QueueUrl": url, "AttributeNames": ["All"]},
        "GetQueueUrl": {"QueueName": url.rsplit("/", 1)[-1]},
        "ListDeadLetterSourceQueues": {"QueueUrl": dead, "MaxResults": 10},
        "ListMessageMoveTasks": {"SourceArn": source},
        "ListQueueTags": {"QueueUrl": url},
        "ListQueues": {"MaxResults": 1},
        "PurgeQueue": {"QueueUrl": queue(sqs)},
        "ReceiveMessage": {
            "QueueUrl": url,
            "MessageSystemAttributeNames": ["All"],
            "MessageAttributeNames": ["All"],
        },
        "RemovePermission": {"QueueUrl": url, "Label": "x"},
        "SendMessage": {"QueueUrl": url, "MessageBody": "x", "MessageAttributes": attribute},
        "SendMessageBatch": {
            "QueueUrl": url,
            "Entries": [
                {"Id": "good", "MessageBody": "x", "MessageAttributes": attribute},
                {"Id": "bad", "MessageBody": ""},
            ],
        },
        "SetQueueAttributes": {"QueueUrl": url, "Attributes": {"DelaySeconds": "1"}},
        "StartMessageMoveTask": {"SourceArn": arn(sqs, dead)},
        "TagQueue": {"QueueUrl": url, "Tags": {"b": "2"}},
        "UntagQueue": {"QueueUrl": url, "TagKeys": ["a"]},
    }


def test_each_answer_has_the_shape_of_the_service_model(sqs: Any, endpoint: str) -> None:
    given = inputs(sqs)
    assert set(given) == set(MODEL.operation_names)
    # What lists and takes comes first: before anything it should find is gone.
    for action in sorted(given, key=lambda name: not name.startswith(("Get", "List", "Receive"))):
        status, _, answer = call(endpoint, action, given[action])
        assert status == 200, f"{action}: {answer}"
        shape = MODEL.operation_model(action).output_shape
        if shape is None:
            assert answer in ({}, None), action
            continue
        check(shape, answer, action)
        if not action.startswith(("Set", "Tag", "Untag", "Change", "Delete", "Purge")):
            assert answer or not shape.members, f"{action} answered nothing"
        if "Failed" in shape.members:
            assert len(answer["Successful"]) == len(answer["Failed"]) == 1, answer
