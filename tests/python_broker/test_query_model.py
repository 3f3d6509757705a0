"""Both protocols against the service model of the last botocore that spoke the query protocol: it
has what the newer ones left out, the names of lists, the result elements, the codes of errors."""

from __future__ import annotations

import urllib.parse
import xml.etree.ElementTree as ET
from typing import Any

import botocore.session
import pytest
from botocore.model import Shape
from broker_client import (
    SPACE,
    arn,
    call,
    fifo,
    new_name,
    post,
    put,
    queue,
    receive,
    redriven,
    text,
)
from test_model import inputs

MODEL = botocore.session.get_session().get_service_model("sqs")
ACTIONS = sorted(MODEL.operation_names)
WITHOUT_OUTPUT = [name for name in ACTIONS if MODEL.operation_model(name).output_shape is None]


def test_the_model_is_that_of_the_query_protocol() -> None:
    assert MODEL.metadata["protocol"] == "query"
    assert (len(ACTIONS), len(WITHOUT_OUTPUT)) == (23, 9)


def form(shape: Shape, value: Any, style: str, prefix: str = "") -> list[tuple[str, str]]:
    """The parameters of an input; lists as the style has them."""
    if shape.type_name == "structure":
        pairs = []
        for name, member in value.items():
            inner = shape.members[name]
            named = inner.member if inner.type_name == "list" else inner
            path = ".".join(filter(None, [prefix, named.serialization.get("name", name)]))
            pairs += form(inner, member, style, path)
        return pairs
    if shape.type_name in ("list", "map"):
        pairs = []
        entries = value if shape.type_name == "list" else value.items()
        for number, entry in enumerate(entries, start=1):
            bare = style == "bare" and len(value) == 1
            wrapper = ".member" if shape.type_name == "list" else ".entry"
            path = prefix + (wrapper if style == "wrapped" else "")
            path += "" if bare else f".{number}"
            if shape.type_name == "list":
                pairs += form(shape.member, entry, style, path)
            else:
                pairs.append((f"{path}.{shape.key.serialization['name']}", entry[0]))
                inner = f"{path}.{shape.value.serialization['name']}"
                pairs += form(shape.value, entry[1], style, inner)
        return pairs
    return [(prefix, str(value))]


def query(
    endpoint: str, action: str, members: Any, style: str = "numbered"
) -> tuple[int, ET.Element]:
    shape = MODEL.operation_model(action).input_shape
    pairs = [("Action", action), ("Version", "2012-11-05"), *form(shape, members, style)]
    status, headers, body = post(endpoint + "/", urllib.parse.urlencode(pairs).encode())
    assert headers["content-type"] == "text/xml"
    return status, ET.fromstring(body)


def read(shape: Shape, element: ET.Element, path: str) -> Any:
    """The value of an element, of which the model knows every part."""
    if shape.type_name != "structure":
        assert len(element) == 0, f"{path} has parts"
        return element.text or ""
    names: dict[str, tuple[str, Shape]] = {}
    for name, member in shape.members.items():
        inner = member.member if member.type_name == "list" else member
        names[SPACE + inner.serialization.get("name", name)] = (name, member)
    found: dict[str, Any] = {}
    for part in element:
        assert part.tag in names, f"{path}: the model has no {part.tag}"
        name, member = names[part.tag]
        if member.type_name == "list":
            found.setdefault(name, []).append(read(member.member, part, f"{path}.{name}"))
        elif member.type_name == "map":
            key, value = (SPACE + one.serialization["name"] for one in (member.key, member.value))
            assert [one.tag for one in part] == [key, value], f"{path}.{name}"
            entry = read(member.value, part[1], f"{path}.{name}")
            found.setdefault(name, {})[part[0].text] = entry
        else:
            assert name not in found, f"{path}.{name} is there twice"
            found[name] = read(member, part, f"{path}.{name}")
    missing = set(shape.required_members) - set(found)
    # A list that is empty has no element to show for it.
    lists = {name for name in missing if shape.members[name].type_name == "list"}
    assert missing == lists, f"{path}: {missing - lists} are required"
    return found


def result_of(action: str, answer: ET.Element) -> Any:
    """What is in the result element, which is there where and only where the model has one."""
    assert answer.tag == f"{SPACE}{action}Response"
    shape = MODEL.operation_model(action).output_shape
    parts = [] if shape is None else [SPACE + shape.serialization["resultWrapper"]]
    assert [part.tag for part in answer] == [*parts, f"{SPACE}ResponseMetadata"], action
    assert text(answer, "ResponseMetadata/RequestId")
    return None if shape is None else read(shape, answer[0], action)


@pytest.mark.parametrize("style", ["numbered", "wrapped", "bare"])
def test_each_answer_has_the_elements_of_the_model(sqs: Any, endpoint: str, style: str) -> None:
    given = inputs(sqs)
    given["ReceiveMessage"]["AttributeNames"] = given["ReceiveMessage"].pop(
        "MessageSystemAttributeNames"
    )
    assert sorted(given) == ACTIONS
    for action in sorted(given, key=lambda name: not name.startswith(("Get", "List", "Receive"))):
        status, answer = query(endpoint, action, given[action], style)
        assert status == 200, ET.tostring(answer)
        found = result_of(action, answer)
        if action in ("ReceiveMessage", "GetQueueAttributes", "ListQueueTags"):
            assert found, f"{action} found nothing"
        if "Batch" in action:
            assert len(found["Successful"]) == len(found["Failed"]) == 1, found


def empty(sqs: Any) -> dict[str, dict[str, Any]]:
    """Inputs to which there is nothing to answer."""
    _, dead = redriven(sqs, 3)
    url = queue(sqs)
    return {
        "ReceiveMessage": {"QueueUrl": url},
        "GetQueueAttributes": {"QueueUrl": url},
        "ListQueueTags": {"QueueUrl": url},
        "ListQueues": {"QueueNamePrefix": new_name()},
        "ListDeadLetterSourceQueues": {"QueueUrl": url},
        "ListMessageMoveTasks": {"SourceArn": arn(sqs, dead)},
    }


def test_an_answer_of_nothing_has_its_element_and_no_members(sqs: Any, endpoint: str) -> None:
    for action, members in empty(sqs).items():
        status, answer = query(endpoint, action, members)
        assert (status, result_of(action, answer)) == (200, {}), action
        required = MODEL.operation_model(action).output_shape.required_members
        _, _, found = call(endpoint, action, members)
        assert found == {name: [] for name in required}, action


def test_a_batch_names_only_the_outcomes_it_has(sqs: Any, endpoint: str) -> None:
    for kind, entry in {
        "SendMessage": {"Id": "1", "MessageBody": "x"},
        "DeleteMessage": {"Id": "1"},
        "ChangeMessageVisibility": {"Id": "1", "VisibilityTimeout": 60},
    }.items():
        url = queue(sqs)
        put(sqs, url, "x")
        (message,) = receive(sqs, url)
        if kind != "SendMessage":
            entry["ReceiptHandle"] = message["ReceiptHandle"]
        bad = (
            {**entry, "MessageBody": ""}
            if kind == "SendMessage"
            else {**entry, "ReceiptHandle": "?"}
        )
        action = f"{kind}Batch"
        for good, members in ((True, entry), (False, bad)):
            ask = {"QueueUrl": url, "Entries": [members]}
            expected = {"Successful"} if good else {"Failed"}
            assert set(call(endpoint, action, ask)[2]) == expected, action
            assert set(result_of(action, query(endpoint, action, ask)[1])) == expected, action


def refusals(sqs: Any) -> list[tuple[str, str, dict[str, Any]]]:
    """Errors of the model, and a request to which each is the answer."""
    url, dead = redriven(sqs, 3)
    queued = {"QueueUrl": url}
    gone = {"QueueUrl": url + "-not"}
    name = url.rsplit("/", 1)[1]
    deleted, purged = queue(sqs), queue(sqs)
    sqs.delete_queue(QueueUrl=deleted)
    sqs.purge_queue(QueueUrl=purged)
    late = fifo(sqs, VisibilityTimeout="0")
    put(sqs, late, "x", "g")
    (held,) = receive(sqs, late)
    hide = {"ReceiptHandle": held["ReceiptHandle"], "VisibilityTimeout": 1}
    large = [{"Id": str(n), "MessageBody": "x" * 600_000} for n in range(2)]
    no_queue = "QueueDoesNotExist"
    needs_queue = [
        ("ChangeMessageVisibility", {"ReceiptHandle": "x", "VisibilityTimeout": 1}),
        ("DeleteMessage", {"ReceiptHandle": "x"}),
        ("DeleteMessageBatch", {"Entries": [{"Id": "a", "ReceiptHandle": "x"}]}),
        ("DeleteQueue", {}),
        ("GetQueueAttributes", {"AttributeNames": ["All"]}),
        ("ListDeadLetterSourceQueues", {}),
        ("ListQueueTags", {}),
        ("PurgeQueue", {}),
        ("ReceiveMessage", {}),
        ("RemovePermission", {"Label": "x"}),
        ("SendMessage", {"MessageBody": "x"}),
        ("SendMessageBatch", {"Entries": [{"Id": "a", "MessageBody": "x"}]}),
        ("SetQueueAttributes", {"Attributes": {"DelaySeconds": "1"}}),
        ("TagQueue", {"Tags": {"a": "b"}}),
        ("UntagQueue", {"TagKeys": ["a"]}),
    ]
    return [
        *((no_queue, action, {**gone, **members}) for action, members in needs_queue),
        (no_queue, "GetQueueUrl", {"QueueName": name + "-not"}),
        (
            "QueueNameExists",
            "CreateQueue",
            {"QueueName": name, "Attributes": {"DelaySeconds": "7"}},
        ),
        ("QueueDeletedRecently", "CreateQueue", {"QueueName": deleted.rsplit("/", 1)[1]}),
        ("InvalidAttributeName", "GetQueueAttributes", {**queued, "AttributeNames": ["Nonsense"]}),
        ("InvalidAttributeName", "SetQueueAttributes", {**queued, "Attributes": {"Nonsense": "1"}}),
        ("InvalidMessageContents", "SendMessage", {**queued, "MessageBody": "\x01"}),
        ("ReceiptHandleIsInvalid", "DeleteMessage", {**queued, "ReceiptHandle": "?"}),
        ("MessageNotInflight", "ChangeMessageVisibility", {"QueueUrl": late, **hide}),
        ("BatchEntryIdsNotDistinct", "SendMessageBatch", {**queued, "Entries": large[:1] * 2}),
        ("BatchRequestTooLong", "SendMessageBatch", {**queued, "Entries": large}),
        (
            "TooManyEntriesInBatchRequest",
            "DeleteMessageBatch",
            {**queued, "Entries": [{"Id": str(n), "ReceiptHandle": "x"} for n in range(11)]},
        ),
        ("EmptyBatchRequest", "SendMessageBatch", {**queued, "Entries": []}),
        ("EmptyBatchRequest", "ChangeMessageVisibilityBatch", {**queued, "Entries": []}),
        (
            "InvalidBatchEntryId",
            "DeleteMessageBatch",
            {**queued, "Entries": [{"Id": "a:b", "ReceiptHandle": "x"}]},
        ),
        ("PurgeQueueInProgress", "PurgeQueue", {"QueueUrl": purged}),
        (
            "OverLimit",
            "AddPermission",
            {
                **queued,
                "Label": "x",
                "AWSAccountIds": ["111111111111"],
                "Actions": ["SendMessage"] * 8,
            },
        ),
        (
            "ResourceNotFoundException",
            "ListMessageMoveTasks",
            {"SourceArn": arn(sqs, dead) + "-not"},
        ),
    ]


def test_an_error_is_the_models_in_both_protocols(sqs: Any, endpoint: str) -> None:
    for shape, action, members in refusals(sqs):
        facts = {
            "code": shape,
            # Recorded: the model does not have this one's status.
            "httpStatusCode": 404 if shape == "ReceiptHandleIsInvalid" else 400,
            **MODEL.shape_for(shape).metadata.get("error", {}),
        }
        status, headers, body = call(endpoint, action, members)
        assert status == facts["httpStatusCode"], f"{action}: {body}"
        assert body["__type"].rsplit("#", 1)[1] == shape, f"{action}: {body}"
        assert headers["x-amzn-query-error"] == f"{facts['code']};Sender", action
        status, answer = query(endpoint, action, members)
        assert status == facts["httpStatusCode"], action
        assert text(answer, "Error/Code") == facts["code"], f"{action}: {ET.tostring(answer)}"
        assert text(answer, "Error/Type") == "Sender" and text(answer, "RequestId"), action
        assert answer.find(f"{SPACE}Error/{SPACE}Detail") is not None
        said = text(answer, "Error/Message")
        if shape == "QueueDoesNotExist":
            assert said == "The specified queue does not exist for this wsdl version."
            said = "The specified queue does not exist."
        assert said == body["message"], action


@pytest.mark.parametrize("written", ["AttributeNames=", "AttributeName=", "AttributeNames.member="])
def test_an_empty_list_is_as_if_it_were_absent(sqs: Any, endpoint: str, written: str) -> None:
    url = queue(sqs)
    for action in ("ReceiveMessage", "GetQueueAttributes"):
        data = f"Action={action}&QueueUrl={urllib.parse.quote(url)}&{written}"
        status, _, body = post(endpoint + "/", data.encode())
        assert status == 200, body
        assert result_of(action, ET.fromstring(body)) == {}


def test_a_list_of_one_needs_no_number(sqs: Any, endpoint: str) -> None:
    url = queue(sqs)

    def ask(more: str) -> bytes:
        return post(url, f"Action=GetQueueAttributes&{more}".encode())[2]

    whole = result_of("GetQueueAttributes", ET.fromstring(ask("AttributeName=All")))
    assert len(whole["Attributes"]) == 12
    assert whole == result_of("GetQueueAttributes", ET.fromstring(ask("AttributeName.1=All")))
