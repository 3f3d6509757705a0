"""``taskiq_executor``: runs a job's steps on the workers behind an SQS queue."""

from collections.abc import Iterator, Mapping
from typing import Any

from dagster import Field, Int, Noneable, executor
from dagster._core.definitions.executor_definition import multiple_process_executor_requirements
from dagster._core.events import DagsterEvent
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode, get_retries_config
from dagster._core.execution.tags import get_tag_concurrency_limits_config
from dagster._core.executor.base import Executor
from dagster._core.executor.init import InitExecutorContext

from dagster_taskiq.config import queue_config_fields
from dagster_taskiq.errors import ConfigurationError

_CONFIG_SCHEMA = {
    **queue_config_fields(),
    "retries": get_retries_config(),
    "max_concurrent": Field(
        Noneable(Int),
        is_required=False,
        description="How many steps of a run may be with the workers at a time. Default: no limit.",
    ),
    "tag_concurrency_limits": get_tag_concurrency_limits_config(),
}


class TaskiqExecutor(Executor):
    """Sends steps as Taskiq messages over SQS and follows them in the event log.

    Settings are resolved when a run is executed, not before: every step's process creates an
    executor too, and needs no queue.
    """

    #: For the worker: a run whose run worker was lost is resumed from its state.
    can_resume = True

    def __init__(
        self,
        config: Mapping[str, Any],
        retries: RetryMode,
        max_concurrent: int | None = None,
        tag_concurrency_limits: list[dict[str, Any]] | None = None,
    ):
        self.config = config
        self.max_concurrent = max_concurrent
        self.tag_concurrency_limits = tag_concurrency_limits or []
        self._retries = retries

    @property
    def retries(self) -> RetryMode:
        """Whether steps that request a retry are retried."""
        return self._retries

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[DagsterEvent]:
        """Execute a run's plan, or resume it after its run worker was lost."""
        from dagster_taskiq.run_loop import RunLoop

        if self.max_concurrent is not None and self.max_concurrent < 1:
            raise ConfigurationError(
                f"max_concurrent is {self.max_concurrent}; give a number above 0, or leave it out"
                " for no limit."
            )
        for limit in self.tag_concurrency_limits:
            if limit["limit"] < 1:
                raise ConfigurationError(
                    f"tag_concurrency_limits has the limit {limit['limit']} for {limit['key']},"
                    " with which no step of that tag could ever start; give a number above 0."
                )
        yield from RunLoop(self, plan_context, execution_plan).events()


@executor(
    name="taskiq",
    config_schema=_CONFIG_SCHEMA,
    requirements=multiple_process_executor_requirements(),
)
def taskiq_executor(init_context: InitExecutorContext) -> TaskiqExecutor:
    """Runs each step on a worker, reached through Amazon SQS (or a compatible broker).

    Every configuration key is optional. Without a queue in the configuration and in
    ``DAGSTER_TASKIQ_SQS_QUEUE_URL``, the broker that ``dagster-taskiq-tui`` starts on this machine
    is used.
    """
    config: dict[str, Any] = dict(init_context.executor_config)
    return TaskiqExecutor(
        config=config,
        retries=RetryMode.from_config(config["retries"]) or RetryMode.ENABLED,
        max_concurrent=config.get("max_concurrent"),
        tag_concurrency_limits=config.get("tag_concurrency_limits"),
    )
