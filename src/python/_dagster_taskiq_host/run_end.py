"""Ends of runs that only the log shows.

Dagster stores the event that ends a run first and the run's status after it, and writes a status
without looking at what it is. A process that dies between the two leaves a run that looks as if it
were under way; a request to cancel that is made as the run ends can replace the end's status. Both
would stand for ever, and the run would be ended a second time.
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
    """Gives a run the status of the end in its log; False where it has none."""
    event = _of(instance, run_id)
    if event is None:
        return False
    instance.run_storage.handle_run_event(run_id, event)
    return True


def cancel(instance: DagsterInstance, run: DagsterRun, sentence: str) -> DagsterRunStatus:
    """Ends a run that is being cancelled and that no process has; the status it has then."""
    if not restore(instance, run.run_id):
        instance.report_run_canceled(run, sentence)
    slots.free_run(instance, run)
    found = instance.get_run_by_id(run.run_id)
    return found.status if found else DagsterRunStatus.CANCELED


def _of(instance: DagsterInstance, run_id: str) -> DagsterEvent | None:
    page = instance.get_records_for_run(run_id, None, of_type=set(ENDS), limit=1, ascending=False)
    return page.records[0].event_log_entry.get_dagster_event() if page.records else None
