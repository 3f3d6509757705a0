"""The ledger: speaks for the worker to Dagster's storage, and imports no user code.

It beats the worker's heart, looks for cancelled runs and writes the end of steps whose process is
gone. One request after the other; each answer carries its request's id.
"""

import contextlib
import selectors
import sys
from typing import Any

from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._serdes import serialize_value

from . import about, code_origin, compute_logs, history, liveness, reports
from .frames import Channel, Closed, Frame
from .redaction import print_exc, redact

ENDING = (DagsterRunStatus.CANCELING, DagsterRunStatus.CANCELED, DagsterRunStatus.FAILURE)
"""Statuses in which a run's steps are interrupted."""

ENDS = history.TERMINAL | {DagsterEventType.RESOURCE_INIT_FAILURE}
"""How an attempt can end; the last one's end is written by the executor that reads it."""

OUTPUTS = frozenset(
    {DagsterEventType.STEP_OUTPUT, DagsterEventType.HANDLED_OUTPUT, DagsterEventType.LOADED_INPUT}
)

MAX_EVENTS = 8 * 1024 * 1024
"""Characters of an attempt's events beyond which only what moves a run forward is answered: a
frame has a limit."""


def serve(channel: Channel, instance: DagsterInstance, waiting: list[Frame]) -> None:
    """Answers requests until the worker asks to stop or closes the socket."""
    with contextlib.suppress(Closed):
        if not _serve_all(channel, instance, waiting):
            return
        _loop(channel, instance)


def _loop(channel: Channel, instance: DagsterInstance) -> None:
    while True:
        with selectors.PollSelector() as selector:
            writing = selectors.EVENT_WRITE if channel.wants_write else 0
            selector.register(channel, selectors.EVENT_READ | writing)
            events = selector.select()[0][1]
        if events & selectors.EVENT_WRITE:
            channel.flush()
        if events & selectors.EVENT_READ and not _serve_all(channel, instance, channel.receive()):
            return


def _serve_all(channel: Channel, instance: DagsterInstance, frames: list[Frame]) -> bool:
    """Answers what asks for an answer; whether to go on."""
    for frame in frames:
        if frame["kind"] == "stop":
            return False
        if "id" in frame:
            channel.send(_answer(instance, frame))
        else:
            print(f"a {frame['kind']} frame is not for the ledger", file=sys.stderr)
    return True


def _answer(instance: DagsterInstance, frame: Frame) -> Frame:
    try:
        value = _perform(instance, frame)
    except Exception as error:
        print_exc()
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return {"kind": "answer", "id": frame["id"], "error": redact(text)[:500]}
    return {"kind": "answer", "id": frame["id"], "value": value}


def _perform(instance: DagsterInstance, frame: Frame) -> Any:
    kind = frame["kind"]
    if kind == "heartbeat":
        liveness.beat(instance, frame["worker"], frame["body"])
        return None
    if kind == "fleet":
        return liveness.fleet(instance)
    if kind == "about":
        return about.describe(instance)
    if kind == "code":
        return code_origin.look_up(instance, frame)
    if kind == "ending_runs":
        return _ending_runs(instance, frame["run_ids"])
    if kind == "report":
        return reports.write(instance, reports.Report(**frame["report"]))
    if kind == "cancel_run":
        return reports.cancel_run(instance, frame["run_id"])
    if kind == "attempt_events":
        return _attempt_events(instance, frame["run_id"], frame["step_key"], frame["attempt"])
    if kind == "capture":
        return compute_logs.whereabouts(instance, frame["run_id"], frame["file_key"])
    raise ValueError(f"unknown request {kind}")


def _attempt_events(
    instance: DagsterInstance, run_id: str, step_key: str, attempt: int
) -> dict[str, Any]:
    """The attempt's events in Dagster's own form, and whether they tell how it ended."""
    events = history.attempt_events(instance, run_id, step_key, attempt)
    ended = any(event.event_type in ENDS for event in events)
    texts = [serialize_value(event) for event in events]
    if sum(map(len, texts)) > MAX_EVENTS:
        kept = (event for event in events if event.event_type in ENDS | history.STARTS | OUTPUTS)
        texts = [serialize_value(event) for event in kept]
    return {"events": texts, "ended": ended}


def _ending_runs(instance: DagsterInstance, run_ids: list[str]) -> dict[str, str]:
    """Those of the runs that are being cancelled, were cancelled or have failed."""
    filters = RunsFilter(run_ids=run_ids, statuses=list(ENDING))
    records = instance.get_run_records(filters)
    return {record.dagster_run.run_id: record.dagster_run.status.value for record in records}
