"""The query protocol, spoken by hand: current SDKs only know the JSON one."""

from __future__ import annotations

import sys
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ET
from typing import Any

from harness import main, queue

SPACE = "{http://queue.amazonaws.com/doc/2012-11-05/}"


def ask(url: str, **parameters: str) -> tuple[int, ET.Element]:
    """A POST to a queue's URL, as old SDKs do it."""
    fields = {name.replace("_", "."): value for name, value in parameters.items()}
    data = urllib.parse.urlencode({"Version": "2012-11-05", **fields}).encode()
    try:
        with urllib.request.urlopen(url, data=data) as answer:
            return answer.status, ET.fromstring(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, ET.fromstring(error.read())


def text(root: ET.Element, path: str) -> str | None:
    return root.findtext("/".join(SPACE + part for part in path.split("/")))


def check_a_message_goes_through(sqs: Any) -> None:
    url = queue(sqs)
    status, sent = ask(
        url,
        Action="SendMessage",
        MessageBody="a <b> & c\r\n",
        MessageAttribute_1_Name="k",
        MessageAttribute_1_Value_DataType="String",
        MessageAttribute_1_Value_StringValue="v",
    )
    assert status == 200
    assert text(sent, "ResponseMetadata/RequestId")
    status, got = ask(
        url,
        Action="ReceiveMessage",
        MaxNumberOfMessages="10",
        AttributeName_1="All",
        MessageAttributeName_1="All",
    )
    message = "ReceiveMessageResult/Message/"
    assert text(got, message + "Body") == "a <b> & c\r\n"
    assert text(got, message + "MessageId") == text(sent, "SendMessageResult/MessageId")
    assert text(got, message + "MessageAttribute/Name") == "k"
    assert text(got, message + "MessageAttribute/Value/StringValue") == "v"
    names = [one.text for one in got.iter(SPACE + "Name")]
    assert "ApproximateReceiveCount" in names
    handle = text(got, message + "ReceiptHandle")
    assert handle is not None
    status, gone = ask(url, Action="DeleteMessage", ReceiptHandle=handle)
    assert status == 200 and gone.tag == SPACE + "DeleteMessageResponse"


def check_queues_are_made_and_listed(sqs: Any) -> None:
    endpoint = sys.argv[1] + "/"
    status, made = ask(
        endpoint,
        Action="CreateQueue",
        QueueName="by-query",
        Attribute_1_Name="VisibilityTimeout",
        Attribute_1_Value="12",
        Tag_1_Key="t",
        Tag_1_Value="1",
    )
    url = text(made, "CreateQueueResult/QueueUrl")
    assert status == 200 and url is not None
    _, listed = ask(endpoint, Action="ListQueues", QueueNamePrefix="by-q")
    assert text(listed, "ListQueuesResult/QueueUrl") == url
    _, shown = ask(url, Action="GetQueueAttributes", AttributeName_1="VisibilityTimeout")
    assert text(shown, "GetQueueAttributesResult/Attribute/Value") == "12"
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"t": "1"}


def check_batches_fail_in_part(sqs: Any) -> None:
    entry = "SendMessageBatchRequestEntry_"
    status, answer = ask(
        queue(sqs),
        Action="SendMessageBatch",
        **{
            entry + "1_Id": "a",
            entry + "1_MessageBody": "x",
            entry + "2_Id": "b",
            entry + "2_MessageBody": "",
        },
    )
    result = "SendMessageBatchResult/"
    assert status == 200
    assert text(answer, result + "SendMessageBatchResultEntry/Id") == "a"
    assert text(answer, result + "BatchResultErrorEntry/Code") == "MissingParameter"
    assert text(answer, result + "BatchResultErrorEntry/SenderFault") == "true"


def check_errors_have_the_old_codes(sqs: Any) -> None:
    status, error = ask(sys.argv[1] + "/000000000000/none", Action="SendMessage", MessageBody="x")
    assert status == 400
    assert text(error, "Error/Code") == "AWS.SimpleQueueService.NonExistentQueue"
    assert text(error, "Error/Type") == "Sender"
    status, error = ask(sys.argv[1] + "/", Action="Nonsense")
    assert status == 400 and text(error, "Error/Code") == "InvalidAction"
    status, error = ask(sys.argv[1] + "/")
    assert status == 400


if __name__ == "__main__":
    main(sys.modules[__name__])
