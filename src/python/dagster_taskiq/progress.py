"""The state of a run, built from its event log: running steps, ready steps, and attempts.

Dagster's own ``ActiveExecution`` decides what may run next. This class adds what it lacks: it can
be rebuilt from any log of an earlier run worker, it tolerates a repeated event, and it keeps
attempts lost with a worker apart from those the user's RetryPolicy counts.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from dagster import DagsterEvent, DagsterEventType, EventLogRecord
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.active import ActiveExecution
from dagster._core.execution.plan.state import KnownExecutionState
from dagster._core.execution.plan.step import ExecutionStep
from dagster._utils.error import SerializableErrorInfo

from dagster_taskiq.needs import known_states
from dagster_taskiq.run_owner import owner_of
from dagster_taskiq.tags import ATTEMPT_TAG, WORKER_LOST

_SIGNS_OF_LIFE = {
    DagsterEventType.STEP_WORKER_STARTED,
    DagsterEventType.STEP_START,
    DagsterEventType.STEP_RESTARTED,
}
#: Maximum seconds for the end of a step whose resources failed.
RESOURCE_FAILURE_GRACE = 5.0

_LAUNCHED = _SIGNS_OF_LIFE | {DagsterEventType.STEP_WORKER_STARTING}


@dataclass
class InFlightStep:
    """A step that was sent and has not ended.

    Attributes:
        announced: the STEP_WORKER_STARTING event of this attempt was read back from the log.
            Earlier events belong to an earlier attempt.
        sent_at: seconds since the epoch.
        alive: a worker has reported that it works on it.
        owner: name of the report of the worker that last announced that it runs this attempt; empty
            for one that does not announce itself.
        unlisted: number of looks in a row at which no live worker's report named it.
        resends: number of times the message was sent again.
        url: the queue it was sent to, empty until then.

    """

    step: ExecutionStep
    attempt: int
    sent_at: float
    announced: bool = False
    alive: bool = False
    owner: str = ""
    unlisted: int = 0
    resends: int = 0
    url: str = ""
    announcement_written: bool = False

    @property
    def is_begun(self) -> bool:
        """Whether a worker has reported anything about it."""
        return self.alive or bool(self.owner)

    def waited(self) -> float:
        """Seconds since it was sent."""
        return time.time() - self.sent_at


@dataclass(frozen=True)
class OrphanedStep:
    """Reason why a step must be ended, and the time (``time.monotonic``) after which no other
    process will do it.
    """

    error: SerializableErrorInfo
    due: float


class RunProgress(ActiveExecution):
    """Progress of one run. Steps in flight are in ``flights``, by step key."""

    def __init__(self, *args: Any, free_slot: Callable[[str], None], **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._free_slot = free_slot
        self.flights: dict[str, InFlightStep] = {}
        #: Steps that a worker gave up without ending them, to be ended here.
        self.orphaned: dict[str, OrphanedStep] = {}
        self._ended: Counter[str] = Counter(
            self._plan.known_state.get_retry_state().snapshot_attempts()
        )
        self._lost: Counter[str] = Counter()
        self._mapping_keys: dict[str, set[tuple[str, str]]] = {}
        self._silent_skips: set[str] = set()
        # Steps launched by an earlier run worker: their pool slots are not known to this one's
        # InstanceConcurrencyContext, which therefore would not free them.
        self._adopted: set[str] = set()
        self._replaying = False

    def next_attempt(self, step_key: str) -> int:
        """Number of the attempt that comes next or runs, from 1, lost ones included."""
        return self._ended[step_key] + 1

    def user_attempt(self, step_key: str) -> int:
        """Number of the attempt without the lost ones, as a RetryPolicy counts."""
        return self._ended[step_key] - self._lost[step_key] + 1

    def launch(self, step: ExecutionStep) -> InFlightStep:
        """Record that a step returned by ``get_steps_to_execute`` is sent now."""
        self._mapping_keys.pop(step.key, None)
        flight = InFlightStep(step, self.next_attempt(step.key), time.time())
        self.flights[step.key] = flight
        return flight

    def known_states(self, steps: Iterable[ExecutionStep]) -> Iterable[KnownExecutionState]:
        """The part of the run's state that each step's process needs."""
        attempts = ((step, self.user_attempt(step.key) - 1) for step in steps)
        return known_states(self._plan, self.get_known_state(), attempts)

    def replay(self, records: list[EventLogRecord], context: PlanOrchestrationContext) -> None:
        """Rebuild the state from an earlier run worker's log, regardless of the current limits."""
        self._replaying = True
        for record in records:
            event = record.event_log_entry.dagster_event
            if event is None or event.step_key is None:
                continue
            if event.is_step_skipped:
                self._replay_skip(event.step_key)
                continue
            if event.event_type in _LAUNCHED and event.step_key not in self.flights:
                self._adopt(event.step_key)
            self.apply(record)
        self._replaying = False
        for key in self._adopted - set(self.flights):
            self._free_slot(key)
        self._adopted &= set(self.flights)
        for key in sorted(self._silent_skips):
            DagsterEvent.step_skipped_event(context.for_step(self.get_step_by_key(key)))
            self.mark_skipped(key)
        self._silent_skips.clear()

    def apply(self, record: EventLogRecord) -> bool:
        """Apply one event of the log; True if it ended an attempt of a step.

        Events of steps that are not in flight change nothing, nor do those of an earlier attempt: a
        worker that was thought lost may still write its own end, or an end may have been written by
        two.
        """
        event = record.event_log_entry.dagster_event
        flight = self.flights.get(event.step_key or "") if event else None
        if event is None or flight is None:
            return False
        if event.event_type == DagsterEventType.STEP_WORKER_STARTING:
            flight.announced = True
            flight.sent_at = record.timestamp
        elif event.event_type in _SIGNS_OF_LIFE:
            flight.alive = flight.alive or flight.announced
        if not flight.announced or _attempt_of(event, flight.attempt) < flight.attempt:
            return False
        flight.owner = owner_of(event) or flight.owner
        return self._apply_to(flight, event, record.timestamp)

    def _apply_to(self, flight: InFlightStep, event: DagsterEvent, timestamp: float) -> bool:
        key = flight.step.key
        if event.is_step_success or event.is_step_failure:
            self._complete(key)
            self.handle_event(event)
            return True
        if event.is_step_up_for_retry:
            return self._apply_retry(flight, event, timestamp)
        if event.is_successful_output:
            if self._is_new_output(key, event):
                self.handle_event(event)
        elif event.is_resource_init_failure:
            self.handle_event(event)
            error = event.engine_event_data.error
            if error is not None:
                # A worker's host ends a step whose process ends without a report; this is for
                # workers that do not.
                self.orphaned[key] = OrphanedStep(error, time.monotonic() + RESOURCE_FAILURE_GRACE)
        return False

    def _apply_retry(self, flight: InFlightStep, event: DagsterEvent, timestamp: float) -> bool:
        key = flight.step.key
        data = event.step_retry_data
        if self._retry_mode.disabled:
            # Only another process can have written this: the step itself knows that it may not.
            error = data.error or SerializableErrorInfo("The step was given up.\n", [], None)
            self.orphaned[key] = OrphanedStep(error, 0.0)
            return False
        self._complete(key)
        self._ended[key] += 1
        if is_worker_lost(event):
            self._lost[key] += 1
        at_time = timestamp + data.seconds_to_wait if data.seconds_to_wait else None
        self.mark_up_for_retry(key, at_time)
        if self._instance_concurrency_context:
            self._instance_concurrency_context.free_step(key)
        return True

    def free_unstarted(self) -> None:
        """Free the pool slots of steps that wait in a queue, for a run that stops.

        Running steps free theirs when their processes have ended.
        """
        for flight in self.flights.values():
            if not flight.alive and flight.step.pool is not None:
                self._free_slot(flight.step.key)

    def _complete(self, step_key: str) -> None:
        self.flights.pop(step_key, None)
        self.orphaned.pop(step_key, None)
        if step_key in self._adopted and not self._replaying:
            self._adopted.discard(step_key)
            self._free_slot(step_key)

    def _is_new_output(self, step_key: str, event: DagsterEvent) -> bool:
        handle = event.step_output_data.step_output_handle
        if handle.mapping_key is None:
            return True
        known = self._mapping_keys.setdefault(step_key, set())
        seen = (handle.output_name, handle.mapping_key)
        if seen in known:
            return False
        known.add(seen)
        return True

    def _adopt(self, step_key: str) -> None:
        """Put a ready step in flight as the earlier run worker did.

        ``get_steps_to_execute`` would check the pool, the limits and the retry's waiting time
        again, whose answers may differ now.
        """
        self._update()
        if step_key in self._waiting_to_retry:
            del self._waiting_to_retry[step_key]
        elif step_key in self._executable:
            self._executable.remove(step_key)
        else:
            return
        step = self.get_step_by_key(step_key)
        self._in_flight.add(step_key)
        self._prep_for_dynamic_outputs(step)
        flight = self.launch(step)
        flight.announced = True
        self._adopted.add(step_key)

    def _replay_skip(self, step_key: str) -> None:
        self._settle()
        if step_key in self._silent_skips:
            self._silent_skips.remove(step_key)
            self.mark_skipped(step_key)

    def _settle(self) -> None:
        """Return steps to be skipped, and drop those that cannot run any more."""
        while True:
            self._silent_skips.update(step.key for step in self.get_steps_to_skip())
            abandoned = self.get_steps_to_abandon()
            if not abandoned:
                return
            for step in abandoned:
                self.mark_abandoned(step.key)


def _attempt_of(event: DagsterEvent, otherwise: int) -> int:
    text = (event.logging_tags or {}).get(ATTEMPT_TAG, "")
    return int(text) if text.isdecimal() else otherwise


def is_worker_lost(event: DagsterEvent) -> bool:
    """Whether a STEP_UP_FOR_RETRY event reports a lost worker."""
    error = event.step_retry_data.error
    return error is not None and (
        error.cls_name == WORKER_LOST or error.message.startswith(WORKER_LOST)
    )
