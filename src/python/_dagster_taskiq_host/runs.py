"""Runs a whole run: the bodies of ``dagster api execute_run`` and ``resume_run`` under a claim.

A redelivered ``execute_job`` whose run has started is resumed: the execute body would fail it.
"""

import contextlib
import sys

from dagster import (
    DagsterEvent,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
)
from dagster._cli.api import _execute_run_command_body, _resume_run_command_body

from . import (
    claims,
    code_origin,
    engine_events,
    event_log,
    executors,
    heartbeats,
    locations,
    outcomes,
    reports,
    run_end,
    slots,
    takeover,
)
from .error_summary import cause
from .guard import Guard
from .messages import RESUME_JOB, Task
from .outcomes import Notify, Outcome
from .redaction import redact
from .steps import BEGUN, send_event


def run_run(instance: DagsterInstance, task: Task, notify: Notify) -> Outcome:
    """Decides by run status and claim whether the run is executed, resumed or ended."""
    run = instance.get_run_by_id(task.run_id)
    if run is None:
        return outcomes.unrunnable(
            code_origin.no_such_run(instance, task.run_id, task.instance_ref)
        )
    if run.is_finished:
        return outcomes.run_finished(run.status.value)
    refused = code_origin.refusal(run, task.job_origin, task.policy)
    if refused is not None:
        return outcomes.unrunnable(refused)
    claim = claims.claim(instance, task.run_id, None, task.attempt, of_process=True)
    held = takeover.acquire(
        instance, claim, task.worker, lambda: event_log.run_owner(instance, task.run_id)
    )
    if held is not None:
        return held
    guard = Guard(instance, claim, task, notify)
    try:
        return _run_claimed(instance, run, task, claim, notify, guard)
    finally:
        guard.end()


def _run_claimed(
    instance: DagsterInstance,
    run: DagsterRun,
    task: Task,
    claim: claims.Claim,
    notify: Notify,
    guard: Guard,
) -> Outcome:
    run = instance.get_run_by_id(run.run_id) or run
    if run.is_finished:
        return outcomes.run_finished(run.status.value)
    if run.status == DagsterRunStatus.CANCELING:
        status = run_end.cancel(
            instance, run, "The run was canceled before its worker received it."
        )
        return outcomes.run_finished(status.value)
    started = run.status == DagsterRunStatus.STARTED
    if (started or task.receive_count > 1) and run_end.restore(instance, run.run_id):
        # Its process ended between the event and the status that Dagster derives from it.
        slots.free_run(instance, run)
        run = instance.get_run_by_id(run.run_id) or run
        return outcomes.run_finished(run.status.value)
    if started and not claim.definite:
        owner, seen = event_log.run_owner(instance, run.run_id)
        if not heartbeats.owner_is_gone(instance, owner, seen, task.worker):
            return takeover.not_gone(instance, owner, seen, task.worker)
    if task.may_be_poison:
        executions = event_log.run_executions(instance, run.run_id)
        if executions >= task.max_deliveries:
            return outcomes.unrunnable(
                f"{executions} run workers began the run and none of them brought it to an end "
                f"(max_deliveries is {task.max_deliveries})"
            )
    missing = locations.missing(instance, run) if task.reload else None
    if missing is not None:
        return outcomes.stale(missing)
    guard.install()
    engine_events.announce(instance, run, task)
    guard.announced()
    # Until then another process may have had it.
    run = instance.get_run_by_id(run.run_id) or run
    if run.is_finished:
        return outcomes.run_finished(run.status.value)
    started = run.status == DagsterRunStatus.STARTED
    notify(BEGUN)
    guard.watch()
    broken = _why_it_does_not_load(instance, run)
    if broken is not None:
        return outcomes.unrunnable(broken)
    resumed = started or task.kind == RESUME_JOB
    if executors.resumes(instance, run):
        # A worker that ends may hand it over.
        notify({"kind": "resumable"})
    elif started:
        return _end_lost(instance, run, task)
    reason: str | None = None

    def on_event(event: DagsterEvent) -> None:
        nonlocal reason
        # Its steps' events are read from Dagster's log; their own processes send them.
        if event.step_key is None:
            send_event(event, notify)
            reason = cause(event) or reason

    body = _resume_run_command_body if resumed else _execute_run_command_body
    try:
        body(run.run_id, instance, on_event, set_exit_code_on_failure=True)
    except BaseException as error:
        print(redact(f"{type(error).__name__}: {error}"), file=sys.stderr)
        return _ended(instance, run.run_id, reason, f"{type(error).__name__}: {error}")
    return _ended(instance, run.run_id, reason, "the run's execution ended without an end event")


def _end_lost(instance: DagsterInstance, run: DagsterRun, task: Task) -> Outcome:
    """Ends a run whose run worker was lost and whose steps ran in that process.

    Executed again, the plan would begin with its first step. Dagster's own launchers leave such
    runs to run retries too.
    """
    report = reports.Report(
        run_id=run.run_id,
        step_key=None,
        attempt=task.attempt,
        mode=reports.LOST,
        reason="The run's worker was lost, and its steps with it: its executor runs them in or"
        " below the run's own process and cannot go on with them in another one.",
    )
    answer = reports.write_held(instance, report)
    return outcomes.lost(answer.get("event") or answer.get("status") or answer["result"])


def _why_it_does_not_load(instance: DagsterInstance, run: DagsterRun) -> str | None:
    """Returns why it does not load. The body meets any other error again, and writes it into the
    run's log.
    """
    with contextlib.suppress(Exception):
        try:
            locations.load(locations.job_of(instance, run))
        except locations.LocationBroken as error:
            return str(error)
    return None


def _ended(instance: DagsterInstance, run_id: str, reason: str | None, otherwise: str) -> Outcome:
    run = instance.get_run_by_id(run_id)
    if run is None:
        return outcomes.unrunnable(f"run {run_id} was deleted while it ran")
    if run.is_finished:
        slots.free_run(instance, run)
        return outcomes.finished(run.status.value, reason)
    if instance.run_will_resume(run_id):
        return outcomes.interrupted(otherwise)
    return outcomes.raised(otherwise)
