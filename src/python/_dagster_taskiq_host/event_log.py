"""The attempts of a step in Dagster's event log: their starts, ends and outcomes.

Every attempt ends with one terminal event, so the n-th attempt is between the (n-1)-th and the
n-th. This also holds for an attempt whose resources failed to initialise: it has no STEP_START, and
its terminal event is written by the executor. A process that was cut off and came back may write a
surplus end of an attempt that was ended for it. Therefore terminal events carry the number of their
attempt, and those without one follow a sign that a further attempt was sent.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from dagster import DagsterEvent, DagsterEventType, DagsterInstance
from dagster._core.events.log import EventLogEntry

from . import step_log

TERMINAL = frozenset(
    {
        DagsterEventType.STEP_SUCCESS,
        DagsterEventType.STEP_FAILURE,
        DagsterEventType.STEP_SKIPPED,
        DagsterEventType.STEP_UP_FOR_RETRY,
    }
)
STARTS = frozenset({DagsterEventType.STEP_START, DagsterEventType.STEP_RESTARTED})
SIGNS = STARTS | {DagsterEventType.STEP_WORKER_STARTING, DagsterEventType.STEP_WORKER_STARTED}
"""Events, besides a worker's announcement, which show that an attempt was sent or has begun."""

LOOKED_AT = TERMINAL | SIGNS | {DagsterEventType.ENGINE_EVENT}

WORKER_LOST = "dagster_taskiq.WorkerLost"
"""Class name of the error in an event that was written on behalf of a lost worker."""

OWNER_KEY = "dagster-taskiq/worker"
"""Metadata key of the engine event with which a worker announces that it runs the step."""

RELEASED_KEY = "dagster-taskiq/released"
"""Metadata key of the engine event with which a worker reports that it no longer runs the run."""

ATTEMPT_TAG = "dagster-taskiq/attempt"
"""Logging tag of a step's event: the total attempt, from 1, that it belongs to."""

PAGE = 1000


@dataclass
class Attempt:
    """One attempt of one step in the log."""

    number: int
    sent: DagsterEvent | None = None
    """With which the executor said that it sends the attempt."""
    sent_at: float = 0.0
    """When, in Unix seconds."""
    start: DagsterEvent | None = None
    started_at: float = 0.0
    """When it began, in Unix seconds."""
    terminal: DagsterEvent | None = None
    owner: dict[str, str] | None = None
    executions: int = 0
    """Number of processes that have announced that they run it."""
    last_timestamp: float = 0.0
    """Unix seconds of the attempt's newest event."""


@dataclass
class StepHistory:
    """All attempts of one step in one run."""

    attempts: list[Attempt] = field(default_factory=list)
    lost: int = 0
    """Number of attempts that ended with a retry written for a lost worker."""

    def attempt(self, number: int) -> Attempt:
        """Returns the n-th attempt, from 1; an empty one if it is not in the log."""
        if number <= len(self.attempts):
            return self.attempts[number - 1]
        return Attempt(number)


def read(instance: DagsterInstance, run_id: str, step_key: str, whole: bool = False) -> StepHistory:
    """Reads the log entries of a step.

    One indexed query returns everything. If the storage has none, another query answers the usual
    case, a step that never started (``whole`` also includes announcements before a start).
    Otherwise the run's log is read to its end: a missing page would hide a terminal event.
    """
    history, ends = StepHistory(), _Ends()
    entries = step_log.entries(instance, run_id, step_key, LOOKED_AT)
    if entries is None and not whole:
        stats = instance.get_run_step_stats(run_id, step_keys=[step_key])
        if all(stat.status is None and not stat.attempts for stat in stats):
            return history
    for entry in _entries(instance, run_id, set(LOOKED_AT)) if entries is None else entries:
        if entry.step_key == step_key:
            _fold(history, ends, entry)
    return history


def _entries(
    instance: DagsterInstance, run_id: str, of_type: set[DagsterEventType] | None
) -> Iterator[EventLogEntry]:
    """Yields the run's log to its end, oldest first."""
    cursor = None
    while True:
        page = instance.get_records_for_run(run_id, cursor, of_type=of_type, limit=PAGE)
        for record in page.records:
            yield record.event_log_entry
        cursor = page.cursor
        if not page.has_more:
            return


def attempt_events(
    instance: DagsterInstance, run_id: str, step_key: str, number: int
) -> list[DagsterEvent]:
    """Returns all events of the n-th attempt of a step, oldest first."""
    found = []
    attempt = 1
    ends = _Ends()
    entries = step_log.entries(instance, run_id, step_key, None)
    for entry in _entries(instance, run_id, None) if entries is None else entries:
        event = entry.dagster_event
        if event is None or event.step_key != step_key:
            continue
        if attempt == number:
            found.append(event)
        if ends.ends(event):
            attempt += 1
        if attempt > number:
            break
    return found


def step_owner(
    instance: DagsterInstance, run_id: str, step_key: str, attempt: int
) -> tuple[dict[str, str] | None, float]:
    """Returns the announced owner of an attempt, and its newest event's time (Unix seconds)."""
    found = read(instance, run_id, step_key, whole=True).attempt(attempt)
    return found.owner, found.last_timestamp


def run_owner(instance: DagsterInstance, run_id: str) -> tuple[dict[str, str] | None, float]:
    """Returns the run worker that announced itself last, and the time (Unix seconds).

    It has the key ``released`` if its worker reported the end of the process. Without a run worker,
    the time is that of the run's newest event.
    """
    released: list[dict[str, str]] = []
    cursor = None
    while True:
        # From the newest on: each attempt of each step has such events as well.
        page = instance.get_records_for_run(
            run_id, cursor, of_type=DagsterEventType.ENGINE_EVENT, limit=PAGE, ascending=False
        )
        for record in page.records:
            event = record.event_log_entry.dagster_event
            if event is None or event.step_key is not None:
                continue
            released += [facts] if (facts := _facts(event, RELEASED_KEY)) else []
            owner = owner_of(event)
            if owner is not None:
                keys = ("id", "incarnation", "pid")
                if any(all(facts.get(k) == owner.get(k) for k in keys) for facts in released):
                    owner["released"] = "yes"
                return owner, record.event_log_entry.timestamp
        cursor = page.cursor
        if not page.has_more:
            break
    newest = instance.get_records_for_run(run_id, None, limit=1, ascending=False).records
    return None, newest[0].event_log_entry.timestamp if newest else 0.0


def run_executions(instance: DagsterInstance, run_id: str) -> int:
    """Returns the number of run workers that have announced themselves for the run."""
    return sum(
        entry.step_key is None and owner_of(entry.get_dagster_event()) is not None
        for entry in _entries(instance, run_id, {DagsterEventType.ENGINE_EVENT})
    )


class _Ends:
    """Distinguishes the ends of attempts from surplus ones."""

    def __init__(self) -> None:
        self._number: int | None = None
        """The attempt that ended last, if its event contains the number."""
        self._open = True
        """Whether an attempt without an end was seen; the first one needs no sign."""

    def ends(self, event: DagsterEvent) -> bool:
        """Takes the next event of a step; returns whether it ends the open attempt."""
        if event.event_type in SIGNS or owner_of(event) is not None:
            self._open = True
        if event.event_type not in TERMINAL:
            return False
        number = attempt_of(event)
        if number is not None and self._number is not None:
            surplus = number <= self._number
        else:
            surplus = not self._open
        if surplus:
            return False
        self._number, self._open = number, False
        return True


def _fold(history: StepHistory, ends: _Ends, entry: EventLogEntry) -> None:
    event = entry.dagster_event
    if event is None:
        return
    is_end = ends.ends(event)
    owner = owner_of(event)
    if not (is_end or owner or event.event_type in SIGNS):
        return
    if not history.attempts or history.attempts[-1].terminal is not None:
        history.attempts.append(Attempt(len(history.attempts) + 1))
    attempt = history.attempts[-1]
    attempt.last_timestamp = max(attempt.last_timestamp, entry.timestamp)
    if is_end:
        attempt.terminal = event
        if is_worker_lost(event):
            history.lost += 1
    elif event.event_type == DagsterEventType.STEP_WORKER_STARTING:
        attempt.sent, attempt.sent_at = event, entry.timestamp
    elif event.event_type in STARTS:
        attempt.start, attempt.started_at = event, entry.timestamp
    elif owner is not None:
        attempt.owner = owner
        attempt.executions += 1


def attempt_of(event: DagsterEvent) -> int | None:
    """Returns the number of the attempt that wrote an event of a step, if it is known."""
    text = (event.logging_tags or {}).get(ATTEMPT_TAG, "")
    return int(text) if text.isdecimal() else None


def numbered(event: DagsterEvent, attempt: int) -> DagsterEvent:
    """Returns the event with the number of its attempt."""
    tags = {**(event.logging_tags or {}), ATTEMPT_TAG: str(attempt)}
    return event._replace(logging_tags=tags)


def is_worker_lost(event: DagsterEvent) -> bool:
    """Returns whether a retry was requested on behalf of a lost worker, not by the step."""
    if event.event_type != DagsterEventType.STEP_UP_FOR_RETRY:
        return False
    return event.step_retry_data.error.cls_name == WORKER_LOST


def owner_of(event: DagsterEvent) -> dict[str, str] | None:
    """Returns the worker that announced itself in an engine event: ``id``, ``host``, ``pid`` and
    more.
    """
    return _facts(event, OWNER_KEY)


def _facts(event: DagsterEvent, id_key: str) -> dict[str, str] | None:
    data = event.event_specific_data
    metadata = getattr(data, "metadata", None) or {}
    if id_key not in metadata:
        return None
    facts = {key: str(entry.value) for key, entry in metadata.items() if hasattr(entry, "value")}
    facts["id"] = facts.pop(id_key)
    return facts
