"""Location of a run: the announcements of its workers in its event log."""

from dataclasses import dataclass

from dagster import DagsterEvent, DagsterEventType, DagsterInstance

#: Metadata key of the engine event with which a worker announces that it runs a run or step.
OWNER_KEY = "dagster-taskiq/worker"
#: Prefix of the class name of an error that a worker wrote on a dead process's behalf.
_OWN_ERRORS = "dagster_taskiq."
_PAGE = 200


@dataclass(frozen=True)
class Announcement:
    """A worker's announcement that it runs a run, with its location; all as text."""

    worker: str
    host: str
    pid: str
    worker_pid: str
    queue: str
    message_id: str
    receive_count: str
    incarnation: str


def owner_of(event: DagsterEvent) -> str | None:
    """The worker that announces itself with this event, as the registry names its report; None for
    any other event.
    """
    if event.event_type != DagsterEventType.ENGINE_EVENT:
        return None
    metadata = event.engine_event_data.metadata
    found = metadata.get(OWNER_KEY)
    if found is None:
        return None
    incarnation = metadata.get("incarnation")
    # Empty for a worker that has none.
    text = str(incarnation.value) if incarnation is not None else ""
    return f"{found.value}/{text}" if text else str(found.value)


def last_announcement(instance: DagsterInstance, run_id: str) -> Announcement | None:
    """The last worker that ran the run; None if no worker has announced itself."""
    cursor = None
    while True:
        # From the newest on: each step has such events as well.
        page = instance.get_records_for_run(
            run_id, cursor, of_type=DagsterEventType.ENGINE_EVENT, limit=_PAGE, ascending=False
        )
        for record in page.records:
            event = record.event_log_entry.dagster_event
            found = _announcement(event) if event and event.step_key is None else None
            if found:
                return found
        cursor = page.cursor
        if not page.has_more:
            return None


def _announcement(event: DagsterEvent) -> Announcement | None:
    metadata = event.engine_event_data.metadata
    if OWNER_KEY not in metadata:
        return None

    def text(key: str) -> str:
        return str(metadata[key].value) if key in metadata else "unknown"

    return Announcement(
        worker=text(OWNER_KEY),
        host=text("host"),
        pid=text("pid"),
        worker_pid=text("worker_pid"),
        queue=text("queue"),
        message_id=text("message_id"),
        receive_count=text("receive_count"),
        incarnation=text("incarnation") if "incarnation" in metadata else "",
    )


def written_end(instance: DagsterInstance, run_id: str) -> str | None:
    """The end of the run's process, with its exit code or signal, if a worker had to write it."""
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.RUN_FAILURE):
        error = entry.get_dagster_event().job_failure_data.error
        if error is not None and (error.cls_name or "").startswith(_OWN_ERRORS):
            return error.message.strip()
    return None
