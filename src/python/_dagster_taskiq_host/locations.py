"""The user's code: the job of a run, and the reason why a code location does not load."""

import traceback

from dagster import DagsterInstance, DagsterRun
from dagster._core.definitions.reconstruct import ReconstructableJob
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._utils.hosted_user_process import recon_job_from_origin

from .redaction import print_exc, redact
from .storage_away import StorageGaveUp


class LocationBroken(Exception):
    """A run's code cannot be loaded; the text contains the reason, in one sentence."""


def job_of(instance: DagsterInstance, run: DagsterRun) -> ReconstructableJob:
    """Returns the run's job in its code location, not loaded yet.

    The location's own environment variables are set: its code may read them when it is imported.

    Raises:
        LocationBroken: the run does not name its code location.

    """
    if run.job_code_origin is None:
        raise LocationBroken(f"run {run.run_id} names no code location")
    remote = run.remote_job_origin
    instance.inject_env_vars(remote.location_name if remote else None)
    load_data = None
    if run.has_repository_load_data and run.execution_plan_snapshot_id:
        snapshot = instance.get_execution_plan_snapshot(run.execution_plan_snapshot_id)
        load_data = snapshot.repository_load_data
    return recon_job_from_origin(run.job_code_origin).with_repository_load_data(load_data)


def load(job: ReconstructableJob) -> None:
    """Loads the job's code location, which is cheap if its host has loaded it.

    Raises:
        LocationBroken: it does not load.

    """
    try:
        job.get_repository_definition()
    except (KeyboardInterrupt, DagsterExecutionInterruptedError):
        raise
    except BaseException as error:  # user code that calls sys.exit, too
        print_exc()
        where = job.repository.pointer.describe()
        raise LocationBroken(f"code location {where} does not load: {last_line(error)}") from error


def missing(instance: DagsterInstance, run: DagsterRun) -> str | None:
    """Describes what the run needs and the loaded code lacks, in one sentence.

    Definitions may be generated from files that have changed since they were loaded: a dbt
    manifest, a list of names.
    """
    try:
        subset_of(instance, run).get_definition()
    except (KeyboardInterrupt, DagsterExecutionInterruptedError, StorageGaveUp):
        raise
    except LocationBroken:
        return None
    except Exception as error:
        return last_line(error)
    return None


def subset_of(instance: DagsterInstance, run: DagsterRun) -> ReconstructableJob:
    """Returns the run's job with the run's selection, not loaded yet.

    Raises:
        LocationBroken: the run does not name its code location.

    """
    return job_of(instance, run).get_subset(
        op_selection=run.resolved_op_selection,
        asset_selection=run.asset_selection,
        asset_check_selection=run.asset_check_selection,
    )


def last_line(error: BaseException) -> str:
    """Returns the last line of an exception and of the root cause of its chain, user code's own."""
    line = redact(traceback.format_exception_only(error)[-1].strip())
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if cause is error:
        return line
    return f"{line} ({redact(traceback.format_exception_only(cause)[-1].strip())})"
