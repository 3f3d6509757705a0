"""What a process does for one message.

The DagsterInstance is this machine's own; the one that a message names is not used, since it says
which classes to load and where to connect.
"""

import sys
from typing import Any

from dagster import DagsterEvent, DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._cli import api
from dagster._core.execution.plan.handle import StepHandle
from dagster._core.execution.plan.objects import StepFailureData
from dagster._grpc.types import ExecuteStepArgs
from dagster._serdes import unpack_value
from dagster._utils.error import SerializableErrorInfo
from dagster._utils.interrupts import capture_interrupts

from dagster_taskiq.tags import TASK_EXECUTE_RUN, TASK_EXECUTE_STEP, TASK_RESUME_RUN

_ENDS = {
    DagsterEventType.STEP_SUCCESS,
    DagsterEventType.STEP_FAILURE,
    DagsterEventType.STEP_UP_FOR_RETRY,
}


def work(order: dict[str, Any]) -> int:
    """Do one order's work; returns the exit code."""
    packed = order["packed"]
    with DagsterInstance.get() as instance, capture_interrupts():
        run = instance.get_run_by_id(packed["pipeline_run_id"])
        if run is None:
            print(f"Run {packed['pipeline_run_id']} does not exist here.", file=sys.stderr)
            return 3
        if order["task"] in (TASK_EXECUTE_RUN, TASK_RESUME_RUN):
            return _run(order["task"], run, instance)
        args = unpack_value(packed, ExecuteStepArgs)
        if order["task"] == TASK_EXECUTE_STEP:
            return _step(args, run, instance, order["attempt"])
        _report(args, run, instance, order["attempt"], order["reason"])
        return 0


def _run(task: str, run: DagsterRun, instance: DagsterInstance) -> int:
    if run.is_finished:
        return 0
    if run.status == DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run)
        return 0
    # Delivered again: a started run goes on, executing it anew would mark it as failed.
    started = run.status == DagsterRunStatus.STARTED
    body = (
        api._resume_run_command_body
        if task == TASK_RESUME_RUN or started
        else api._execute_run_command_body
    )
    return body(run.run_id, instance, lambda _event: None, set_exit_code_on_failure=False)


def _step(args: ExecuteStepArgs, run: DagsterRun, instance: DagsterInstance, attempt: int) -> int:
    if attempt and _ended(args, instance) >= attempt:
        return 0
    for _event in api._execute_step_command_body(args, instance, run):
        pass
    return 0


def _ended(args: ExecuteStepArgs, instance: DagsterInstance) -> int:
    """How many attempts of the step have ended."""
    keys = set(args.step_keys_to_execute or ())
    entries = instance.all_logs(args.run_id, of_type=_ENDS)
    return sum(entry.step_key in keys for entry in entries)


def _resources_failed(args: ExecuteStepArgs, instance: DagsterInstance) -> bool:
    """Whether the last thing the log says about the step is that its resources failed."""
    keys = set(args.step_keys_to_execute or ())
    kinds = {DagsterEventType.STEP_WORKER_STARTED, DagsterEventType.RESOURCE_INIT_FAILURE}
    entries = [e for e in instance.all_logs(args.run_id, of_type=kinds) if e.step_key in keys]
    if not entries:
        return False
    return entries[-1].get_dagster_event().is_resource_init_failure


def _report(
    args: ExecuteStepArgs, run: DagsterRun, instance: DagsterInstance, attempt: int, reason: str
) -> None:
    """Fail a step whose process ended without a word.

    The executor itself ends a step whose resources failed, as its RetryPolicy has it.
    """
    if _ended(args, instance) >= max(attempt, 1) or _resources_failed(args, instance):
        return
    for key in args.step_keys_to_execute or ():
        text = f'The process of step "{key}" ended before the step did: {reason}.\n'
        event = DagsterEvent(
            event_type_value=DagsterEventType.STEP_FAILURE.value,
            job_name=run.job_name,
            step_handle=StepHandle.parse_from_key(key),
            event_specific_data=StepFailureData(SerializableErrorInfo(text, [], None), None),
            message=text.strip(),
        )
        instance.report_dagster_event(event, run.run_id)
