"""Does once, in the process that forks the steps, what each of them would do anew.

A forked process inherits what Python, Dagster and SQLAlchemy have compiled, looked up and loaded by
then. So one step of a job of our own, with an instance in memory, is run before the first fork.

``DAGSTER_TASKIQ_PLAIN_DAGSTER=1`` leaves it out.
"""

import contextlib
import os

from dagster import DagsterInstance, job, op, reconstructable
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import create_execution_plan, execute_plan_iterator
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage
from dagster._grpc.types import ExecuteStepArgs
from dagster._serdes import pack_value, unpack_value

from . import connections, event_groups, event_log, storage_away
from .connections import PLAIN
from .event_groups import EventGroups

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@op
def _nothing() -> None: ...


@job
def _rehearsed() -> None:
    _nothing()


def rehearse(instance: DagsterInstance) -> None:
    """Prepares this process; what fails here is done by each forked process for itself."""
    if os.environ.get(PLAIN):
        return
    for part in (_run_a_step, lambda: prepare(instance), lambda: _load_log_manager(instance)):
        with contextlib.suppress(Exception):
            part()


def prepare(instance: DagsterInstance) -> None:
    """Prepares the storages for steps."""
    event_groups.install(instance)
    with contextlib.suppress(Exception):
        _remember_columns(instance)
    storage_away.wrap(instance)


def _run_a_step() -> None:
    definition = InMemoryJob(_rehearsed)
    origin = reconstructable(_rehearsed).get_python_origin()
    with DagsterInstance.ephemeral() as instance:
        connections.share_compiled(instance)
        run = instance.create_run_for_job(_rehearsed, run_config=_QUIET)
        arguments = ExecuteStepArgs(origin, run.run_id, ["_nothing"])
        unpack_value(pack_value(arguments), as_type=ExecuteStepArgs)
        prepare(instance)
        groups = EventGroups(instance, instance.handle_new_event, is_step=True)
        instance.handle_new_event = groups.store  # type: ignore[method-assign]
        instance.report_engine_event("nothing", run, step_key="_nothing")
        plan = create_execution_plan(definition, run_config=_QUIET)
        for _ in execute_plan_iterator(plan, definition, run, instance, run_config=_QUIET):
            pass
        instance.get_run_by_id(run.run_id)
        event_log.read(instance, run.run_id, "_nothing", whole=False)


def _load_log_manager(instance: DagsterInstance) -> None:
    """Loads the manager of compute logs; others than Dagster's own may open connections."""
    data = instance.get_ref().compute_logs_data
    if data is not None and data.class_name == LocalComputeLogManager.__name__:
        _ = instance.compute_log_manager


def _remember_columns(instance: DagsterInstance) -> None:
    """Remembers that the table of runs has its newer columns: Dagster looks for every read."""
    composite = getattr(instance.run_storage, "_storage", None)
    storage = instance.run_storage if composite is None else composite.run_storage
    name = "has_run_stats_index_cols"
    if (
        not os.environ.get(PLAIN)
        and isinstance(storage, SqlRunStorage)
        and name not in vars(storage)
        and storage.has_run_stats_index_cols()
    ):
        setattr(storage, name, lambda: True)
