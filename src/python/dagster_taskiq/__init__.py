"""Dagster steps and runs over Amazon SQS, as Taskiq messages.

``taskiq_executor`` sends the steps of a run to SQS; ``TaskiqRunLauncher`` sends whole runs. Both
follow the progress in Dagster's own event log. The steps are run by ``dagster-taskiq-tui`` workers
or by ``taskiq worker dagster_taskiq.app:broker``.
"""

from dagster_taskiq.errors import DagsterTaskiqError
from dagster_taskiq.executor import taskiq_executor
from dagster_taskiq.launcher import TaskiqRunLauncher
from dagster_taskiq.tags import (
    DAGSTER_TASKIQ_PRIORITY_TAG,
    DAGSTER_TASKIQ_QUEUE_TAG,
    DAGSTER_TASKIQ_RUN_PRIORITY_TAG,
    DAGSTER_TASKIQ_TASK_ID_TAG,
)
from dagster_taskiq.version import __version__

__all__ = [
    "DAGSTER_TASKIQ_PRIORITY_TAG",
    "DAGSTER_TASKIQ_QUEUE_TAG",
    "DAGSTER_TASKIQ_RUN_PRIORITY_TAG",
    "DAGSTER_TASKIQ_TASK_ID_TAG",
    "DagsterTaskiqError",
    "TaskiqRunLauncher",
    "__version__",
    "taskiq_executor",
]
