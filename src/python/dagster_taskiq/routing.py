"""Queue and priority of a step or run. Pure functions of tags."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from dagster_taskiq.config import Band, Settings, queue_name, with_suffix
from dagster_taskiq.tags import (
    DAGSTER_TASKIQ_ISOLATION_TAG,
    DAGSTER_TASKIQ_PRIORITY_TAG,
    DAGSTER_TASKIQ_QUEUE_TAG,
    DAGSTER_TASKIQ_RUN_PRIORITY_TAG,
    DEFAULT_RUN_PRIORITY,
    DEFAULT_STEP_PRIORITY,
    ISOLATION_MODES,
)

DAGSTER_PRIORITY_TAG = "dagster/priority"

#: Name of the only queue of the Python system that this one replaces.
_LEGACY_BASE_NAME = "dagster"
#: The band that is the base queue itself.
NORMAL_BAND = "normal"
#: Suffix of the queue that runs travel on.
RUNS_SUFFIX = "runs"


@dataclass(frozen=True)
class Route:
    """Destination of a message.

    ``fallback_url`` is the queue to use if ``url`` does not exist; ``warnings`` are sentences for
    the run's log, each to be logged once. ``isolation`` is the process isolation that the step
    requests; None is the worker's setting.
    """

    queue: str
    url: str
    priority: int
    fallback_url: str | None = None
    warnings: tuple[str, ...] = ()
    isolation: str | None = None


class Router:
    """Routes of one run, whose tags are known at its start."""

    def __init__(self, settings: Settings, base_url: str, run_tags: Mapping[str, str]):
        self._settings = settings
        self._base_url = base_url
        self._base_name = queue_name(base_url)
        self._run_tags = run_tags
        self._run_priority, self._run_warnings = _integer(
            run_tags, DAGSTER_TASKIQ_RUN_PRIORITY_TAG, DEFAULT_RUN_PRIORITY
        )

    def step(self, step_tags: Mapping[str, str]) -> Route:
        """Route of a step: its own tags come before the run's, and those before the default."""
        own, warnings = _integer(step_tags, DAGSTER_TASKIQ_PRIORITY_TAG, DEFAULT_STEP_PRIORITY)
        priority = own + self._run_priority
        warnings = [*self._run_warnings, *warnings, *_foreign_priority(step_tags, self._run_tags)]
        name = step_tags.get(DAGSTER_TASKIQ_QUEUE_TAG) or self._run_tags.get(
            DAGSTER_TASKIQ_QUEUE_TAG
        )
        isolation = _isolation(step_tags, self._run_tags, warnings)
        return replace(self._route(name, priority, warnings), isolation=isolation)

    def run(self) -> Route:
        """Route of the run itself: the queue for runs, or the base queue if there is none."""
        return Route(
            queue=queue_name(with_suffix(self._base_url, RUNS_SUFFIX)),
            url=with_suffix(self._base_url, RUNS_SUFFIX),
            priority=DEFAULT_STEP_PRIORITY + self._run_priority,
            fallback_url=self._base_url,
            warnings=tuple(self._run_warnings),
        )

    def _route(self, name: str | None, priority: int, warnings: list[str]) -> Route:
        name = name or self._settings.default_queue
        if name in (None, _LEGACY_BASE_NAME, self._base_name) and name not in self._settings.queues:
            return self._banded(priority, warnings)
        url = self._settings.queues.get(name or "")
        if url is None:
            known = ", ".join(sorted(self._settings.queues)) or "none is configured"
            warnings.append(
                f"The queue {name!r} is not in the executor's `queues` ({known});"
                f" using {self._base_name}."
            )
            return self._banded(priority, warnings)
        return Route(queue_name(url), url, priority, None, tuple(warnings))

    def _banded(self, priority: int, warnings: list[str]) -> Route:
        band = band_for(self._settings.bands, priority)
        if band is None or band.name == NORMAL_BAND:
            return Route(self._base_name, self._base_url, priority, None, tuple(warnings))
        url = with_suffix(self._base_url, band.name)
        return Route(queue_name(url), url, priority, self._base_url, tuple(warnings))


def band_for(bands: tuple[Band, ...], priority: int) -> Band | None:
    """The first band, from the highest, whose minimum the priority reaches."""
    for band in bands:
        if band.minimum is None or priority >= band.minimum:
            return band
    return bands[-1] if bands else None


def order_in_run(step_tags: Mapping[str, str]) -> tuple[int, int]:
    """Sort key of a run's ready steps: the lowest is sent first.

    By our own tag; among steps without it by ``dagster/priority``, as in Dagster's own executors.
    """
    own = _integer(step_tags, DAGSTER_TASKIQ_PRIORITY_TAG, DEFAULT_STEP_PRIORITY)[0]
    if DAGSTER_TASKIQ_PRIORITY_TAG in step_tags:
        return -own, 0
    return -own, -_integer(step_tags, DAGSTER_PRIORITY_TAG, 0)[0]


def _isolation(
    step_tags: Mapping[str, str], run_tags: Mapping[str, str], warnings: list[str]
) -> str | None:
    tag = DAGSTER_TASKIQ_ISOLATION_TAG
    mode = step_tags.get(tag) or run_tags.get(tag)
    if mode is None or mode in ISOLATION_MODES:
        return mode
    known = ", ".join(ISOLATION_MODES)
    warnings.append(f"The tag {tag} is {mode!r}, which is none of {known}; using the worker's.")
    return None


def _integer(tags: Mapping[str, str], tag: str, default: int) -> tuple[int, list[str]]:
    text = tags.get(tag)
    if text is None:
        return default, []
    try:
        return int(text), []
    except ValueError:
        return default, [f"The tag {tag} is {text!r}, which is not an integer; using {default}."]


def _foreign_priority(step_tags: Mapping[str, str], run_tags: Mapping[str, str]) -> list[str]:
    ours = (DAGSTER_TASKIQ_PRIORITY_TAG in step_tags) or (
        DAGSTER_TASKIQ_RUN_PRIORITY_TAG in run_tags
    )
    if ours or DAGSTER_PRIORITY_TAG not in step_tags:
        return []
    return [
        f"Only {DAGSTER_PRIORITY_TAG} is set, which orders steps within a run but not the messages"
        f" in SQS; set {DAGSTER_TASKIQ_PRIORITY_TAG} as well."
    ]
