"""Fixtures of the broker's tests: they run against a broker that is already there."""

from __future__ import annotations

import os
from typing import Any

import pytest
from broker_client import client


@pytest.fixture(scope="session")
def endpoint() -> str:
    """The broker's endpoint; `cargo test --test sqs_server boto3` starts one and names it."""
    named = os.environ.get("DTQ_TEST_BROKER_ENDPOINT")
    if not named:
        pytest.fail("DTQ_TEST_BROKER_ENDPOINT names no broker to test")
    return named


@pytest.fixture(scope="session")
def sqs(endpoint: str) -> Any:
    return client(endpoint, max_pool_connections=100)
