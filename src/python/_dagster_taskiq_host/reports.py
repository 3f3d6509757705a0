"""Writes the end of a step or run that can no longer write it itself.

A second terminal event for one attempt breaks Dagster's executor, so every function here looks
for one first, and callers hold the attempt's claim.
"""

import logging
from dataclasses import dataclass, replace
from typing import Any

from dagster import (
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    MetadataValue,
)
from dagster._core.events import EngineEventData, JobFailureData, RunFailureReason
from dagster._core.execution.plan.objects import ErrorSource, StepFailureData, StepRetryData
from dagster._utils.error import SerializableErrorInfo

from . import claims, event_log, heartbeats, run_end, slots, takeover
from .redaction import redact

LOST = "lost"
CRASHED = "crashed"
UNSTARTED = "unstarted"
CANCELED = "canceled"

_ERROR_NAMES = {
    LOST: event_log.WORKER_LOST,
    CRASHED: "dagster_taskiq.StepCrashed",
    UNSTARTED: "dagster_taskiq.MessageRemoved",
    CANCELED: "dagster_taskiq.StepCanceled",
}


@dataclass(frozen=True)
class Report:
    """Report on an attempt: its content and reason."""

    run_id: str
    step_key: str | None
    attempt: int
    mode: str
    """``lost``: its worker is gone. ``crashed``: it ended by itself without a terminal event.
    ``unstarted``: its message was removed. ``canceled``: an operator cancelled it before it
    started."""
    reason: str
    retries_disabled: bool = False
    retry_allowed: bool = False
    """Whether the step's own RetryPolicy has an attempt left; used for ``crashed``."""
    retry_delay: float | None = None
    lost_policy: str = "retry"
    lost_max: int = 2


def write(instance: DagsterInstance, report: Report) -> dict[str, Any]:
    """Takes the claim, writes the report and returns the result.

    The answer's ``result`` is ``written`` (with ``event``), ``terminal`` (an end was there),
    ``run_finished`` (with ``status``), ``held`` (a process runs it) or ``missing`` (no such run).
    """
    claim = claims.claim(instance, report.run_id, report.step_key, report.attempt)
    if not takeover.take(claim, lambda: _owner(instance, report)):
        return {"result": "held"}
    try:
        return write_held(instance, report)
    finally:
        claim.release()


def _owner(instance: DagsterInstance, report: Report) -> "tuple[dict[str, str] | None, float]":
    if report.step_key is None:
        return event_log.run_owner(instance, report.run_id)
    return event_log.step_owner(instance, report.run_id, report.step_key, report.attempt)


def write_held(instance: DagsterInstance, report: Report) -> dict[str, Any]:
    """As ``write``, for a caller that holds the claim."""
    report = replace(report, reason=redact(report.reason))
    run = instance.get_run_by_id(report.run_id)
    if run is None:
        return {"result": "missing"}
    step_key = report.step_key
    if step_key is None and not run.is_finished:
        return _write_run(instance, run, report)
    if step_key is None or run.is_finished or run.status == DagsterRunStatus.CANCELING:
        if step_key is not None:
            # The run's own process may be over, and reads no step's end any more.
            slots.free_step(instance, run.run_id, step_key)
        return {"result": "run_finished", "status": run.status.value}
    return _write_step(instance, run, step_key, report)


def cancel_run(instance: DagsterInstance, run_id: str) -> None:
    """Marks a run as being cancelled; the workers that run parts of it interrupt them."""
    run = instance.get_run_by_id(run_id)
    if run is not None and not run.is_finished and run.status != DagsterRunStatus.CANCELING:
        instance.report_run_canceling(run, "An operator cancelled the run.")


def end_canceling(
    instance: DagsterInstance, run: DagsterRun, worker: dict[str, str]
) -> DagsterRunStatus:
    """Ends a run that is being cancelled and whose run worker is gone; returns the run's status.

    ``worker`` is the calling worker.

    Only a run whose worker announced itself, and so held the run's claim, can be judged. Any other
    run is left to its launcher.
    """
    claim = claims.claim(instance, run.run_id, None, 1)
    if not takeover.take(claim, lambda: event_log.run_owner(instance, run.run_id)):
        return run.status
    try:
        owner, seen = event_log.run_owner(instance, run.run_id)
        current = instance.get_run_by_id(run.run_id) or run
        if owner is None or current.status != DagsterRunStatus.CANCELING:
            return current.status
        if not (claim.definite or heartbeats.owner_is_gone(instance, owner, seen, worker)):
            return current.status
        sentence = f"The run was canceled; its worker {owner['id']} is gone."
        return run_end.cancel(instance, current, sentence)
    finally:
        claim.release()


def release(instance: DagsterInstance, run_id: str, worker: dict[str, str], pid: int) -> None:
    """Writes that a worker no longer runs a run, whose process has ended.

    The next worker that receives the run's message need not wait for that worker's silence.
    """
    run = instance.get_run_by_id(run_id)
    if run is None or run.is_finished:
        return
    facts = {
        event_log.RELEASED_KEY: worker["id"],
        "incarnation": worker.get("incarnation", ""),
        "pid": str(pid),
    }
    instance.report_engine_event(
        f"Worker {worker['id']} on {worker['hostname']} no longer runs the run: its process {pid}"
        " is over.",
        run,
        EngineEventData(metadata={key: MetadataValue.text(text) for key, text in facts.items()}),
    )


def _write_run(instance: DagsterInstance, run: DagsterRun, report: Report) -> dict[str, Any]:
    if report.mode == CANCELED and run.status != DagsterRunStatus.CANCELING:
        instance.report_run_canceling(run)
    if report.mode == CANCELED or run.status == DagsterRunStatus.CANCELING:
        status = run_end.cancel(instance, run, f"The run was canceled. {report.reason}")
        if status != DagsterRunStatus.CANCELED:
            return {"result": "run_finished", "status": status.value}
        return {"result": "written", "event": DagsterEventType.RUN_CANCELED.value}
    data = JobFailureData(
        error=_error(report), failure_reason=RunFailureReason.UNEXPECTED_TERMINATION
    )
    instance.report_run_failed(run, report.reason, data)
    slots.free_run(instance, run)
    return {"result": "written", "event": DagsterEventType.RUN_FAILURE.value}


def _write_step(
    instance: DagsterInstance, run: DagsterRun, step_key: str, report: Report
) -> dict[str, Any]:
    past = event_log.read(instance, run.run_id, step_key)
    attempt = past.attempt(report.attempt)
    if attempt.terminal is not None:
        return {"result": "terminal", "event": attempt.terminal.event_type_value}
    if _retries(report, past.lost):
        event_type = DagsterEventType.STEP_UP_FOR_RETRY
        delay = report.retry_delay if report.mode == CRASHED else None
        data: Any = StepRetryData(error=_error(report), seconds_to_wait=delay)
    else:
        event_type = DagsterEventType.STEP_FAILURE
        data = StepFailureData(
            error=_error(report), user_failure_data=None, error_source=ErrorSource.UNEXPECTED_ERROR
        )
    event = _event(run, step_key, attempt.start, event_type, data, report.reason)
    level = logging.ERROR if event.is_step_failure else logging.WARNING
    event = event_log.numbered(event, report.attempt)
    instance.report_dagster_event(event, run_id=run.run_id, log_level=level)
    slots.free_step(instance, run.run_id, step_key)
    return {"result": "written", "event": event_type.value}


def _retries(report: Report, lost_before: int) -> bool:
    if report.retries_disabled:
        return False
    if report.mode == LOST:
        return report.lost_policy == "retry" and lost_before < report.lost_max
    return report.mode == CRASHED and report.retry_allowed


def _error(report: Report) -> SerializableErrorInfo:
    return SerializableErrorInfo(
        message=report.reason + "\n", stack=[], cls_name=_ERROR_NAMES[report.mode]
    )


def _event(
    run: DagsterRun,
    step_key: str,
    start: DagsterEvent | None,
    event_type: DagsterEventType,
    data: Any,
    reason: str,
) -> DagsterEvent:
    failed = event_type == DagsterEventType.STEP_FAILURE
    # The handles come from the attempt's own start event; a step that never started has only its
    # key, which executor and UI use.
    return DagsterEvent(
        event_type_value=event_type.value,
        job_name=run.job_name,
        step_handle=start.step_handle if start else None,
        node_handle=start.node_handle if start else None,
        step_kind_value=start.step_kind_value if start else None,
        logging_tags=start.logging_tags if start else None,
        event_specific_data=data,
        message=f'Execution of step "{step_key}" '
        + ("failed. " if failed else "ended and will be tried again. ")
        + reason,
        step_key=step_key,
    )
