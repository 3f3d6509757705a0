"""Settings shared by executor, launcher and Taskiq app: their sources and their meaning.

Each value is looked up in the explicit configuration, then in ``config_source``, then in the
environment, then in the default.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from dagster import Array, Field, Noneable, Permissive, Shape, StringSource
from dagster import Map as DagsterMap

from dagster_taskiq.errors import ConfigurationError

DEFAULT_ENDPOINT = "http://127.0.0.1:9324"
DEFAULT_QUEUE_NAME = "dagster-tasks"
DEFAULT_REGION = "us-east-1"

ENV_QUEUE_URL = "DAGSTER_TASKIQ_SQS_QUEUE_URL"
ENV_ENDPOINT_URL = "DAGSTER_TASKIQ_SQS_ENDPOINT_URL"
ENV_S3_BUCKET = "DAGSTER_TASKIQ_S3_BUCKET_NAME"
ENV_S3_ENDPOINT = "DAGSTER_TASKIQ_S3_ENDPOINT_URL"

#: Names that no band can have: of the queues of dead letters and of runs beside the base queue.
NOT_BANDS = ("dead", "runs")

#: Additional keys of ``config_source``.
CONFIG_SOURCE_KEYS = frozenset(
    {
        "queue_url",
        "region_name",
        "endpoint_url",
        "default_queue",
        "queues",
        "priority_bands",
        "s3_bucket_name",
        "s3_endpoint_url",
        "aws_access_key_id",
        "aws_secret_access_key",
        "aws_session_token",
        "profile_name",
    }
)

_AWS_HOST_REGION = re.compile(r"(?:^|\.)sqs(?:-fips)?\.([a-z]{2}(?:-[a-z]+)+-\d+)\.")
_LEGACY_HOST_REGION = re.compile(r"^([a-z]{2}(?:-[a-z]+)+-\d+)\.queue\.amazonaws\.")
_AWS_HOST = re.compile(
    r"(?:^|\.)(?:amazonaws\.com(?:\.cn)?|api\.aws|api\.amazonwebservices\.com\.cn)$"
)


def queue_config_fields() -> dict[str, Field]:
    """The configuration keys that executor and launcher have in common."""
    optional = {"is_required": False}
    return {
        "queue_url": Field(
            StringSource,
            **optional,
            description=f"URL (or name) of the base queue. Default: ${ENV_QUEUE_URL}, else the"
            f" queue {DEFAULT_QUEUE_NAME} of a dagster-taskiq-tui broker at {DEFAULT_ENDPOINT}.",
        ),
        "region_name": Field(
            StringSource,
            **optional,
            description="AWS region. Default: the one in the queue URL, then $AWS_REGION, then"
            f" $AWS_DEFAULT_REGION, then {DEFAULT_REGION}.",
        ),
        "endpoint_url": Field(
            StringSource,
            **optional,
            description=f"SQS endpoint other than AWS's own. Default: ${ENV_ENDPOINT_URL}.",
        ),
        "default_queue": Field(
            StringSource,
            **optional,
            description="Name from `queues` used where no tag names one. Default: the base queue.",
        ),
        "queues": Field(
            DagsterMap(str, StringSource),
            **optional,
            description="Further queues by name; the tag dagster-taskiq/queue picks one.",
        ),
        "priority_bands": Field(
            Array(Shape({"name": str, "min": Field(int, is_required=False)})),
            **optional,
            description="Queues by priority: a message goes to the first band whose `min` its"
            " priority reaches. The band `normal` is the base queue, any other the queue"
            " `<base>-<name>`.",
        ),
        "config_source": Field(
            Noneable(Permissive()),
            **optional,
            description="Further settings: s3_bucket_name, s3_endpoint_url, profile_name,"
            " aws_access_key_id, aws_secret_access_key, aws_session_token.",
        ),
    }


@dataclass(frozen=True)
class Band:
    """One priority band; ``minimum`` is the lowest priority it takes, None for any."""

    name: str
    minimum: int | None


@dataclass(frozen=True)
class Settings:
    """Resolved settings. ``queue_url`` is None if none is configured."""

    queue_url: str | None
    region: str
    endpoint_url: str | None
    default_queue: str | None = None
    queues: Mapping[str, str] = field(default_factory=dict)
    bands: tuple[Band, ...] = ()
    s3_bucket: str | None = None
    s3_endpoint_url: str | None = None
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    unknown_keys: tuple[str, ...] = ()


def resolve(config: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Settings:
    """Combine configuration and environment.

    Raises:
        ConfigurationError: a value is invalid; the text names its key.

    """
    env = os.environ if environ is None else environ
    extra: Mapping[str, Any] = config.get("config_source") or {}

    def value(key: str, *env_names: str) -> Any:
        found = [config.get(key), extra.get(key), *(env.get(name) for name in env_names)]
        return next((item for item in found if item not in (None, "")), None)

    queue_url = value("queue_url", ENV_QUEUE_URL)
    endpoint = value("endpoint_url", ENV_ENDPOINT_URL) or _endpoint_of(queue_url)
    if endpoint is None and queue_url is None:
        endpoint = DEFAULT_ENDPOINT
    for key, url in (
        ("endpoint_url", endpoint),
        ("s3_endpoint_url", value("s3_endpoint_url", ENV_S3_ENDPOINT)),
    ):
        if url is not None and urlsplit(str(url)).scheme not in ("http", "https"):
            raise ConfigurationError(
                f"{key} is {url!r}, which is not a URL; write it with http:// or https://."
            )
    region = config.get("region_name") or extra.get("region_name") or region_of(queue_url)
    return Settings(
        queue_url=queue_url,
        region=region or env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or DEFAULT_REGION,
        endpoint_url=endpoint,
        default_queue=value("default_queue"),
        queues=dict(value("queues") or {}),
        bands=parse_bands(value("priority_bands") or ()),
        s3_bucket=value("s3_bucket_name", ENV_S3_BUCKET),
        s3_endpoint_url=value("s3_endpoint_url", ENV_S3_ENDPOINT),
        credentials={
            key: str(extra[key])
            for key in (
                "aws_access_key_id",
                "aws_secret_access_key",
                "aws_session_token",
                "profile_name",
            )
            if extra.get(key)
        },
        unknown_keys=tuple(sorted(set(extra) - CONFIG_SOURCE_KEYS)),
    )


def parse_bands(raw: Sequence[Mapping[str, Any]]) -> tuple[Band, ...]:
    """Bands from the highest minimum to the lowest; the one without a minimum is last.

    Raises:
        ConfigurationError: two bands of one name or minimum, or an unusable name.

    """
    bands = [Band(str(item["name"]), item.get("min")) for item in raw]
    names = [band.name for band in bands]
    minimums = [band.minimum for band in bands]
    if len(set(names)) != len(names) or len(set(minimums)) != len(minimums):
        raise ConfigurationError(
            f"priority_bands {[(b.name, b.minimum) for b in bands]} repeats a name or a minimum;"
            " give every band its own, and leave `min` out of the lowest one only."
        )
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise ConfigurationError(
                f"priority_bands names a band {name!r}; use letters, digits, - and _ only."
            )
        if name in NOT_BANDS:
            raise ConfigurationError(
                f"priority_bands names a band {name!r}, and the queue <base>-{name} is"
                " dagster-taskiq's own; take another name."
            )
    return tuple(sorted(bands, key=lambda band: (band.minimum is None, -(band.minimum or 0))))


def region_of(queue_url: str | None) -> str | None:
    """The AWS region in the host of a queue URL."""
    host = urlsplit(queue_url or "").hostname or ""
    match = _AWS_HOST_REGION.search(host) or _LEGACY_HOST_REGION.search(host)
    return match.group(1) if match else None


def is_loopback(url: str) -> bool:
    """Whether a URL's host is this machine's loopback address."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.") or host.endswith(".localhost")


def queue_name(url_or_name: str) -> str:
    """The queue's name: the last segment of its URL."""
    return url_or_name.rstrip("/").rsplit("/", 1)[-1]


def with_suffix(url_or_name: str, suffix: str) -> str:
    """The queue beside this one whose name ends in ``-suffix``; ``.fifo`` stays last."""
    if url_or_name.endswith(".fifo"):
        return f"{url_or_name.removesuffix('.fifo')}-{suffix}.fifo"
    return f"{url_or_name}-{suffix}"


def _endpoint_of(queue_url: str | None) -> str | None:
    """The endpoint in a queue URL whose host is not one of AWS."""
    parts = urlsplit(queue_url or "")
    if parts.scheme not in ("http", "https") or _AWS_HOST.search(parts.hostname or ""):
        return None
    return f"{parts.scheme}://{parts.netloc}"
