"""A Taskiq broker over SQS, for ``taskiq worker dagster_taskiq.app:broker``.

It is the plain Python alternative to the ``dagster-taskiq-tui`` worker pool: the same messages, one
process per step or run, no claims, and no user code kept loaded. Only this module needs taskiq.

Environment, besides that of the executor: ``DAGSTER_TASKIQ_PYTHON_STEPS`` and
``DAGSTER_TASKIQ_PYTHON_RUNS``, how many steps (default: the number of CPUs) and runs (default: 4)
are in hand at a time, and ``DAGSTER_TASKIQ_QUEUES``, further queues (those of
priority bands among them) by URL, separated by commas.
"""

import os
from typing import Annotated, Any

from taskiq import Context, TaskiqDepends, TaskiqEvents

from dagster_taskiq.python_worker.broker import SqsBroker
from dagster_taskiq.python_worker.processes import Processes
from dagster_taskiq.tags import TASK_EXECUTE_RUN, TASK_EXECUTE_STEP, TASK_RESUME_RUN

broker = SqsBroker(
    max_steps=int(os.environ.get("DAGSTER_TASKIQ_PYTHON_STEPS") or os.cpu_count() or 1),
    max_runs=int(os.environ.get("DAGSTER_TASKIQ_PYTHON_RUNS") or 4),
    further_queues=[url for url in os.environ.get("DAGSTER_TASKIQ_QUEUES", "").split(",") if url],
)
processes = Processes()
broker.add_event_handler(TaskiqEvents.WORKER_SHUTDOWN, lambda _state: processes.close())


@broker.task(task_name=TASK_EXECUTE_STEP)
async def execute_plan(
    execute_step_args_packed: dict[str, Any],
    context: Annotated[Context, TaskiqDepends()],
    executable_dict: dict[str, Any] | None = None,
) -> int:
    """Run one step; returns its process's exit code."""
    labels = context.message.labels
    return await processes.run(TASK_EXECUTE_STEP, execute_step_args_packed, labels)


@broker.task(task_name=TASK_EXECUTE_RUN)
async def execute_job(execute_job_args_packed: dict[str, Any]) -> int:
    """Run one run's orchestration; returns its process's exit code."""
    return await processes.run(TASK_EXECUTE_RUN, execute_job_args_packed, {})


@broker.task(task_name=TASK_RESUME_RUN)
async def resume_job(resume_job_args_packed: dict[str, Any]) -> int:
    """Go on with a run whose worker was lost; returns its process's exit code."""
    return await processes.run(TASK_RESUME_RUN, resume_job_args_packed, {})
