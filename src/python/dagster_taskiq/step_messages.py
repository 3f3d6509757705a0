"""The ``execute_plan`` messages of one run."""

from collections.abc import Mapping
from typing import Any

from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.state import KnownExecutionState
from dagster._core.execution.retries import RetryMode
from dagster._grpc.types import ExecuteStepArgs
from dagster._serdes import pack_value

from dagster_taskiq import message
from dagster_taskiq.progress import InFlightStep
from dagster_taskiq.routing import Route
from dagster_taskiq.sqs import Outgoing, deduplication_id, group_id
from dagster_taskiq.tags import TASK_EXECUTE_STEP


class StepMessages:
    """Builds the messages. Parts that are the same for every step of the run are packed once."""

    def __init__(self, context: PlanOrchestrationContext, retries: RetryMode):
        self._run_id = context.run_id
        self._job = context.job_name
        job = context.reconstructable_job
        self._executable: Mapping[str, Any] = job.to_dict()
        packed: Any = pack_value(
            ExecuteStepArgs(
                job_origin=job.get_python_origin(),
                run_id=context.run_id,
                step_keys_to_execute=[],
                instance_ref=context.instance.get_ref(),
                retry_mode=retries.for_inner_plan(),
                known_state=KnownExecutionState(),
                should_verify_step=False,
                print_serialized_events=True,
            )
        )
        self._common: dict[str, Any] = packed

    def build(
        self,
        flight: InFlightStep,
        route: Route,
        known_state: KnownExecutionState,
        user_attempt: int,
    ) -> Outgoing:
        """The message for one attempt of a step."""
        key = flight.step.key
        task_id = message.new_task_id()
        packed = {
            **self._common,
            "step_keys_to_execute": [key],
            "known_state": pack_value(known_state),
        }
        body = message.encode(
            task_id,
            TASK_EXECUTE_STEP,
            message.labels(
                priority=route.priority,
                queue=route.queue,
                run_id=self._run_id,
                step_key=key,
                attempt=flight.attempt,
                user_attempt=user_attempt,
                job=self._job,
                **({"isolation": route.isolation} if route.isolation else {}),
            ),
            {"execute_step_args_packed": packed, "executable_dict": self._executable},
        )
        # An intended resend must not be dropped as a duplicate.
        nonce = (flight.resends,) if flight.resends else ()
        return Outgoing(
            key=key,
            task_id=task_id,
            body=body,
            url=route.url,
            fallback_url=route.fallback_url,
            group=group_id(self._run_id, key),
            deduplication=deduplication_id(self._run_id, key, flight.attempt, *nonce),
        )
