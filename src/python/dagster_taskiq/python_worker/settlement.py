"""Outcome of a task and of its message: the delivery rules, seen from the worker.

Whether and how an attempt runs is decided in its own process (``_dagster_taskiq_host``), under its
claim. Here its end is turned into a settlement of the message. A message is deleted only after its
effect is in Dagster's event log and a waiting sender has its result.
"""

import asyncio
import logging
import os
import random
import signal
import time
from dataclasses import dataclass
from typing import Any

from _dagster_taskiq_host import messages
from _dagster_taskiq_host.redaction import redact
from dagster_taskiq.python_worker.deliveries import Delivery
from dagster_taskiq.python_worker.hosts import (
    Frame,
    HostDied,
    HostUnusable,
    InstanceAgent,
    StepHost,
)

_LOG = logging.getLogger("dagster_taskiq")

#: Maximum number of lost workers of a step before it fails; the worker binary's default.
MAX_WORKER_LOST_RETRIES = 2
#: Maximum number of executions without an end before a message is dead-lettered; the worker
#: binary's default.
MAX_DELIVERIES = 10
#: Tries to take a dead process's claim: on Postgres the server may take 15 s to notice.
_CLAIM_TRIES = 80
_CLAIM_PAUSE = 0.25
_INTERRUPTED_AT_ONCE = 2


@dataclass(frozen=True)
class Settlement:
    """Settlement of a message: ``delete``, ``hide`` for some seconds, or ``dead_letter``."""

    kind: str
    reason: str
    seconds: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", redact(self.reason))


def back_off(receive_count: int) -> float:
    """2, 4, 8 … 60 seconds by receive count, less a fifth at random."""
    whole = min(60.0, float(2 << min(max(receive_count - 1, 0), 5)))
    return whole * (1 - 0.2 * random.random())


class Rules:
    """Runs tasks on a step host and determines their outcomes."""

    def __init__(self, steps: StepHost, instance_agent: InstanceAgent, visibility: float):
        self._steps = steps
        self._instance_agent = instance_agent
        self._visibility = visibility

    async def run(self, delivery: Delivery, worker: dict[str, str]) -> Settlement:
        """Run a task to its end; nothing is raised."""
        frame = _frame(delivery, worker)
        try:
            task = messages.unpack(frame)
            settlement = await self._run(frame, task)
            if settlement.kind == "dead_letter":
                settlement = await self._end_unrunnable(task, settlement)
        except messages.Undecodable as error:
            return Settlement("dead_letter", str(error))
        except HostUnusable as error:
            _LOG.warning("%s The message goes back to the queue.", error)
            return Settlement("hide", str(error), back_off(delivery.receive_count))
        return settlement

    async def result(self, delivery: Delivery, settlement: Settlement) -> dict[str, Any]:
        """The TaskiqResult that a sender other than our executor waits for.

        Raises:
            HostUnusable: Dagster's storage does not answer.

        """
        try:
            task = messages.unpack(_frame(delivery, {}))
        except messages.Undecodable:
            return _failed(settlement.reason, delivery)
        if not task.is_step:
            return _ended(None, delivery)
        found = await self._instance_agent.request(
            "attempt_events", run_id=task.run_id, step_key=task.step_key, attempt=task.attempt
        )
        if found["ended"]:
            return _ended(found["events"], delivery)
        return _failed(settlement.reason, delivery)

    async def _run(self, frame: Frame, task: messages.Task) -> Settlement:
        try:
            ended = await self._steps.run({**frame, "run_id": task.run_id})
        except HostDied as error:
            return await self._lost(task, error)
        report = ended["outcome"]
        if report is not None and report["outcome"] != "raised":
            return await self._settlement_of(task, report, ended["pid"])
        how = _how(ended, report)
        if report is None and not (ended["begun"] or ended["canceled"]):
            return self._not_started(task, f"its process {how} before it began")
        if not (task.is_step or ended["canceled"] or report is not None):
            # A lost process loses nothing of the run: the next one resumes it.
            return await self._interrupted(task, f"the run's process {how}", ended["pid"])
        retry = (not ended["canceled"] and ended["retry"]) or {}
        what = "step" if task.is_step else "run"
        host = frame["worker"]["hostname"]
        reason = (
            f"The {what}'s process {how} without recording an end"
            f" (host {host}, pid {ended['pid']})."
        )
        _LOG.warning("%s", reason)
        return await self._report(
            task,
            "crashed",
            reason,
            retry_allowed=bool(retry.get("allowed")),
            retry_delay=retry.get("delay"),
        )

    async def _lost(self, task: messages.Task, died: HostDied) -> Settlement:
        if not task.is_step:
            return await self._interrupted(task, str(died), died.task_pid)
        reason = f"Attempt {task.attempt} on host {task.worker['hostname']} was lost: {died}."
        return await self._report(task, "lost", reason)

    async def _settlement_of(self, task: messages.Task, report: Frame, pid: int) -> Settlement:
        outcome = report["outcome"]
        if outcome == "claim_held":
            _LOG.info("Another process runs %s: its message goes back.", _name(task))
            return Settlement("hide", "another process runs it", self._visibility)
        if outcome == "owner_silent":
            again = min(self._visibility, report["again_s"])
            return Settlement("hide", "another process may run it", again)
        if outcome == "not_started":
            return self._not_started(task, report["reason"])
        if outcome == "interrupted" and task.is_step:
            return await self._report(task, "lost", report["reason"])
        if outcome == "interrupted":
            return await self._interrupted(task, report["reason"], pid)
        if outcome == "unrunnable":
            return Settlement("dead_letter", report["reason"])
        word = report.get("status") or report.get("event") or report.get("reported") or outcome
        if outcome != "finished":
            _LOG.info("%s was not run: %s (%s).", _name(task), outcome, word)
        return Settlement("delete", f"{outcome}: {word}")

    async def _interrupted(self, task: messages.Task, reason: str, pid: int) -> Settlement:
        _LOG.info("%s was interrupted (%s) and goes on elsewhere.", _name(task), reason)
        # The next worker then need not wait for the silence of this one.
        try:
            await self._instance_agent.request(
                "release", run_id=task.run_id, worker=task.worker, pid=pid
            )
        except HostUnusable as error:
            _LOG.warning("%s The run goes on a little later.", error)
        at_once = task.receive_count <= _INTERRUPTED_AT_ONCE
        return Settlement("hide", reason, 0.0 if at_once else back_off(task.receive_count))

    def _not_started(self, task: messages.Task, reason: str) -> Settlement:
        _LOG.warning("%s was not started: %s. Its message goes back.", _name(task), reason)
        return Settlement("hide", reason, back_off(task.receive_count))

    async def _report(
        self, task: messages.Task, mode: str, reason: str, **retry: Any
    ) -> Settlement:
        """Write the end of an attempt whose process did not write it."""
        report = {
            "run_id": task.run_id,
            "step_key": task.step_key,
            "attempt": task.attempt,
            "mode": mode,
            "reason": reason,
            "retries_disabled": task.retries_disabled,
            "lost_policy": task.lost["policy"],
            "lost_max": task.lost["max"],
            **retry,
        }
        for _ in range(_CLAIM_TRIES):
            answer = await self._instance_agent.request("report", report=report)
            if answer["result"] != "held":
                break
            await asyncio.sleep(_CLAIM_PAUSE)
        if answer["result"] == "held":
            return Settlement("hide", "another process runs it", self._visibility)
        if answer["result"] == "missing":
            reason = f"run {task.run_id} does not exist in this worker's instance"
            return Settlement("dead_letter", reason)
        return Settlement("delete", reason)

    async def _end_unrunnable(self, task: messages.Task, settlement: Settlement) -> Settlement:
        """Write the reason into the run's log, so that no sender waits for the task."""
        _LOG.error("%s cannot be run: %s", _name(task), settlement.reason)
        written = await self._report(task, "unstarted", settlement.reason)
        return written if written.kind == "hide" else settlement


def _frame(delivery: Delivery, worker: dict[str, str]) -> Frame:
    task_name = delivery.task_name
    return {
        "kind": "step" if task_name == messages.EXECUTE_PLAN else "run",
        "id": delivery.task_id,
        "task": task_name,
        "kwargs": delivery.kwargs,
        "attempt": delivery.attempt,
        "receive_count": delivery.receive_count,
        "message_id": delivery.message_id,
        "queue": delivery.queue,
        "worker": worker,
        "lost": {"policy": "retry", "max": MAX_WORKER_LOST_RETRIES},
        "max_deliveries": MAX_DELIVERIES,
        "policy": {"allow_locations": _allowed_locations(), "trusts_message": False},
    }


def _allowed_locations() -> list[str]:
    text = os.environ.get("DAGSTER_TASKIQ_ALLOW_LOCATIONS", "")
    return [item.strip() for item in text.split(",") if item.strip()]


def _name(task: messages.Task) -> str:
    return f"step {task.step_key} of run {task.run_id}" if task.is_step else f"run {task.run_id}"


def _how(ended: Frame, report: Frame | None) -> str:
    if report is not None:
        return f"ended with {report['reason']}"
    if ended["signal"] is not None:
        return f"was ended by signal {ended['signal']} ({signal.Signals(ended['signal']).name})"
    return f"left with exit code {ended['code']}"


def _ended(events: list[str] | None, delivery: Delivery) -> dict[str, Any]:
    """Build a TaskiqResult as taskiq does; a step that failed has its STEP_FAILURE among the
    events.
    """
    return {
        "is_err": False,
        "log": None,
        "return_value": events,
        "execution_time": time.monotonic() - delivery.received_at,
        "labels": {},
        "error": None,
    }


def _failed(reason: str, delivery: Delivery) -> dict[str, Any]:
    error = {
        "exc_type": "RuntimeError",
        "exc_message": [reason],
        "exc_module": "builtins",
        "exc_cause": None,
        "exc_context": None,
        "exc_suppress_context": False,
    }
    return {**_ended(None, delivery), "is_err": True, "error": error}
