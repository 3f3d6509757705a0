"""The loop that takes one run from its first ready step to its end."""

import logging
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dagster import DagsterEvent, DagsterRunStatus, EventLogRecord, MetadataValue
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.events import EngineEventData
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.plan.step import ExecutionStep
from dagster._utils.error import SerializableErrorInfo

from dagster_taskiq.config import Settings, queue_name, resolve
from dagster_taskiq.errors import (
    AccessError,
    BrokerUnreachableError,
    DagsterTaskiqError,
    MessageTooLargeError,
)
from dagster_taskiq.log_tail import LogTail
from dagster_taskiq.progress import InFlightStep, RunProgress
from dagster_taskiq.routing import Route, Router, order_in_run
from dagster_taskiq.sqs import MAX_BATCH_ENTRIES, Sender
from dagster_taskiq.step_events import end_step, fail_step
from dagster_taskiq.step_messages import StepMessages
from dagster_taskiq.tags import DAGSTER_TASKIQ_TASK_ID_TAG
from dagster_taskiq.watchdog import Care

try:
    from _dagster_taskiq_host import storage_away, tested
    from _dagster_taskiq_host.connections import kept as kept_connections
except ImportError:
    # Within a worker that is older than this package, the worker's own modules come first.
    from contextlib import nullcontext as kept_connections  # type: ignore[assignment]

    storage_away = tested = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from dagster_taskiq.executor import TaskiqExecutor

#: Number of steps sent between two looks at the log, so that the run keeps reading it during a
#: large fan-out.
_LAUNCH_AT_ONCE = 5 * MAX_BATCH_ENTRIES
_STATUS_INTERVAL = 2.0
#: Maximum seconds of waiting for an unreachable broker during a run.
_RETRY_LIMIT = 120.0

_logger = logging.getLogger("dagster_taskiq")

_STOPPED = {DagsterRunStatus.CANCELING, DagsterRunStatus.CANCELED, DagsterRunStatus.FAILURE}


class RunLoop:
    """One execution of a run's plan by ``TaskiqExecutor``."""

    def __init__(
        self,
        executor: "TaskiqExecutor",
        context: PlanOrchestrationContext,
        plan: ExecutionPlan,
    ):
        self._executor = executor
        self._context = context
        self._plan = plan
        self._instance = context.instance
        self._run_id = context.run_id
        self._tail = LogTail.of(self._instance, self._run_id)
        self._logged: set[str] = set()
        self._unsent: list[InFlightStep] = []
        self._unsent_since: float | None = None
        self._has_sent = context.resume_from_failure
        self._send_again_at = 0.0
        self._status_checked_at = time.monotonic()

    def events(self) -> Iterator[DagsterEvent]:
        """Execute; yields every event of the run that is in its log.

        Raises:
            DagsterExecutionInterruptedError: the run was interrupted or cancelled.
            DagsterTaskiqError: the steps cannot be sent.

        """
        if storage_away is not None:
            # Until the end of the process: the end of Dagster's work after this generator is
            # awaited too.
            storage_away.be_patient(self._instance)
        try:
            yield from self._events()
        except Exception as error:
            if storage_away is not None and storage_away.is_away(error):
                # Dagster would write that the run failed. Another run worker resumes it instead.
                storage_away.give_up(error)
            raise

    def _events(self) -> Iterator[DagsterEvent]:
        if self._is_stopped():
            raise DagsterExecutionInterruptedError("The run was cancelled before it could go on.")
        _warn_once()
        settings = resolve(self._executor.config)
        self._sender = self._open_sender(settings)
        self._router = Router(settings, self._sender.base_url, self._context.dagster_run.tags)
        self._messages = StepMessages(self._context, self._executor.retries)
        self._care = Care(self._instance, self._run_id, self._sender)
        self._log(f"Sending steps to the queue {queue_name(self._sender.base_url)}.")
        if settings.unknown_keys:
            self._log(
                f"config_source has unknown keys, ignored: {', '.join(settings.unknown_keys)}."
            )
        pools = InstanceConcurrencyContext(self._instance, self._context.dagster_run)
        with kept_connections(self._instance), pools, self._new_progress(pools) as progress:
            self._progress = progress
            try:
                if self._context.resume_from_failure:
                    yield from self._resume()
                yield from self._loop()
            except DagsterTaskiqError:
                if progress.flights:
                    self._log(f"Giving up with steps in flight: {sorted(progress.flights)}.")
                raise

    def _open_sender(self, settings: Settings) -> Sender:
        """Open the sender, and report errors of the queue at once, unless it worked before.

        It worked before if steps were sent to it, or if the run itself came by the same broker.
        """
        came_by_queue = DAGSTER_TASKIQ_TASK_ID_TAG in self._context.dagster_run.tags
        is_good = self._has_sent or came_by_queue
        give_up_at = time.monotonic() + (_RETRY_LIMIT if is_good else 0.0)
        while True:
            try:
                sender = Sender(settings)
                sender.check_base_queue()
                return sender
            except self._passing as error:
                if time.monotonic() >= give_up_at:
                    raise
                self._log(f"{error} Trying again for {_RETRY_LIMIT:.0f} seconds.")
            time.sleep(1.0)
            if self._is_stopped():
                raise DagsterExecutionInterruptedError("The run was cancelled.")

    def _new_progress(self, pools: InstanceConcurrencyContext) -> RunProgress:
        storage = self._instance.event_log_storage
        return RunProgress(
            self._plan,
            retry_mode=self._executor.retries,
            sort_key_fn=lambda step: order_in_run(step.tags or {}),
            max_concurrent=self._executor.max_concurrent,
            tag_concurrency_limits=self._executor.tag_concurrency_limits,
            instance_concurrency_context=pools,
            free_slot=lambda key: storage.free_concurrency_slot_for_step(self._run_id, key),
        )

    def _loop(self) -> Iterator[DagsterEvent]:
        progress = self._progress
        while not progress.is_complete:
            if progress.check_for_interrupts() or self._is_stopped_now():
                self._interrupt()
                return
            records = self._read()
            yield from self._take_in(records)
            self._end_orphaned(quiet=not records)
            list(progress.plan_events_iterator(self._context))
            list(progress.concurrency_event_iterator(self._context))
            launched = self._launch_ready()
            self._look_after()
            if not (records or launched or progress.is_complete):
                time.sleep(self._tail.wait_seconds())
        yield from self._take_in(self._read())

    def _resume(self) -> Iterator[DagsterEvent]:
        """Rebuild the state from the log, and adopt the steps that the earlier worker has sent.

        Sent steps are still in the queue or with a worker: a message is deleted only after its step
        has ended. Only the steps of one turn may have been announced but not sent, as launching
        stops while something is unsent.
        """
        self._log("Going on with the run after its run worker was lost.")
        records = self._read()
        self._progress.replay(records, self._context)
        for flight in self._progress.flights.values():
            flight.url = self._router.step(flight.step.tags or {}).url
        starting = [key for key in map(_announced_step, records) if key]
        for key in dict.fromkeys(starting[-_LAUNCH_AT_ONCE:]):
            found = self._progress.flights.get(key)
            if found is not None and not found.alive:
                self._unsent.append(found)
        if self._progress.flights:
            self._log(f"Steps in flight: {sorted(self._progress.flights)}.")
        yield from _events_to_yield(records)

    def _take_in(self, records: list[EventLogRecord]) -> Iterator[DagsterEvent]:
        for record in records:
            event = record.event_log_entry.dagster_event
            if event is not None and event.is_step_skipped:
                # Written by this loop; a step's own process does not skip it.
                if event.step_key in self._progress.flights:
                    self._progress.flights.pop(event.step_key)
                    self._progress.verify_complete(self._context, event.step_key)
                continue
            self._progress.apply(record)
        yield from _events_to_yield(records)

    def _end_orphaned(self, quiet: bool) -> None:
        """End steps that no other process ends, once the log contains nothing new."""
        now = time.monotonic()
        due = [(k, u) for k, u in self._progress.orphaned.items() if now >= u.due]
        if not quiet or not due:
            return
        for key, orphaned in due:
            step = self._progress.get_step_by_key(key)
            attempts = self._progress.user_attempt(key)
            end_step(self._context.for_step(step), orphaned.error, attempts)
            del self._progress.orphaned[key]

    def _launch_ready(self) -> bool:
        progress = self._progress
        flights: list[InFlightStep] = []
        if self._unsent and time.monotonic() >= self._send_again_at:
            unsent, self._unsent = self._unsent, []
            flights = [f for f in unsent if progress.flights.get(f.step.key) is f]
        elif not self._unsent:
            limit = _LAUNCH_AT_ONCE
            if self._executor.max_concurrent is not None:
                limit = min(limit, self._executor.max_concurrent - len(progress.flights))
            steps = progress.get_steps_to_execute(max(0, limit))
            flights = [progress.launch(step) for step in steps]
        for start in range(0, len(flights), MAX_BATCH_ENTRIES):
            self._send(flights[start : start + MAX_BATCH_ENTRIES])
        return bool(flights)

    def _send(self, flights: list[InFlightStep]) -> None:
        """Announce attempts in the log, then send them.

        The order matters: everything an attempt writes must come after its announcement.
        """
        outgoing = []
        by_key = {flight.step.key: flight for flight in flights}
        states = self._progress.known_states(flight.step for flight in flights)
        for flight, known in zip(flights, states, strict=True):
            route = self._router.step(flight.step.tags or {})
            for warning in route.warnings:
                self._log(warning, flight.step)
            attempt = self._progress.user_attempt(flight.step.key)
            built = self._messages.build(flight, route, known, attempt)
            outgoing.append(built)
            if not flight.announced and not flight.announcement_written:
                self._announce(flight, route, built.task_id)
        outcome = self._sender.send(outgoing)
        for notice in outcome.notices:
            self._log(notice)
        for key, url in outcome.sent.items():
            by_key[key].url = url
        if outcome.sent:
            self._tail.touch()
            self._has_sent = True
            self._unsent_since = None
        for key, error in outcome.failed.items():
            self._not_sent(by_key[key], error)

    def _announce(self, flight: InFlightStep, route: Route, task_id: str) -> None:
        metadata: dict[str, Any] = {
            "queue": MetadataValue.text(route.queue),
            "priority": MetadataValue.int(route.priority),
            "attempt": MetadataValue.int(flight.attempt),
            "task id": MetadataValue.text(task_id),
        }
        DagsterEvent.step_worker_starting(
            self._context.for_step(flight.step),
            f'Sending step "{flight.step.key}" to the queue {route.queue}.',
            metadata,
        )
        flight.announcement_written = True

    def _not_sent(self, flight: InFlightStep, error: DagsterTaskiqError) -> None:
        if isinstance(error, MessageTooLargeError):
            info = SerializableErrorInfo(f"{error}\n", [], type(error).__name__)
            fail_step(self._context.for_step(flight.step), info)
            return
        if not isinstance(error, self._passing):
            raise error
        now = time.monotonic()
        if self._unsent_since is None:
            self._unsent_since = now
            self._log(f"{error} Trying again for {_RETRY_LIMIT:.0f} seconds.", again=True)
        if now - self._unsent_since > _RETRY_LIMIT:
            raise error
        self._send_again_at = now + 1.0
        self._unsent.append(flight)

    @property
    def _passing(self) -> tuple[type[DagsterTaskiqError], ...]:
        """Whether an error is transient, so that it is waited for."""
        if self._has_sent:
            # Credentials worked before: a token has expired, or their source does not answer.
            return (BrokerUnreachableError, AccessError)
        return (BrokerUnreachableError,)

    def _look_after(self) -> None:
        """Report what keeps steps from starting, and send lost steps again."""
        findings = self._care.look(self._progress.flights.values())
        for sentence in findings.sentences:
            self._log(sentence, again=True)
        for flight in findings.lost:
            flight.resends += 1
            self._unsent.append(flight)

    def _interrupt(self) -> None:
        """End as interrupted; the workers stop the steps when they see the run's status."""
        self._progress.mark_interrupted()
        if self._is_stopped():
            self._progress.free_unstarted()
        in_flight = sorted(self._progress.flights)
        DagsterEvent.engine_event(
            self._context,
            f"Run interrupted; steps in flight: {in_flight}. Their workers stop them.",
            EngineEventData.interrupted(in_flight),
        )

    def _read(self) -> list[EventLogRecord]:
        """Return new events of the log. The tail does not use the storage's own methods."""
        if storage_away is None:
            return self._tail.read_to_end()
        return storage_away.patiently(self._tail.read_to_end)

    def _is_stopped_now(self) -> bool:
        if time.monotonic() - self._status_checked_at < _STATUS_INTERVAL:
            return False
        self._status_checked_at = time.monotonic()
        return self._is_stopped()

    def _is_stopped(self) -> bool:
        run = self._instance.get_run_by_id(self._run_id)
        return run is None or run.status in _STOPPED

    def _log(self, sentence: str, step: ExecutionStep | None = None, again: bool = False) -> None:
        """Write an engine event; by default each sentence once per run."""
        if sentence in self._logged and not again:
            return
        self._logged.add(sentence)
        context = self._context.for_step(step) if step else self._context
        DagsterEvent.engine_event(context, sentence, EngineEventData())


_warned: list[str] = []


def _warn_once() -> None:
    """Log once in this process that its Dagster is outside of the tested range."""
    warning = tested.installed_warning() if tested is not None else None
    if warning and not _warned:
        _warned.append(warning)
        _logger.warning(warning)


def _announced_step(record: EventLogRecord) -> str | None:
    event = record.event_log_entry.dagster_event
    if event is None or event.event_type_value != "STEP_WORKER_STARTING":
        return None
    return event.step_key


def _events_to_yield(records: list[EventLogRecord]) -> Iterator[DagsterEvent]:
    """The run's events without its own status changes, which the caller yields itself."""
    for record in records:
        event = record.event_log_entry.dagster_event
        if event is not None and not event.is_job_event:
            yield event
