"""The deployment's alarms in Dagster's key-value store, which all workers share.

Workers that see the same alarm agree here who delivers it to a hook, and find the acknowledgements.
The board is read, changed and written under a claim. A delivery that was granted and is not
reported as done within ``GRANT`` seconds is granted again: its worker may have died. So a delivery
happens at least once.
"""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from dagster import DagsterInstance

from . import shared_value

KEY = "dagster-taskiq/alarms"

SEEN = 60.0
"""Seconds for which a worker's report that it sees an alarm is valid."""

GRANT = 120.0
"""Seconds for which a delivery belongs to a worker that does not report it."""

KEEP = 3600.0
"""Seconds for which an alarm that ended is kept."""

MAX_ALARMS = 500
"""Alarms on the board; those that ended first are dropped first."""

Board = dict[str, Any]


@contextlib.contextmanager
def _board(instance: DagsterInstance) -> Iterator[Board]:
    """Reads the board, and writes it if it was changed, while no other worker does."""
    with shared_value.changed(instance, KEY, "the list of alarms") as board:
        board.setdefault("alarms", {})
        board.setdefault("acknowledged", {})
        yield board


def sync(instance: DagsterInstance, request: dict[str, Any]) -> dict[str, Any]:
    """Reports what a worker sees and has delivered; returns what it is to deliver.

    ``open``: alarms it sees, each with its ``id``, the ``alarm`` itself and the keys of the hooks
    that are ``due`` for its begin. ``hooks``: keys of all hooks of the worker. ``done``,
    ``working``: deliveries that it has ended, or is still trying, as ``[id, since, hook/phase]``.
    """
    worker, now = request["worker"], time.time()
    with _board(instance) as board:
        alarms = board["alarms"]
        entries = {report["id"]: _open(alarms, report, now) for report in request["open"]}
        for deliveries, ended in ((request["done"], True), (request["working"], False)):
            for alarm_id, since, key in deliveries:
                entry = alarms.get(alarm_id)
                if entry is not None and entry["since"] == since:
                    entry["sent"][key] = {"by": worker, "at": now, "done": ended}
        acknowledged = _acknowledged(board, now)
        grants = []
        for report in request["open"]:
            entry = entries[report["id"]]
            entry["seen"][worker] = now
            if report["id"] not in acknowledged:
                due = [f"{hook}/started" for hook in report["due"]]
                grants += _grant(report["id"], entry, due, worker, now)
        for alarm_id, entry in alarms.items():
            if alarm_id not in entries:
                entry["seen"].pop(worker, None)
            entry["seen"] = {name: at for name, at in entry["seen"].items() if now - at < SEEN}
            if not entry["seen"] and not entry["ended"]:
                entry["ended"] = now
            if entry["ended"]:
                due = [
                    f"{hook}/ended"
                    for hook in request["hooks"]
                    if entry["sent"].get(f"{hook}/started", {}).get("done")
                ]
                grants += _grant(alarm_id, entry, due, worker, now)
        _forget(alarms, now)
    return {"grants": grants, "acknowledged": acknowledged}


def _open(alarms: Board, report: dict[str, Any], now: float) -> dict[str, Any]:
    entry: dict[str, Any] | None = alarms.get(report["id"])
    if entry is None or entry["ended"]:
        entry = {"since": report["since"], "ended": None, "seen": {}, "sent": {}, "at": now}
        alarms[report["id"]] = entry
    entry["alarm"] = report["alarm"]
    return entry


def _grant(
    alarm_id: str, entry: dict[str, Any], keys: list[str], worker: str, now: float
) -> list[dict[str, Any]]:
    """Gives the deliveries that nobody has to a worker."""
    granted = []
    for key in keys:
        sent = entry["sent"].get(key)
        if sent is not None and (sent["done"] or now - sent["at"] < GRANT):
            continue
        entry["sent"][key] = {"by": worker, "at": now, "done": False}
        known = {name: entry[name] for name in ("since", "ended", "alarm")}
        granted.append({"id": alarm_id, "key": key, **known})
    return granted


def _forget(alarms: Board, now: float) -> None:
    ended = sorted((entry["ended"], name) for name, entry in alarms.items() if entry["ended"])
    excess = max(0, len(alarms) - MAX_ALARMS)
    for index, (at, name) in enumerate(ended):
        if index < excess or now - at > KEEP:
            del alarms[name]


def _acknowledged(board: Board, now: float) -> dict[str, Any]:
    valid = {name: ack for name, ack in board["acknowledged"].items() if ack["until"] > now}
    board["acknowledged"] = valid
    return valid


def acknowledge(instance: DagsterInstance, request: dict[str, Any]) -> dict[str, Any]:
    """Notes until when an alarm is acknowledged, by whom; without ``until`` it is withdrawn.

    Returns the acknowledgements that are in effect.
    """
    now = time.time()
    with _board(instance) as board:
        if request["until"] is None:
            board["acknowledged"].pop(request["alarm"], None)
        else:
            known = {"until": request["until"], "by": request["by"]}
            board["acknowledged"][request["alarm"]] = known
        return _acknowledged(board, now)
