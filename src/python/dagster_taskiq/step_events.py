"""Writing the end of a step on behalf of a worker that did not write it."""

from dagster import DagsterEvent
from dagster._core.execution.context.system import IStepContext
from dagster._core.execution.plan.objects import StepFailureData, StepRetryData
from dagster._utils.error import SerializableErrorInfo


def end_step(context: IStepContext, error: SerializableErrorInfo, attempt: int) -> None:
    """Write that an attempt failed; it is retried if the step's RetryPolicy allows it.

    Args:
        context: the step's.
        error: the error for the log.
        attempt: number of the attempt, from 1, as the RetryPolicy counts.
    """
    policy = context.op_retry_policy
    if policy is None or context.retry_mode.disabled or attempt > policy.max_retries:
        fail_step(context, error)
        return
    delay = policy.calculate_delay(attempt)
    DagsterEvent.step_retry_event(context, StepRetryData(error=error, seconds_to_wait=delay))


def fail_step(context: IStepContext, error: SerializableErrorInfo) -> None:
    """Write that a step failed for good."""
    data = StepFailureData(error=error, user_failure_data=None)
    DagsterEvent.step_failure_event(context, data)
