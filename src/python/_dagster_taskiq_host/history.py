"""What Dagster's event log says of a step: which attempts started, which ended, and how.

Every attempt ends with exactly one terminal event, so the n-th attempt is what lies between the
(n-1)-th and the n-th. That also holds for an attempt whose resources failed to initialise: it has
no STEP_START, and its terminal event is written by the executor.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from dagster import DagsterEvent, DagsterEventType, DagsterInstance
from dagster._core.events.log import EventLogEntry

TERMINAL = frozenset(
    {
        DagsterEventType.STEP_SUCCESS,
        DagsterEventType.STEP_FAILURE,
        DagsterEventType.STEP_SKIPPED,
        DagsterEventType.STEP_UP_FOR_RETRY,
    }
)
STARTS = frozenset({DagsterEventType.STEP_START, DagsterEventType.STEP_RESTARTED})
LOOKED_AT = (
    TERMINAL | STARTS | {DagsterEventType.ENGINE_EVENT, DagsterEventType.STEP_WORKER_STARTED}
)

WORKER_LOST = "dagster_taskiq.WorkerLost"
"""Class name of the error in an event that was written on behalf of a lost worker."""

OWNER_KEY = "dagster-taskiq/worker"
"""Metadata key of the engine event with which a worker announces that it runs the step."""

PAGE = 1000


@dataclass
class Attempt:
    """One attempt of one step, as the log shows it."""

    number: int
    start: DagsterEvent | None = None
    terminal: DagsterEvent | None = None
    owner: dict[str, str] | None = None
    executions: int = 0
    """How many processes have announced that they run it."""
    last_timestamp: float = 0.0
    """Unix seconds of the attempt's newest event."""


@dataclass
class StepHistory:
    """All attempts of one step in one run."""

    attempts: list[Attempt] = field(default_factory=list)
    lost: int = 0
    """How many attempts ended with a retry that was written for a lost worker."""

    def attempt(self, number: int) -> Attempt:
        """The n-th attempt, from 1; an empty one if the log knows nothing of it."""
        if number <= len(self.attempts):
            return self.attempts[number - 1]
        return Attempt(number)


def read(instance: DagsterInstance, run_id: str, step_key: str, whole: bool = False) -> StepHistory:
    """Reads what the log holds of a step.

    One indexed query answers the usual case, a step that never started; ``whole`` asks for what
    was announced before a start too. Otherwise the run's log is read to its end: a page that is
    missing would hide a terminal event.
    """
    history = StepHistory()
    if not whole:
        stats = instance.get_run_step_stats(run_id, step_keys=[step_key])
        if all(stat.status is None and not stat.attempts for stat in stats):
            return history
    for entry in _entries(instance, run_id, set(LOOKED_AT)):
        if entry.step_key == step_key:
            _fold(history, entry)
    return history


def _entries(
    instance: DagsterInstance, run_id: str, of_type: set[DagsterEventType] | None
) -> Iterator[EventLogEntry]:
    """The run's log to its end, oldest first."""
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
    """All events of the n-th attempt of a step, oldest first."""
    found = []
    attempt = 1
    for entry in _entries(instance, run_id, None):
        event = entry.dagster_event
        if event is None or event.step_key != step_key:
            continue
        if attempt == number:
            found.append(event)
        if event.event_type in TERMINAL:
            attempt += 1
        if attempt > number:
            break
    return found


def run_owner(instance: DagsterInstance, run_id: str) -> tuple[dict[str, str] | None, float]:
    """The run worker that announced itself last, and when (Unix seconds)."""
    page = instance.get_records_for_run(
        run_id, None, of_type=DagsterEventType.ENGINE_EVENT, limit=100, ascending=False
    )
    for record in page.records:
        event = record.event_log_entry.dagster_event
        if event is not None and event.step_key is None and owner_of(event):
            return owner_of(event), record.event_log_entry.timestamp
    return None, 0.0


def run_executions(instance: DagsterInstance, run_id: str) -> int:
    """How many run workers have announced themselves for the run."""
    return sum(
        entry.step_key is None and owner_of(entry.get_dagster_event()) is not None
        for entry in _entries(instance, run_id, {DagsterEventType.ENGINE_EVENT})
    )


def _fold(history: StepHistory, entry: EventLogEntry) -> None:
    event = entry.dagster_event
    if event is None:
        return
    if not history.attempts or history.attempts[-1].terminal is not None:
        history.attempts.append(Attempt(len(history.attempts) + 1))
    attempt = history.attempts[-1]
    attempt.last_timestamp = max(attempt.last_timestamp, entry.timestamp)
    if event.event_type in STARTS:
        attempt.start = event
    elif event.event_type in TERMINAL:
        attempt.terminal = event
        if is_worker_lost(event):
            history.lost += 1
    else:
        owner = owner_of(event)
        if owner is not None:
            attempt.owner = owner
            attempt.executions += 1


def is_worker_lost(event: DagsterEvent) -> bool:
    """Whether a retry was asked for on behalf of a lost worker, not by the step."""
    if event.event_type != DagsterEventType.STEP_UP_FOR_RETRY:
        return False
    return event.step_retry_data.error.cls_name == WORKER_LOST


def owner_of(event: DagsterEvent) -> dict[str, str] | None:
    """The worker that announced itself in an engine event: ``id``, ``host``, ``pid`` and more."""
    data = event.event_specific_data
    metadata = getattr(data, "metadata", None) or {}
    if OWNER_KEY not in metadata:
        return None
    owner = {key: str(entry.value) for key, entry in metadata.items() if hasattr(entry, "value")}
    owner["id"] = owner.pop(OWNER_KEY)
    return owner
