"""Explains from the workers' reports why no worker runs a message that was sent.

The messages in the queue are not known here: the worker binary, which has the broker, adds them.
"""

import time
from datetime import datetime
from typing import Any

from dagster import DagsterInstance

from . import heartbeats, paused_queues
from .explain_words import Explanation, Reason, ago, counted, lasted, listed

RECEIVES = "running"
"""The state in which a worker receives messages."""


def explain_sent(found: Explanation, instance: DagsterInstance) -> None:
    """Adds the workers' reports about the message in ``found.sent``."""
    sent = found.sent
    assert sent is not None
    reports = heartbeats.reports(instance)
    live = [report for report in reports if _age(report) <= heartbeats.ALIVE]
    holder = next((report for report in live if _has_in_hand(report, found)), None)
    if holder is not None:
        text = f"Worker {holder['id']} has it in hand and prepares it."
        found.reasons.append(Reason("in_hand", text))
        return
    was_sent = f"It was sent to the queue {sent.queue} {ago(sent.at)}"
    serving = [report for report in live if sent.queue in _queues(report)]
    if not serving:
        found.reasons.append(_no_worker(was_sent, sent.queue, reports, live))
        return
    pause = paused_queues.read(instance).get(sent.queue)
    if pause is not None:
        found.reasons.append(_paused_queue(was_sent, pause))
        return
    receiving = [report for report in serving if report.get("state") == RECEIVES]
    if not receiving:
        states = listed([f"{report['id']} is {report.get('state')}" for report in serving])
        text = f"{was_sent}, and no worker receives from it now: {states}."
        found.reasons.append(Reason("workers_paused", text))
        return
    slots = [_slots(report, found.step_key is None) for report in receiving]
    what = "run" if found.step_key is None else "step"
    if all(busy >= target for busy, target in slots):
        each = [
            f"{report['id']} {busy}/{target}"
            for report, (busy, target) in zip(receiving, slots, strict=True)
        ]
        text = f"{was_sent}, and every {what} slot of the workers that receive from it is busy:"
        found.reasons.append(Reason("slots_busy", f"{text} {listed(each)}."))
        return
    free = sum(max(target - busy, 0) for busy, target in slots)
    names = listed([report["id"] for report in receiving])
    text = f"{was_sent}; {names} {'receives' if len(receiving) == 1 else 'receive'} from it and"
    text += f" {'has' if len(receiving) == 1 else 'have'} {counted(free, f'free {what} slot')}."
    found.reasons.append(Reason("in_queue", text))


def _paused_queue(was_sent: str, pause: dict[str, Any]) -> Reason:
    since = ago(datetime.fromisoformat(str(pause["at"])).timestamp())
    text = f"{was_sent}, and {pause.get('by') or 'an operator'} paused that queue {since}"
    given = pause.get("reason")
    return Reason("queue_paused", f"{text}: {given}" if given else f"{text}.")


def _no_worker(was_sent: str, queue: str, reports: list[Any], live: list[Any]) -> Reason:
    text = f"{was_sent}, and no live worker receives from it"
    silent = [
        f"{report['id']} did, and has not reported for {lasted(_age(report))}"
        for report in reports
        if report not in live and queue in _queues(report)
    ]
    others = [f"{report['id']} receives from {listed(_queues(report), 3)}" for report in live]
    if silent or others:
        text += f": {listed([*silent, *others])}"
    else:
        text += ": no worker reports to this storage"
    return Reason("no_worker", f"{text}.")


def _age(report: dict[str, Any]) -> float:
    return time.time() - heartbeats.time_of(report)


def _queues(report: dict[str, Any]) -> list[str]:
    queues = report.get("queues")
    return [str(queue) for queue in queues] if isinstance(queues, list) else []


def _has_in_hand(report: dict[str, Any], found: Explanation) -> bool:
    flights = report.get("in_flight")
    return any(
        isinstance(flight, dict)
        and (flight.get("run_id"), flight.get("step_key")) == (found.run_id, found.step_key)
        for flight in (flights if isinstance(flights, list) else ())
    )


def _slots(report: dict[str, Any], for_runs: bool) -> tuple[int, int]:
    """The number of busy slots, and of all slots."""
    slots = report.get("slots")
    try:
        target = int(slots["runs" if for_runs else "steps"]) if isinstance(slots, dict) else 0
    except (KeyError, TypeError, ValueError):
        target = 0
    flights = report.get("in_flight")
    flights = flights if isinstance(flights, list) else []
    busy = sum(
        isinstance(flight, dict) and (flight.get("step_key") is None) == for_runs
        for flight in flights
    )
    return busy, target
