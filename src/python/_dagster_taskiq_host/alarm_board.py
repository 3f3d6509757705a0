"""The deployment's alarms in Dagster's key-value store, which all workers share.

Workers that see the same alarm agree here who delivers it to a hook, and find the acknowledgements.
A delivery that was granted and is not reported as done within ``GRANT`` seconds is granted again:
its worker may have died. So a delivery happens at least once.

Every worker reads the board. Only one that has something to change takes the claim, reads again,
and writes: it delivers, or it is one of the few witnesses of an alarm. In a steady state the writes
do not grow with the number of workers that see the same.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

from dagster import DagsterInstance

from . import shared_value

KEY = "dagster-taskiq/alarms"

SEEN = 60.0
"""Seconds for which a worker's report that it sees an alarm is valid."""

REFRESH = 30.0
"""Seconds after which a witness repeats its report, and a worker that it delivers."""

WITNESSES = 3
"""Number of workers that report the same alarm. The others see it on the board; they take the place
of one that does not report it any more.
"""

GRACE = 25.0
"""Seconds without a report before an alarm ends that had as many witnesses as it can have: the time
in which others that see it read the board.
"""

GRANT = 120.0
"""Seconds for which a delivery belongs to a worker that does not report it."""

KEEP = 3600.0
"""Seconds for which an alarm that ended is kept."""

MAX_ALARMS = 500
"""Alarms on the board. Those that ended first are dropped first; while as many are open, no further
one begins.
"""

Board = dict[str, Any]


@contextlib.contextmanager
def _board(instance: DagsterInstance) -> Iterator[Board]:
    """Reads the board, and writes it if it was changed, while no other worker does."""
    with shared_value.changed(instance, KEY, "the list of alarms") as board:
        yield _completed(board)


def _read(instance: DagsterInstance) -> Board:
    text = instance.run_storage.get_cursor_values({KEY}).get(KEY)
    return _completed(shared_value.load(text))


def _completed(board: Board) -> Board:
    board.setdefault("alarms", {})
    board.setdefault("acknowledged", {})
    return board


def sync(instance: DagsterInstance, request: dict[str, Any]) -> dict[str, Any]:
    """Reports what a worker sees and has delivered; returns what it is to deliver.

    ``open``: alarms it sees, each with its ``id``, the ``alarm`` itself and the keys of the hooks
    that are ``due`` for its begin. ``hooks``: keys of all hooks of the worker. ``done``, ``lost``,
    ``working``: deliveries that have arrived, that it has given up or dropped, or that it is still
    trying, as ``[id, since, hook/phase]``. The end of an alarm whose begin was lost is not granted.

    The result has also ``alarms``, those that the worker sees and those that have ended, as they
    are on the board; and ``is_ending``, whether one ends soon if no worker reports it.
    """
    board = _read(instance)
    before = json.dumps(board, sort_keys=True)
    answer = _agree(board, request)
    if json.dumps(board, sort_keys=True) == before:
        return answer
    with _board(instance) as board:
        return _agree(board, request)


def _agree(board: Board, request: dict[str, Any]) -> dict[str, Any]:
    """Changes the board by what a worker reports; the answer to it."""
    worker, now, alarms = request["worker"], time.time(), board["alarms"]
    is_full = sum(not entry["ended"] for entry in alarms.values()) >= MAX_ALARMS
    reports = {
        report["id"]: report for report in request["open"] if report["id"] in alarms or not is_full
    }
    for report in reports.values():
        _witness(alarms, report, worker, now)
    for outcome in ("done", "lost", "working"):
        for alarm_id, since, key in request[outcome]:
            entry = alarms.get(alarm_id)
            if entry is not None and entry["since"] == since:
                _note_delivery(entry["sent"], key, worker, outcome, now)
    acknowledged = _acknowledged(board, now)
    grants = []
    for alarm_id, report in reports.items():
        if alarm_id not in acknowledged:
            due = [f"{hook}/started" for hook in report["due"]]
            grants += _grant(alarm_id, alarms[alarm_id], due, worker, now)
    for alarm_id, entry in alarms.items():
        if alarm_id not in reports:
            entry["seen"].pop(worker, None)
        entry["seen"] = {name: at for name, at in entry["seen"].items() if now - at < SEEN}
        if not entry["ended"]:
            _end(entry, now)
        if entry["ended"]:
            due = [
                f"{hook}/ended"
                for hook in request["hooks"]
                if _has_arrived(entry["sent"].get(f"{hook}/started", {}))
            ]
            grants += _grant(alarm_id, entry, due, worker, now)
    _forget(alarms, now)
    return {
        "grants": grants,
        "acknowledged": acknowledged,
        "alarms": [
            {"id": alarm_id, **_public(entry)}
            for alarm_id, entry in alarms.items()
            if entry["ended"] or alarm_id in reports
        ],
        "is_ending": any("unseen" in entry for entry in alarms.values()),
    }


def _witness(alarms: Board, report: dict[str, Any], worker: str, now: float) -> None:
    """Notes that a worker sees an alarm, unless enough others have said so."""
    entry: dict[str, Any] | None = alarms.get(report["id"])
    if entry is None or entry["ended"]:
        entry = {"since": report["since"], "ended": None, "seen": {}, "sent": {}, "at": now}
        alarms[report["id"]] = entry
        _update(entry, report)
    seen = entry["seen"]
    if worker in seen:
        is_due = now - seen[worker] >= REFRESH
    else:
        is_due = sum(now - at < SEEN for at in seen.values()) < WITNESSES
    if is_due:
        seen[worker] = now
        _update(entry, report)
        if len(seen) >= WITNESSES:
            # From here on there may be workers that see it and do not write so.
            entry["is_crowded"] = True


def _update(entry: dict[str, Any], report: dict[str, Any]) -> None:
    """Takes over an alarm as it is seen now. It began when its first witness saw it."""
    entry["alarm"] = {**report["alarm"], "since": entry["since"]}


def _has_arrived(delivery: dict[str, Any]) -> bool:
    return bool(delivery.get("done")) and not delivery.get("lost")


def _note_delivery(sent: dict[str, Any], key: str, worker: str, outcome: str, now: float) -> None:
    known, ended = sent.get(key), outcome != "working"
    if known is not None and known["done"]:
        return
    is_fresh = known is not None and known["by"] == worker and now - known["at"] < REFRESH
    if ended or not is_fresh:
        sent[key] = {"by": worker, "at": now, "done": ended}
        if outcome == "lost":
            sent[key]["lost"] = True


def _end(entry: dict[str, Any], now: float) -> None:
    """Ends an alarm that no worker sees any more."""
    if entry["seen"]:
        entry.pop("unseen", None)
    elif not entry.get("is_crowded"):
        entry["ended"] = now
    elif now - entry.setdefault("unseen", now) >= GRACE:
        entry["ended"] = entry.pop("unseen")


def _public(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: entry[name] for name in ("since", "ended", "alarm")}


def _grant(
    alarm_id: str, entry: dict[str, Any], keys: list[str], worker: str, now: float
) -> list[dict[str, Any]]:
    """Gives a worker the deliveries that no other one has."""
    granted = []
    for key in keys:
        sent = entry["sent"].get(key)
        if sent is not None and (sent["done"] or now - sent["at"] < GRANT):
            continue
        entry["sent"][key] = {"by": worker, "at": now, "done": False}
        granted.append({"id": alarm_id, "key": key, **_public(entry)})
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
