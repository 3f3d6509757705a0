"""The instance agent: accesses Dagster's storage for the worker, and imports no user code.

It writes the worker's heartbeat, looks for cancelled runs and writes the end of steps whose process
is gone. Heartbeats and the query for cancelled runs have their own thread, so that they never wait
for a slow look-up; everything else is done one after the other. Each answer carries its request's
id.
"""

import contextlib
import os
import queue
import selectors
import sys
import threading
from collections import deque
from typing import Any

from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._serdes import serialize_value

from . import (
    alarm_board,
    alarm_facts,
    code_origin,
    compute_logs,
    diagnostics,
    event_log,
    fleet_digest,
    heartbeats,
    lost_runs,
    paused_queues,
    reports,
    storage_away,
)
from .frames import Channel, Closed, Frame
from .redaction import print_exc, redact

ENDING = (DagsterRunStatus.CANCELING, DagsterRunStatus.CANCELED, DagsterRunStatus.FAILURE)
"""Statuses in which a run's steps are interrupted."""

ENDS = event_log.TERMINAL | {DagsterEventType.RESOURCE_INIT_FAILURE}
"""Events that end an attempt; the last kind's end is written by the executor that reads it."""

OUTPUTS = frozenset(
    {DagsterEventType.STEP_OUTPUT, DagsterEventType.HANDLED_OUTPUT, DagsterEventType.LOADED_INPUT}
)

MAX_EVENTS = 8 * 1024 * 1024
"""Size of an attempt's events in characters beyond which only those that advance a run are
returned: a frame has a limit.
"""


PULSE = frozenset({"heartbeat", "ending_runs", "fleet"})
"""Requests that are answered beside the others. They take no claims, which belong to a process."""

STOP = 4.0
"""Seconds for open requests when the worker requests the stop."""


class _Failures:
    """The kinds of requests whose last answer was an error, with its innermost cause.

    Requests are repeated, some every few seconds, and fail as often while something is broken: only
    the first traceback says anything.
    """

    def __init__(self) -> None:
        self._causes: dict[str, type[BaseException]] = {}

    def is_new(self, kind: str, error: Exception) -> bool:
        """Records an error; returns whether no kind of request was failing with its cause."""
        cause = type(storage_away.innermost(error))
        is_new = cause not in self._causes.copy().values()
        self._causes[kind] = cause
        return is_new

    def ended(self, kind: str) -> None:
        self._causes.pop(kind, None)


class _Lane:
    """Answers its requests one after the other, in its own thread."""

    def __init__(
        self, name: str, instance: DagsterInstance, answers: "_Answers", failures: _Failures
    ) -> None:
        self._requests: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._instance = instance
        self._answers = answers
        self._failures = failures
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, frame: Frame) -> None:
        self._requests.put(frame)

    def end(self) -> None:
        """Waits for the answers to queued requests, with a limit."""
        self._requests.put(None)
        self._thread.join(STOP)

    def _run(self) -> None:
        while (frame := self._requests.get()) is not None:
            self._answers.put(_answer(self._instance, frame, self._failures))


class _Answers:
    """Answers of the lanes for the thread that owns the socket, which is woken."""

    def __init__(self) -> None:
        self._waiting: deque[Frame] = deque()
        self._woken, self._waking = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._waking, False)

    def fileno(self) -> int:
        return self._woken

    def put(self, frame: Frame) -> None:
        self._waiting.append(frame)
        # A full pipe wakes it as well.
        with contextlib.suppress(BlockingIOError):
            os.write(self._waking, b".")

    def send(self, channel: Channel) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._woken, 4096)
        while self._waiting:
            channel.send(self._waiting.popleft())


def serve(channel: Channel, instance: DagsterInstance, waiting: list[Frame]) -> None:
    """Answers requests until the worker requests the stop or closes the socket."""
    answers, failures = _Answers(), _Failures()
    lanes = [_Lane(name, instance, answers, failures) for name in ("pulse", "look-ups")]
    with contextlib.suppress(Closed):
        if not _take(waiting, lanes):
            _loop(channel, lanes, answers)
        for lane in lanes:
            lane.end()
        answers.send(channel)


def _loop(channel: Channel, lanes: list[_Lane], answers: _Answers) -> None:
    with selectors.PollSelector() as selector:
        selector.register(channel, selectors.EVENT_READ)
        selector.register(answers, selectors.EVENT_READ)
        stopped = False
        while not stopped:
            writing = selectors.EVENT_WRITE if channel.has_output else 0
            selector.modify(channel, selectors.EVENT_READ | writing)
            for key, events in selector.select():
                if key.fileobj is answers:
                    answers.send(channel)
                    continue
                if events & selectors.EVENT_WRITE:
                    channel.flush()
                if events & selectors.EVENT_READ:
                    stopped = _take(channel.receive(), lanes)


def _take(frames: list[Frame], lanes: list[_Lane]) -> bool:
    """Passes requests on; returns whether the worker requests the stop."""
    pulse, others = lanes
    for frame in frames:
        if frame["kind"] == "stop":
            return True
        if "id" not in frame:
            print(f"a {frame['kind']} frame is not for the instance agent", file=sys.stderr)
        elif frame["kind"] in PULSE:
            pulse.put(frame)
        else:
            others.put(frame)
    return False


def _answer(instance: DagsterInstance, frame: Frame, failures: _Failures) -> Frame:
    try:
        value = _perform(instance, frame)
    except Exception as error:
        # The worker reports a storage that is away with each answer. The place in Dagster where it
        # was noticed is of no use.
        if not storage_away.is_away(error) and failures.is_new(frame["kind"], error):
            print_exc()
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return {"kind": "answer", "id": frame["id"], "error": redact(text)[:500]}
    failures.ended(frame["kind"])
    return {"kind": "answer", "id": frame["id"], "value": value}


def _perform(instance: DagsterInstance, frame: Frame) -> Any:
    kind = frame["kind"]
    if kind == "heartbeat":
        return heartbeats.beat(instance, frame["worker"], frame["body"])
    if kind == "fleet":
        return heartbeats.fleet(instance) if frame["all"] else fleet_digest.look(instance)
    if kind == "about":
        return diagnostics.describe(instance)
    if kind == "alarm_facts":
        return alarm_facts.latest(instance, frame["window"])
    if kind == "alarm_sync":
        return alarm_board.sync(instance, frame["request"])
    if kind == "alarm_acknowledge":
        return alarm_board.acknowledge(instance, frame)
    if kind == "pause_queue":
        return paused_queues.pause(instance, frame["queue"], frame["by"], frame["reason"])
    if kind == "resume_queue":
        return paused_queues.resume(instance, frame["queue"])
    if kind == "code":
        return code_origin.look_up(instance, frame)
    if kind == "ending_runs":
        return _ending_runs(instance, frame["run_ids"])
    if kind == "lost_runs":
        return lost_runs.look(instance, frame["worker"], frame["every"])
    if kind == "report":
        return reports.write(instance, reports.Report(**frame["report"]))
    if kind == "release":
        return reports.release(instance, frame["run_id"], frame["worker"], frame["pid"])
    if kind == "cancel_run":
        return reports.cancel_run(instance, frame["run_id"])
    if kind == "attempt_events":
        return _attempt_events(instance, frame["run_id"], frame["step_key"], frame["attempt"])
    if kind in ("explain", "free_slot"):
        # What is not public of Dagster's and needed there alone is not to keep an instance agent
        # from starting.
        from . import explain, explain_pools

        answer = explain.explain if kind == "explain" else explain_pools.free
        return answer(instance, frame["run_id"], frame["step_key"])
    if kind == "usual_time":
        from . import explain_pace

        return explain_pace.usual_time(instance, frame["run_id"], frame["step_key"])
    if kind == "capture":
        return compute_logs.whereabouts(instance, frame["run_id"], frame["file_key"])
    raise ValueError(f"unknown request {kind}")


def _attempt_events(
    instance: DagsterInstance, run_id: str, step_key: str, attempt: int
) -> dict[str, Any]:
    """Returns the attempt's events in Dagster's own form, and whether they contain its end."""
    events = event_log.attempt_events(instance, run_id, step_key, attempt)
    ended = any(event.event_type in ENDS for event in events)
    texts = [serialize_value(event) for event in events]
    if sum(map(len, texts)) > MAX_EVENTS:
        kept = (event for event in events if event.event_type in ENDS | event_log.STARTS | OUTPUTS)
        texts = [serialize_value(event) for event in kept]
    return {"events": texts, "ended": ended}


def _ending_runs(instance: DagsterInstance, run_ids: list[str]) -> dict[str, str]:
    """Returns those of the runs that are being cancelled, were cancelled or have failed."""
    filters = RunsFilter(run_ids=run_ids, statuses=list(ENDING))
    records = instance.get_run_records(filters)
    return {record.dagster_run.run_id: record.dagster_run.status.value for record in records}
