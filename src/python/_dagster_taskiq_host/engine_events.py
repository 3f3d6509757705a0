"""The engine event with which a worker announces a step or run and its location.

The event also names the parts of the message that differed from Dagster's storage and were ignored.
"""

from dagster import DagsterInstance, DagsterRun, MetadataValue
from dagster._core.events import EngineEventData

from . import code_origin, event_log, heartbeats
from .messages import Task


def announce(instance: DagsterInstance, run: DagsterRun, task: Task) -> None:
    """Writes the event. With its metadata another worker can determine whether this process is
    alive.
    """
    worker = task.worker
    host = worker["hostname"]
    process = heartbeats.this_process()
    facts = {
        event_log.OWNER_KEY: worker["id"],
        **process,
        "worker_pid": worker["pid"],
        "incarnation": worker.get("incarnation", ""),
        "queue": task.queue,
        "message_id": task.message_id,
        "attempt": str(task.attempt),
        "receive_count": str(task.receive_count),
    }
    what = f'step "{task.step_key}"' if task.is_step else "the run"
    text = f"Worker {worker['id']} on {host} runs {what} in process {process['pid']}."
    other = code_origin.difference(instance, run, task.job_origin, task.instance_ref)
    if other is not None:
        text += f" Not as its message says: {other}."
    instance.report_engine_event(
        text,
        run,
        EngineEventData(metadata={key: MetadataValue.text(text) for key, text in facts.items()}),
        step_key=task.step_key,
    )
