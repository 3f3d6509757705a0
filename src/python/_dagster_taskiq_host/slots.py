"""Slots of concurrency pools.

Dagster frees the slot of a step when the run's own process reads the step's end. If that process
ends first, the slot stays taken until a daemon's sweep.
"""

from typing import Any

from dagster import DagsterEventType, DagsterInstance, DagsterRun

from . import claims, event_log, takeover


def free_step(instance: DagsterInstance, run_id: str, step_key: str) -> None:
    """Frees the slot that a step still holds although its process has ended."""
    storage = instance.event_log_storage
    if storage.supports_global_concurrency_limits:
        storage.free_concurrency_slot_for_step(run_id, step_key)


def free_unclaimed_step(
    instance: DagsterInstance, run_id: str, step_key: str, attempt: int
) -> None:
    """As ``free_step``, for a run that is over or being cancelled.

    If a process still runs the step, that process frees the slot.
    """
    if not instance.event_log_storage.supports_global_concurrency_limits:
        return
    claim = claims.claim(instance, run_id, step_key, attempt)
    if takeover.take(claim, lambda: event_log.step_owner(instance, run_id, step_key, attempt)):
        try:
            free_step(instance, run_id, step_key)
        finally:
            claim.release()


def free_run(instance: DagsterInstance, run: DagsterRun) -> None:
    """Frees the slots of a run that is over.

    A step that was sent elsewhere may still be ending, and holds its slot until then. A run that
    succeeded has no such steps.
    """
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return
    if run.is_success or not _sends_steps(instance, run.run_id):
        storage.free_concurrency_slots_for_run(run.run_id)
        return
    for step_key in steps_with_slots(instance, run.run_id):
        attempts = event_log.read(instance, run.run_id, step_key, whole=True).attempts
        free_unclaimed_step(instance, run.run_id, step_key, max(1, len(attempts)))


def _sends_steps(instance: DagsterInstance, run_id: str) -> bool:
    """Returns whether a run has sent a step elsewhere."""
    # Dagster's multiprocess executor writes such an event too, with nothing in it.
    sent = instance.get_records_for_run(
        run_id, None, of_type=DagsterEventType.STEP_WORKER_STARTING, limit=1
    )
    events = (record.event_log_entry.get_dagster_event() for record in sent.records)
    return any(event.engine_event_data.metadata for event in events)


def steps_with_slots(instance: DagsterInstance, run_id: str) -> set[str]:
    """Returns the steps of a run that hold a slot or wait for one."""
    storage = instance.event_log_storage
    pools = [storage.get_concurrency_info(key) for key in storage.get_concurrency_keys()]
    places: list[Any] = []
    for pool in pools:
        places += [*pool.claimed_slots, *pool.pending_steps]
    return {place.step_key for place in places if place.run_id == run_id}
