"""Ends of runs that only the log shows.

Dagster stores the event that ends a run first and the run's status after it, and writes a status
without checking the current one. A process that dies between the two leaves a run that seems to be
in progress. A request to cancel that arrives as the run ends can replace the final status. Both
would stay forever, and the run would be ended a second time.
"""

from dagster import DagsterEvent, DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus

from . import slots

ENDS = frozenset(
    {
        DagsterEventType.RUN_SUCCESS,
        DagsterEventType.RUN_FAILURE,
        DagsterEventType.RUN_CANCELED,
    }
)
"""Events that end a run."""


def restore(instance: DagsterInstance, run_id: str) -> bool:
    """Sets a run to the status of the end in its log; False if it has none."""
    event = _of(instance, run_id)
    if event is None:
        return False
    instance.run_storage.handle_run_event(run_id, event)
    return True


def cancel(instance: DagsterInstance, run: DagsterRun, sentence: str) -> DagsterRunStatus:
    """Ends a run that is being cancelled and has no process; returns its status then."""
    if not restore(instance, run.run_id):
        instance.report_run_canceled(run, sentence)
    slots.free_run(instance, run)
    found = instance.get_run_by_id(run.run_id)
    return found.status if found else DagsterRunStatus.CANCELED


def _of(instance: DagsterInstance, run_id: str) -> DagsterEvent | None:
    page = instance.get_records_for_run(run_id, None, of_type=set(ENDS), limit=1, ascending=False)
    return page.records[0].event_log_entry.get_dagster_event() if page.records else None
