"""A Taskiq broker over SQS, for ``taskiq worker dagster_taskiq.app:broker``.

It is the plain Python alternative to the ``dagster-taskiq-tui`` worker pool: the same messages and
the same delivery rules (claims, lost workers, results for older senders, heartbeats), one process
per step or run, and no user code kept loaded. Only this module needs taskiq.

Environment, besides that of the executor: ``DAGSTER_TASKIQ_PYTHON_STEPS`` and
``DAGSTER_TASKIQ_PYTHON_RUNS``, the maximum numbers of steps (default: the number of CPUs) and runs
(default: 4) at a time; ``DAGSTER_TASKIQ_PYTHON_VISIBILITY_TIMEOUT``, the lease in seconds (default:
60, renewed); and ``DAGSTER_TASKIQ_QUEUES``, further queues (those of priority bands among them) by
URL, separated by commas.
"""

import os
from typing import Annotated, Any

from taskiq import Context, TaskiqDepends, TaskiqEvents

from dagster_taskiq.python_worker.broker import SqsBroker
from dagster_taskiq.python_worker.worker import Worker
from dagster_taskiq.tags import TASK_EXECUTE_RUN, TASK_EXECUTE_STEP, TASK_RESUME_RUN

broker = SqsBroker(
    max_steps=int(os.environ.get("DAGSTER_TASKIQ_PYTHON_STEPS") or os.cpu_count() or 1),
    max_runs=int(os.environ.get("DAGSTER_TASKIQ_PYTHON_RUNS") or 4),
    visibility_timeout=int(os.environ.get("DAGSTER_TASKIQ_PYTHON_VISIBILITY_TIMEOUT") or 60),
    further_queues=[url for url in os.environ.get("DAGSTER_TASKIQ_QUEUES", "").split(",") if url],
)
worker = Worker(broker)
broker.add_event_handler(TaskiqEvents.WORKER_STARTUP, worker.startup)
broker.add_event_handler(TaskiqEvents.WORKER_SHUTDOWN, worker.shutdown)

_Context = Annotated[Context, TaskiqDepends()]


@broker.task(task_name=TASK_EXECUTE_STEP)
async def execute_plan(
    context: _Context,
    execute_step_args_packed: dict[str, Any],
    executable_dict: dict[str, Any] | None = None,
) -> str:
    """Run one step; returns the outcome."""
    return await worker.perform(context.message.task_id)


@broker.task(task_name=TASK_EXECUTE_RUN)
async def execute_job(context: _Context, execute_job_args_packed: dict[str, Any]) -> str:
    """Run one run's orchestration; returns the outcome."""
    return await worker.perform(context.message.task_id)


@broker.task(task_name=TASK_RESUME_RUN)
async def resume_job(context: _Context, resume_job_args_packed: dict[str, Any]) -> str:
    """Resume a run whose worker was lost; returns the outcome."""
    return await worker.perform(context.message.task_id)
