"""Our executor, with the consumer of an existing Python deployment at the other end."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance

from conftest import Queue, execute, stop, wait_for
from test_parity import events_of

pytest.importorskip("taskiq_aio_sqs", reason="only in the environment of the newest Dagster")


@pytest.fixture
def consumer(queue: Queue, instance: DagsterInstance, tmp_path: Path) -> Iterator[Any]:
    """``taskiq worker`` with taskiq-aio-sqs's broker on the test's queue."""
    command = [sys.executable, "-m", "taskiq", "worker", "upstream_worker:broker"]
    with (
        (tmp_path / "upstream.log").open("w") as log,
        subprocess.Popen(
            [*command, "--workers", "1", "--max-threadpool-threads", "4"],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            stop(process)


def test_upstreams_consumer_runs_what_our_executor_sends(
    instance: DagsterInstance, consumer: object, queue: Queue
) -> None:
    expected = execute("chain_job_multiprocess", instance)
    run = execute("chain_job", instance)
    assert run.is_success
    assert events_of(instance, run) == events_of(instance, expected)
    wait_for(lambda: queue.depth() == 0, "the acknowledgement of every message")
