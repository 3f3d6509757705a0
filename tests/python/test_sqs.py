"""Sending: limits, large messages, and queues that are missing."""

import http.server
import json
import threading
from collections.abc import Iterator

import pytest
from dagster._core.execution.plan.outputs import StepOutputHandle
from dagster._core.execution.plan.state import KnownExecutionState
from dagster._serdes import pack_value, unpack_value

from _dagster_taskiq_host.messages import expanded
from conftest import Queue
from dagster_taskiq import sqs
from dagster_taskiq.config import resolve
from dagster_taskiq.errors import MessageTooLargeError, QueueMissingError
from dagster_taskiq.message import encode
from dagster_taskiq.sqs import Outgoing, Sender, group_id


def outgoing(queue: Queue, key: str, body: str, **fields: str) -> Outgoing:
    values = {"url": queue.url, "group": "g", "deduplication": key, **fields}
    return Outgoing(key=key, task_id=f"task-{key}", body=body, **values)


def test_many_messages_arrive_each_once(queue: Queue) -> None:
    sender = Sender(resolve({}))
    sent = sender.send([outgoing(queue, f"k{n}", json.dumps(n)) for n in range(25)])
    assert not sent.failed
    assert len(sent.sent) == 25
    assert sorted(message["decoded"] for message in queue.receive()) == list(range(25))


def test_messages_that_are_too_much_for_one_batch_are_sent_in_several(queue: Queue) -> None:
    sender = Sender(resolve({}))
    body = json.dumps("x" * 250_000)
    sent = sender.send([outgoing(queue, f"k{n}", body) for n in range(6)])
    assert not sent.failed
    assert len(queue.receive()) == 6


def test_a_message_over_the_queues_limit_fails_alone_and_names_size_and_setting(
    sqs, queue: Queue
) -> None:
    sqs.set_queue_attributes(QueueUrl=queue.url, Attributes={"MaximumMessageSize": "262144"})
    sender = Sender(resolve({}))
    big = encode("task", "execute_plan", {}, {"x": "x" * 300_000})
    sent = sender.send([outgoing(queue, "big", big), outgoing(queue, "small", '"x"')])
    assert set(sent.sent) == {"small"}
    error = sent.failed["big"]
    assert isinstance(error, MessageTooLargeError)
    for part in (f"{len(big)} bytes", "262144", "DAGSTER_TASKIQ_S3_BUCKET_NAME"):
        assert part in str(error)


def test_a_step_that_collects_thousands_of_outputs_is_sent_with_its_state_compressed(
    sqs, queue: Queue
) -> None:
    sqs.set_queue_attributes(QueueUrl=queue.url, Attributes={"MaximumMessageSize": "262144"})
    keys = [f"k{n}" for n in range(5000)]
    state = KnownExecutionState(
        dynamic_mappings={"fan": {"result": keys}},
        ready_outputs={StepOutputHandle(f"work[{key}]", "result") for key in keys},
    )
    packed = {"step_keys_to_execute": ["all"], "known_state": pack_value(state)}
    body = encode("task", "execute_plan", {}, {"execute_step_args_packed": packed})
    assert len(body) > 500_000
    sent = Sender(resolve({})).send([outgoing(queue, "all", body)])
    assert not sent.failed
    (message,) = queue.receive()
    found = expanded(message["decoded"]["kwargs"]["execute_step_args_packed"])
    assert unpack_value(found["known_state"]) == state
    assert len(json.dumps(message["decoded"])) < 100_000


def test_a_missing_queue_is_replaced_by_its_fallback_with_one_notice(queue: Queue) -> None:
    sender = Sender(resolve({}))
    gone = f"{queue.url}-gone"
    first = [outgoing(queue, f"k{n}", str(n), url=gone, fallback_url=queue.url) for n in range(3)]
    sent = sender.send(first)
    assert set(sent.sent.values()) == {queue.url}
    assert len(sent.notices) == 1
    assert sender.send([outgoing(queue, "k3", "3", url=gone, fallback_url=queue.url)]).notices == []
    assert len(queue.receive()) == 4


def test_a_queue_that_is_created_later_is_used_from_then_on(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = Sender(resolve({}))
    late = f"{queue.url}-late"
    send = [outgoing(queue, "k", "1", url=late, fallback_url=queue.url)]
    assert sender.send(send).sent == {"k": queue.url}
    created = queue.beside("late")
    assert sender.send(send).sent == {"k": queue.url}
    monkeypatch.setattr(sqs, "LOOK_AGAIN_AFTER", 0.0)
    assert sender.send(send).sent == {"k": late}
    assert created.depth() == 1


def test_a_missing_queue_without_a_fallback_fails(queue: Queue) -> None:
    sent = Sender(resolve({})).send([outgoing(queue, "k", "1", url=f"{queue.url}-gone")])
    assert isinstance(sent.failed["k"], QueueMissingError)


@pytest.fixture
def bucket() -> Iterator[tuple[str, dict[str, bytes]]]:
    """A server that keeps what is PUT, as an S3 endpoint does."""
    kept: dict[str, bytes] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            kept[self.path] = self._body()
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                data = self.rfile.read(int(self.headers["Content-Length"]))
                if "aws-chunked" not in self.headers.get("Content-Encoding", ""):
                    return data
                size, _, rest = data.partition(b"\r\n")
                return rest[: int(size.split(b";")[0], 16)]
            found = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return found

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", kept
        server.shutdown()
        thread.join()


def test_a_large_message_goes_through_the_bucket(
    queue: Queue, bucket: tuple[str, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, kept = bucket
    monkeypatch.setenv("DAGSTER_TASKIQ_S3_BUCKET_NAME", "large")
    monkeypatch.setenv("DAGSTER_TASKIQ_S3_ENDPOINT_URL", url)
    body = json.dumps("x" * 300_000)
    sent = Sender(resolve({})).send([outgoing(queue, "big", body)])
    assert not sent.failed
    (message,) = queue.receive()
    assert message["decoded"] == {"s3_bucket": "large", "s3_key": "task-big.json"}
    attribute = message["MessageAttributes"]["s3_extended_message"]
    assert (attribute["StringValue"], attribute["DataType"]) == ("True", "String")
    assert kept == {"/large/task-big.json": body.encode()}


def test_a_group_id_fits_sqs() -> None:
    assert group_id("run", "step[a]") == "run/step[a]"
    assert len(group_id("run", "s" * 200)) == 64
    assert len(group_id("run", "ünïcode")) == 64
