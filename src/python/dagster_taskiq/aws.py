"""boto3 clients, and the check for a broker of our own at the default address."""

import contextlib
import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

from dagster_taskiq.config import (
    DEFAULT_ENDPOINT,
    DEFAULT_QUEUE_NAME,
    ENV_QUEUE_URL,
    Settings,
    is_loopback,
)
from dagster_taskiq.errors import NoQueueError, translate

if TYPE_CHECKING:
    from botocore.session import Session

#: Answer of our broker to ``GET /`` under the key ``server``.
SERVER_NAME = "dagster-taskiq-tui"
_IDENTIFY_TIMEOUT = 3.0

#: botocore's service descriptions, by the folder that a profile may add to its own. Reading them is
#: most of the cost of a client.
_loaders: dict[str | None, Any] = {}


def sqs_client(settings: Settings) -> Any:
    """A boto3 client for SQS. Thread-safe; one per run is enough."""
    return _client("sqs", settings, settings.endpoint_url, read_timeout=30)


def s3_client(settings: Settings) -> Any:
    """A boto3 client for S3, with path-style addresses if an endpoint is configured."""
    return _client("s3", settings, settings.s3_endpoint_url, read_timeout=60)


def _client(service: str, settings: Settings, endpoint: str | None, read_timeout: int) -> Any:
    import boto3
    from botocore.config import Config

    try:
        core = _session(settings.credentials.get("profile_name"))
        options: dict[str, Any] = {
            key: value for key, value in settings.credentials.items() if key != "profile_name"
        }
        if endpoint and is_loopback(endpoint) and "aws_access_key_id" not in options:
            options.update(_loopback_credentials(core))
        extra: dict[str, Any] = {"s3": {"addressing_style": "path"}} if endpoint else {}
        config = Config(
            connect_timeout=3,
            read_timeout=read_timeout,
            retries={"mode": "standard", "total_max_attempts": 4},
            tcp_keepalive=True,
            **(extra if service == "s3" else {}),
        )
        return boto3.Session(botocore_session=core).client(
            service,
            region_name=settings.region,
            endpoint_url=endpoint,
            config=config,
            **options,
        )
    except Exception as error:
        raise translate(
            error, tried=f"create an AWS {service} client", target=endpoint or settings.region
        ) from error


def _session(profile: str | None = None) -> "Session":
    """A botocore session that reads each service description only once."""
    import botocore.session

    core = botocore.session.Session(profile=profile)
    folder = core.get_config_variable("data_path")
    if folder in _loaders:
        core.register_component("data_loader", _loaders[folder])
    else:
        _loaders[folder] = core.get_component("data_loader")
    return core


def warm_up() -> None:
    """Load what a client of SQS needs, for the processes that are forked from this one.

    No request is sent. Errors of the configuration are left to the users of the client.
    """
    with contextlib.suppress(Exception):
        import boto3

        boto3.Session(botocore_session=_session()).client(
            "sqs",
            region_name="us-east-1",
            endpoint_url="http://127.0.0.1",
            aws_access_key_id="-",
            aws_secret_access_key="-",
        )


def _loopback_credentials(core: "Session") -> dict[str, str]:
    """Dummy credentials if none are found, without a metadata service.

    The metadata look-up takes seconds to fail on a machine that is not in AWS, and a broker on this
    machine ignores the credentials.
    """
    resolver = core.get_component("credential_provider")
    for provider in ("iam-role", "container-role"):
        resolver.remove(provider)
    if core.get_credentials() is not None:
        return {}
    return {"aws_access_key_id": "dagster-taskiq", "aws_secret_access_key": "dagster-taskiq"}


def is_our_broker(endpoint: str) -> bool:
    """Whether a dagster-taskiq-tui broker listens there: other programs use the same port."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(endpoint, timeout=_IDENTIFY_TIMEOUT) as answer:
            found = json.loads(answer.read(65536))
    except (OSError, urllib.error.URLError, ValueError):
        return False
    return isinstance(found, dict) and found.get("server") == SERVER_NAME


def base_queue_url(settings: Settings, client: Any) -> str:
    """URL of the base queue, looked up by name if no URL is configured.

    Raises:
        NoQueueError: no queue is configured and no broker of ours answers.
        DagsterTaskiqError: the look-up failed.

    """
    configured = settings.queue_url
    if configured and configured.startswith(("http://", "https://")):
        return configured
    endpoint = settings.endpoint_url or DEFAULT_ENDPOINT
    if not configured and not is_our_broker(endpoint):
        raise NoQueueError(
            f"No queue is configured and no dagster-taskiq-tui broker answers at {endpoint}:"
            f" start dagster-taskiq-tui, or set {ENV_QUEUE_URL} (or queue_url)."
        )
    name = configured or DEFAULT_QUEUE_NAME
    try:
        return str(client.get_queue_url(QueueName=name)["QueueUrl"])
    except Exception as error:
        missing = getattr(client.exceptions, "QueueDoesNotExist", ())
        if configured or not isinstance(error, missing):
            raise translate(error, tried="look up the queue", target=name) from error
    # Our own broker, to which no request has been sent yet.
    try:
        return str(client.create_queue(QueueName=name)["QueueUrl"])
    except Exception as error:
        raise translate(error, tried="create the queue", target=f"{name} at {endpoint}") from error
