"""Runs one attempt of one step under the delivery rules.

The body follows ``dagster api execute_step``; the rules around it replace its ``verify_step``,
which is not atomic.
"""

import os
import sys
from collections.abc import Iterator
from typing import Any

from dagster import (
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    MetadataValue,
)
from dagster._core.definitions.reconstruct import ReconstructableJob
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.events import EngineEventData
from dagster._core.execution.api import create_execution_plan, execute_plan_iterator
from dagster._core.execution.context_creation_job import create_context_free_log_manager
from dagster._core.execution.plan import active as _active  # noqa: F401 - loaded before the fork
from dagster._utils.error import serializable_error_info_from_exc_info

from . import (
    claims,
    code_origin,
    engine_events,
    event_log,
    heartbeats,
    locations,
    outcomes,
    reports,
    slots,
    takeover,
)
from .error_summary import cause
from .guard import Guard
from .messages import Task
from .outcomes import Notify, Outcome
from .redaction import redact, redact_error

try:
    from dagster._core.snowflake_partner import set_snowflake_partner_env_var
except ImportError:  # Dagster 1.12 has no such module

    def set_snowflake_partner_env_var() -> None:
        """Nothing to set."""


BEGUN = {"kind": "begun"}
"""Sent once the claim is held and the attempt is announced: earlier failures do not end the
attempt.
"""


def run_step(instance: DagsterInstance, task: Task, notify: Notify) -> Outcome:
    """Decides by run status, claim and log whether the attempt runs, and runs it."""
    run = instance.get_run_by_id(task.run_id)
    if run is None:
        return outcomes.unrunnable(
            code_origin.no_such_run(instance, task.run_id, task.instance_ref)
        )
    if run.status == DagsterRunStatus.CANCELING:
        # Its steps' messages may be all that is left of it.
        slots.free_unclaimed_step(instance, run.run_id, _key(task), task.attempt)
        return outcomes.run_finished(reports.end_canceling(instance, run, task.worker).value)
    if run.is_finished:
        slots.free_unclaimed_step(instance, run.run_id, _key(task), task.attempt)
        return outcomes.run_finished(run.status.value)
    refused = code_origin.refusal(run, task.job_origin, task.policy)
    if refused is not None:
        return outcomes.unrunnable(refused)
    claim = claims.claim(instance, task.run_id, task.step_key, task.attempt, of_process=True)
    held = takeover.acquire(
        instance,
        claim,
        task.worker,
        lambda: event_log.step_owner(instance, task.run_id, _key(task), task.attempt),
    )
    if held is not None:
        return held
    guard = Guard(instance, claim, task, notify)
    try:
        past = event_log.read(instance, task.run_id, _key(task), whole=task.may_be_poison)
        attempt = past.attempt(task.attempt)
        if attempt.terminal is not None:
            return outcomes.already_finished(attempt.terminal.event_type_value)
        if attempt.start is not None:
            return _started_elsewhere(instance, task, claim, attempt)
        if task.may_be_poison and attempt.executions >= task.max_deliveries:
            return outcomes.unrunnable(
                f"{attempt.executions} processes began attempt {task.attempt} and none of them "
                f"brought it to an end (max_deliveries is {task.max_deliveries})"
            )
        missing = locations.missing(instance, run) if task.reload else None
        if missing is not None:
            return outcomes.stale(missing)
        guard.install()
        engine_events.announce(instance, run, task)
        guard.announced()
        notify(BEGUN)
        return _execute(instance, run, task, notify, guard)
    finally:
        guard.end()


def _key(task: Task) -> str:
    return task.step_key or ""


def _started_elsewhere(
    instance: DagsterInstance, task: Task, claim: claims.Claim, attempt: event_log.Attempt
) -> Outcome:
    """Handles an attempt that started and has no end, with a free claim: reports it if its owner is
    gone.
    """
    owner = attempt.owner
    proven = claim.definite and owner is not None
    seen = attempt.last_timestamp
    if not proven and not heartbeats.owner_is_gone(instance, owner, seen, task.worker):
        return takeover.not_gone(instance, owner, seen, task.worker)
    place = f"on host {owner['host']} (pid {owner['pid']})" if owner else "at an unknown worker"
    report = reports.Report(
        run_id=task.run_id,
        step_key=task.step_key,
        attempt=task.attempt,
        mode=reports.LOST,
        reason=f"Attempt {task.attempt} started {place} and its worker is gone; the message was "
        f"received {task.receive_count} times.",
        retries_disabled=task.retries_disabled,
        lost_policy=task.lost["policy"],
        lost_max=task.lost["max"],
    )
    answer = reports.write_held(instance, report)
    if answer["result"] == "written":
        return outcomes.lost(answer["event"])
    if answer["result"] == "terminal":
        return outcomes.already_finished(answer["event"])
    return outcomes.run_finished(answer.get("status", "missing"))


def _execute(
    instance: DagsterInstance, run: DagsterRun, task: Task, notify: Notify, guard: Guard
) -> Outcome:
    status = reason = None
    try:
        for event in _events(instance, run, task, notify, guard):
            send_event(event, notify)
            if event.step_key == task.step_key:
                status = _status(event) or status
                reason = cause(event) or reason
    except locations.LocationBroken as error:
        # Not the step's own failure: its message is dead-lettered with the reason.
        return outcomes.unrunnable(str(error))
    except BaseException as error:
        if status is None:
            return outcomes.raised(f"{type(error).__name__}: {error}")
    if status is None:
        return outcomes.raised("the step's execution ended without a terminal event")
    return outcomes.finished(status, reason)


def _status(event: DagsterEvent) -> str | None:
    if event.event_type in event_log.TERMINAL:
        return event.event_type_value
    if event.event_type == DagsterEventType.RESOURCE_INIT_FAILURE:
        # The executor writes the step's end when it reads this event; a second one is fatal.
        return event.event_type_value
    return None


def send_event(event: DagsterEvent, notify: Notify) -> None:
    """Sends the parts of an event that the console shows."""
    notify(
        {
            "kind": "event",
            "event_type": event.event_type_value,
            "message": redact(event.message or "")[:500],
        }
    )


def _events(
    instance: DagsterInstance, run: DagsterRun, task: Task, notify: Notify, guard: Guard
) -> Iterator[DagsterEvent]:
    try:
        set_snowflake_partner_env_var()
        job = locations.subset_of(instance, run)
        locations.load(job)
        yield DagsterEvent.step_worker_started(
            create_context_free_log_manager(instance, run),
            run.job_name,
            message=f'Step worker started for "{task.step_key}".',
            metadata={"pid": MetadataValue.text(str(os.getpid()))},
            step_key=task.step_key,
        )
        yield from _plan_events(instance, run, job, task, notify, guard)
    except locations.LocationBroken:
        raise
    except (KeyboardInterrupt, DagsterExecutionInterruptedError):
        yield instance.report_engine_event(
            "Step execution terminated by interrupt", run, step_key=task.step_key
        )
        raise
    except Exception:
        yield instance.report_engine_event(
            "The step's execution ended with an exception outside of user code.",
            run,
            EngineEventData.engine_error(
                redact_error(serializable_error_info_from_exc_info(sys.exc_info()))
            ),
            step_key=task.step_key,
        )
        raise


def _plan_events(
    instance: DagsterInstance,
    run: DagsterRun,
    job: ReconstructableJob,
    task: Task,
    notify: Notify,
    guard: Guard,
) -> Iterator[DagsterEvent]:
    plan = create_execution_plan(
        job,
        run_config=run.run_config,
        step_keys_to_execute=task.args.step_keys_to_execute,
        known_state=task.args.known_state,
        repository_load_data=job.repository.repository_load_data,
    )
    guard.has_slot = any(plan.get_step_by_key(key).pool for key in plan.step_keys_to_execute)
    definition = job.get_definition()
    guard.groups.step_runs(_op_of(definition, plan, task))
    _send_retry_policy(definition, plan, task, notify)
    yield from execute_plan_iterator(
        plan,
        job,
        run,
        instance,
        run_config=run.run_config,
        retry_mode=task.args.retry_mode,
    )


def _op_of(definition: Any, plan: Any, task: Task) -> Any:
    handle = plan.get_step_by_key(task.step_key).node_handle
    return definition.graph.get_node(handle).definition


def _send_retry_policy(definition: Any, plan: Any, task: Task, notify: Notify) -> None:
    """Sends the host what it needs if this process dies: the host has no user code to query."""
    step = plan.get_step_by_key(task.step_key)
    policy = definition.get_retry_policy_for_handle(step.node_handle)
    known = task.args.known_state
    previous = known.previous_retry_attempts.get(task.step_key, 0) if known else 0
    allowed = policy is not None and not task.retries_disabled and previous < policy.max_retries
    delay = policy.calculate_delay(previous + 1) if policy is not None and allowed else None
    notify({"kind": "retry", "allowed": allowed, "delay": delay})
