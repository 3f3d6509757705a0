"""Holders of the slots of a concurrency pool, and whether they still need them."""

import time
from typing import Any

from dagster import DagsterEventType, DagsterInstance

from . import claims, event_log, heartbeats, slots, takeover
from .explain_words import Explanation, Holder, Reason, ago, counted, lasted, short

MOST = 10
"""Maximum number of holders that are examined one by one."""

GONE = ("over", "gone", "silent")
"""States of a holder whose slot may be freed, if its claim is free, too."""


def explain(found: Explanation, instance: DagsterInstance, pool: str) -> None:
    """Adds the reason for which the explained step waits for its pool, if it does."""
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return
    info = storage.get_concurrency_info(pool)
    if info.limit is None and not info.slot_count:
        return
    own = (found.run_id, found.step_key or "")
    pending = {(step.run_id, step.step_key): step for step in info.pending_steps}
    holders = _holders(info)
    if own in holders:
        return
    waits = own in pending
    if len(holders) < info.slot_count and not waits:
        return
    if not info.slot_count:
        found.reasons.append(Reason("pool", f"The pool {pool} has no slots.", pool=pool))
        return
    looked = [
        _look(instance, run_id, step_key, since)
        for (run_id, step_key), since in list(holders.items())[:MOST]
    ]
    text = (
        f"The pool {pool} has {counted(info.slot_count, 'slot')}, and"
        f" {'it is' if len(holders) == 1 else f'{len(holders)} are'} held."
    )
    before = [step for key, step in pending.items() if _is_before(step, pending.get(own))]
    if before:
        text += f" {counted(len(before), 'step waits', 'steps wait')} for it before this one."
    idle = [holder for holder in looked if holder.can_free]
    if idle:
        whose = "Its holder" if len(holders) == 1 else f"{len(idle)} of the holders"
        text += f" {whose} may not need it any more: {idle[0].name()}"
    elif looked:
        text += f" {looked[0].name()}"
    found.reasons.append(Reason("pool", text, holders=looked, pool=pool))


def explain_run(found: Explanation, instance: DagsterInstance, pools: list[str]) -> None:
    """Adds a reason for each of the pools without a free slot, for a run that waits for them."""
    for pool in pools:
        before = len(found.reasons)
        explain(found, instance, pool)
        for reason in found.reasons[before:]:
            reason.text = f"The run queue waits for a slot of a pool. {reason.text}"


def _holders(info: Any) -> dict[tuple[str, str], float | None]:
    """Holders of a slot, or of an assigned one, with the time of assignment (Unix seconds)."""
    # A slot is assigned to a pending step, which takes it at its next check and stays listed.
    found: dict[tuple[str, str], float | None] = {
        (step.run_id, step.step_key): step.assigned_timestamp.timestamp()
        for step in info.pending_steps
        if step.assigned_timestamp is not None
    }
    for slot in info.claimed_slots:
        found.setdefault((slot.run_id, slot.step_key), None)
    return found


def _is_before(step: Any, own: Any) -> bool:
    if step.assigned_timestamp is not None or own is None or step is own:
        return False
    order = (-(step.priority or 0), step.enqueued_timestamp)
    return order < (-(own.priority or 0), own.enqueued_timestamp)


def _look(instance: DagsterInstance, run_id: str, step_key: str, since: float | None) -> Holder:
    run = instance.get_run_by_id(run_id)
    name = f"{step_key} of run {short(run_id)}"
    held = f" has had it for {lasted(time.time() - since)}" if since else " has it"
    holder = Holder(run_id, step_key, "", run.job_name if run else "", since)
    if run is None:
        holder.state, what = "over", "its run was deleted"
    elif run.is_finished:
        holder.state, what = "over", f"its run is over ({run.status.value})"
    else:
        holder.state, what = _state_of_step(instance, run_id, step_key)
    holder.text = f"{name}{held}: {what}."
    holder.can_free = holder.state in GONE
    return holder


def _state_of_step(instance: DagsterInstance, run_id: str, step_key: str) -> tuple[str, str]:
    attempts = event_log.read(instance, run_id, step_key, whole=True).attempts
    if not attempts:
        return "waiting", "it was not sent yet"
    last = attempts[-1]
    if last.terminal is not None:
        if last.terminal.event_type == DagsterEventType.STEP_UP_FOR_RETRY:
            # The run's process gives the slot back, and may have it again for the next attempt.
            return "waiting", "its next attempt is to come"
        return "over", f"it has ended ({last.terminal.event_type_value})"
    if last.owner is not None:
        return condition(instance, last.owner, last.last_timestamp)
    if last.start is not None:
        # No worker announced it: a run of Dagster's own executors, of which no process reports.
        process = f"process {last.start.pid}" if last.start.pid else "a process"
        return "running", (
            f"it was started in {process}, which is not a worker's, and may have died. If so,"
            " cancel its run"
        )
    return "waiting", f"it was sent {ago(last.last_timestamp)} and has not begun"


def condition(instance: DagsterInstance, owner: dict[str, str], seen: float) -> tuple[str, str]:
    """Returns the state of a process that announced itself, as in ``Holder.state``, and a text.

    ``seen``: the time of its last trace in the log, in Unix seconds.
    """
    name = f"process {owner.get('pid', '?')} of worker {owner['id']} on {owner.get('host', '?')}"
    if "released" in owner:
        return "gone", f"{name} is over, as its worker wrote"
    if heartbeats.is_here(owner):
        if heartbeats.has_left(owner):
            return "gone", f"{name} is not there any more"
        return "running", f"{name} runs it"
    report = heartbeats.report_of(instance, owner)
    if report.get("state") == heartbeats.STOPPED:
        return "gone", f"{name} is over: its worker has ended"
    age = time.time() - (heartbeats.time_of(report) if report else seen)
    if age > heartbeats.STALE_AFTER:
        return "silent", f"nothing was heard of {name} for {lasted(age)}"
    return "running", f"{name} runs it"


def free(instance: DagsterInstance, run_id: str, step_key: str) -> dict[str, str]:
    """Gives back a slot whose holder does not need it any more: ``done`` or ``refused``.

    The holder's claim is held meanwhile, so that the slot of a step that a process still runs is
    not given to another step. All slots of a finished run are given back: otherwise the next one
    would be assigned to another of its steps.
    """
    name = f"{step_key} of run {short(run_id)}"
    if step_key not in slots.steps_with_slots(instance, run_id):
        return {"refused": f"{name} holds no slot of a pool"}
    holder = _look(instance, run_id, step_key, None)
    if not holder.can_free:
        return {"refused": f"the slot is in use: {holder.text}"}
    run = instance.get_run_by_id(run_id)
    if run is None:
        instance.event_log_storage.free_concurrency_slots_for_run(run_id)
        return {"done": f"the pool slots of run {run_id}, which was deleted, were freed"}
    if run.is_finished:
        slots.free_run(instance, run)
        if step_key in slots.steps_with_slots(instance, run_id):
            return {"refused": f"the slot is in use: some process holds the claim of {name}"}
        instance.report_engine_event(f"An operator freed its pool slots. {holder.text}", run)
        return {"done": f"the pool slots of run {short(run_id)} were freed"}
    attempts = event_log.read(instance, run_id, step_key, whole=True).attempts
    number = max(1, len(attempts))
    claim = claims.claim(instance, run_id, step_key, number)
    find = lambda: event_log.step_owner(instance, run_id, step_key, number)  # noqa: E731
    if not takeover.take(claim, find):
        return {"refused": f"the slot is in use: some process holds the claim of {name}"}
    try:
        if holder.state == "silent" and not claim.definite:
            return {"refused": f"{name} may still run: nothing was heard of its worker"}
        slots.free_step(instance, run_id, step_key)
    finally:
        claim.release()
    text = f"An operator freed the pool slot of {step_key}. {holder.text}"
    instance.report_engine_event(text, run, step_key=step_key)
    return {"done": f"the pool slot of {name} was freed"}
