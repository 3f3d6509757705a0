"""Whether a run can go on in another process after its run worker was lost."""

from dagster import DagsterInstance, DagsterRun
from dagster._core.executor.base import Executor
from dagster._core.executor.init import InitExecutorContext
from dagster._core.executor.step_delegating import StepDelegatingExecutor
from dagster._core.system_config.objects import ResolvedRunConfig

from . import locations

CAN_RESUME = "can_resume"
"""Attribute with which ``TaskiqExecutor`` says so: this package does not import the library."""


def resumes(instance: DagsterInstance, run: DagsterRun) -> bool:
    """Whether the run's executor takes up steps that an earlier run worker began.

    Those that send steps to processes elsewhere do. Dagster's others (``in_process``,
    ``multiprocess``) run the plan from its first step, whatever was done.
    """
    try:
        executor = _executor_of(instance, run)
    except Exception:
        return True  # met again, and written into the run's log, when the run goes on
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
