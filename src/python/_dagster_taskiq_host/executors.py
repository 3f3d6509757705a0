"""Whether another process can resume a run after its run worker was lost."""

from dagster import DagsterInstance, DagsterRun
from dagster._core.executor.base import Executor
from dagster._core.executor.init import InitExecutorContext
from dagster._core.executor.step_delegating import StepDelegatingExecutor
from dagster._core.system_config.objects import ResolvedRunConfig

from . import locations

CAN_RESUME = "can_resume"
"""Attribute with which ``TaskiqExecutor`` declares it: this package does not import the library."""


def resumes(instance: DagsterInstance, run: DagsterRun) -> bool:
    """Returns whether the run's executor takes over steps that an earlier run worker began.

    Executors that send steps to other processes do. Dagster's others (``in_process``,
    ``multiprocess``) run the plan from its first step, regardless of completed steps.
    """
    try:
        executor = _executor_of(instance, run)
    except Exception:
        return True  # raised again, and written into the run's log, when the run is resumed
    return isinstance(executor, StepDelegatingExecutor) or getattr(executor, CAN_RESUME, False)


def _executor_of(instance: DagsterInstance, run: DagsterRun) -> Executor:
    job = locations.subset_of(instance, run)
    definition = job.get_definition()
    config = ResolvedRunConfig.build(definition, run.run_config)
    context = InitExecutorContext(
        job=job,
        executor_def=definition.executor_def,
        executor_config=config.execution.execution_engine_config,
        instance=instance,
    )
    create = definition.executor_def.executor_creation_fn
    if create is None:
        raise TypeError(f"executor {definition.executor_def.name} makes no executor")
    return create(context)
