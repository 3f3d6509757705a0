"""Where settings come from, and which of two wins."""

import http.server
import threading
from collections.abc import Iterator

import pytest

from conftest import Queue
from dagster_taskiq import aws
from dagster_taskiq.config import resolve, with_suffix
from dagster_taskiq.errors import ConfigurationError, NoQueueError

AWS_URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/tasks"


@pytest.mark.parametrize(
    ("config", "env", "region"),
    [
        ({"region_name": "a-b-1", "queue_url": AWS_URL}, {"AWS_REGION": "c-d-1"}, "a-b-1"),
        ({"queue_url": AWS_URL}, {"AWS_REGION": "c-d-1"}, "eu-west-1"),
        ({}, {"DAGSTER_TASKIQ_SQS_QUEUE_URL": AWS_URL, "AWS_REGION": "c-d-1"}, "eu-west-1"),
        ({"queue_url": "http://h/1/q"}, {"AWS_REGION": "c", "AWS_DEFAULT_REGION": "d"}, "c"),
        ({"queue_url": "http://h/1/q"}, {"AWS_DEFAULT_REGION": "d"}, "d"),
        ({}, {}, "us-east-1"),
        ({"queue_url": "https://us-west-2.queue.amazonaws.com/1/q"}, {}, "us-west-2"),
        ({"queue_url": "https://sqs.cn-north-1.amazonaws.com.cn/1/q"}, {}, "cn-north-1"),
        ({"queue_url": "https://sqs-fips.us-gov-west-1.amazonaws.com/1/q"}, {}, "us-gov-west-1"),
        ({"queue_url": "https://v-1.sqs.eu-west-3.vpce.amazonaws.com/1/q"}, {}, "eu-west-3"),
    ],
)
def test_the_region_is_the_first_that_is_named(
    config: dict[str, str], env: dict[str, str], region: str
) -> None:
    assert resolve(config, env).region == region


def test_configuration_wins_over_config_source_and_that_over_the_environment() -> None:
    env = {"DAGSTER_TASKIQ_SQS_ENDPOINT_URL": "http://env"}
    source = {"config_source": {"endpoint_url": "http://source", "s3_bucket_name": "b", "odd": 1}}
    assert resolve({"endpoint_url": "http://own", **source}, env).endpoint_url == "http://own"
    found = resolve(source, env)
    assert found.endpoint_url == "http://source"
    assert found.s3_bucket == "b"
    assert found.unknown_keys == ("odd",)
    assert resolve({}, env).endpoint_url == "http://env"


def test_a_queue_url_that_is_not_awss_names_the_endpoint() -> None:
    assert resolve({"queue_url": "http://10.0.0.1:99/0/q"}, {}).endpoint_url == "http://10.0.0.1:99"
    assert resolve({"queue_url": AWS_URL}, {}).endpoint_url is None
    assert resolve({}, {}).endpoint_url == "http://127.0.0.1:9324"


def test_an_endpoint_without_a_scheme_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="endpoint_url is 'localhost:4566'"):
        resolve({"endpoint_url": "localhost:4566"}, {})


def test_a_suffix_goes_before_fifo() -> None:
    assert with_suffix("http://h/1/q.fifo", "runs") == "http://h/1/q-runs.fifo"


@pytest.fixture
def stranger() -> Iterator[str]:
    """A program that listens and is not a broker of ours."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"server": "something else"}')

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_another_program_at_the_default_address_is_not_taken_for_our_broker(stranger: str) -> None:
    settings = resolve({"endpoint_url": stranger}, {})
    with pytest.raises(NoQueueError, match=f"no dagster-taskiq-tui broker answers at {stranger}"):
        aws.base_queue_url(settings, aws.sqs_client(settings))


def test_our_broker_is_known_by_its_answer(endpoint: str, queue: Queue) -> None:
    assert aws.is_our_broker(endpoint)
    settings = resolve({"endpoint_url": endpoint}, {})
    url = aws.base_queue_url(settings, aws.sqs_client(settings))
    assert url.endswith("/dagster-tasks")


def test_a_loopback_endpoint_needs_no_credentials(queue: Queue) -> None:
    settings = resolve({})
    assert not settings.credentials
    aws.sqs_client(settings).get_queue_attributes(QueueUrl=queue.url, AttributeNames=["All"])
