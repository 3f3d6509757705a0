"""Encrypted connections, as boto3 checks them."""

from __future__ import annotations

import os
from typing import Any

import pytest
from botocore.exceptions import SSLError
from broker_client import client, new_name, put, receive


def trusting(endpoint: str, verify: Any) -> Any:
    return client(endpoint, verify=verify)


def test_boto3_checks_the_certificate_and_gets_urls_that_lead_back(endpoint: str) -> None:
    assert endpoint.startswith("https://")
    sqs = trusting(endpoint, os.environ["DTQ_TEST_BROKER_CA"])
    url = sqs.create_queue(QueueName=new_name())["QueueUrl"]
    assert url.startswith(endpoint)
    put(sqs, url, "x")
    assert [message["Body"] for message in receive(sqs, url)] == ["x"]
    with pytest.raises(SSLError):
        trusting(endpoint, True).list_queues()
