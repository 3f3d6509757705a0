"""Explains why a step does not start: its inputs, its waits, and whether it was sent."""

import re
import time
from collections.abc import Mapping
from typing import Any

from dagster import DagsterEvent, DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.storage.tags import GLOBAL_CONCURRENCY_TAG
from dagster._utils.tags import TagConcurrencyLimitsCounter

from . import event_log, explain_pace, explain_pools, explain_runs
from .event_log import Attempt
from .explain_words import Explanation, Reason, Sent, ago, clock, counted, lasted, listed
from .explain_workers import explain_sent

MAPPED = re.compile(r"\[[^\[\]]*\]$")
"""End of the key of a step that was created for one dynamic output."""

UNRESOLVED = "[?]"
"""The same end before the outputs are known."""

ENDS = ("SUCCESS", "SKIPPED", "FAILURE")


class Plan:
    """A run's execution plan as stored by Dagster, with the state of its steps."""

    def __init__(self, instance: DagsterInstance, run: DagsterRun) -> None:
        plan_id = run.execution_plan_snapshot_id
        plan: Any = instance.get_execution_plan_snapshot(plan_id) if plan_id else None
        self.is_known = plan is not None
        self._steps = {step.key: step for step in plan.steps} if plan else {}
        self._chosen = set(plan.step_keys_to_execute) if plan else set()
        self._needs: Mapping[str, set[str]] = plan.step_deps if plan else {}
        stats = instance.get_run_step_stats(run.run_id)
        self.status: dict[str, str | None] = {
            stat.step_key: stat.status.value if stat.status else None for stat in stats
        }

    def step(self, key: str) -> Any:
        """Returns the plan's own step; for a mapped one, the step from which it was created."""
        return self._steps.get(key) or self._steps.get(MAPPED.sub(UNRESOLVED, key))

    def has(self, key: str) -> bool:
        """Whether the step belongs to the run."""
        step = self.step(key)
        return key in self.status or (step is not None and step.key in self._chosen)

    def waiting(self) -> list[str]:
        """The steps that have not begun, in the plan's order, and those mapped ones that are known
        to be meant.
        """
        known = [key for key in self._steps if key in self._chosen and not self.status.get(key)]
        return [key for key in known if not key.endswith(UNRESOLVED)] + [
            key for key, status in self.status.items() if not status and key not in self._steps
        ]

    def needs(self, key: str) -> list[str]:
        """The steps of this run whose outputs a step needs."""
        step = self.step(key)
        if step is None:
            return []
        found: list[str] = []
        for need in sorted(self._needs.get(step.key, set()) & self._chosen):
            mapped = MAPPED.search(key) if step.key.endswith(UNRESOLVED) else None
            if not need.endswith(UNRESOLVED):
                found.append(need)
            elif mapped:
                found.append(need.removesuffix(UNRESOLVED) + mapped.group())
            else:
                start = need.removesuffix("?]")
                made = [k for k in self.status if k.startswith(start) and k.endswith("]")]
                found += made or [need]
        return found

    def pool(self, key: str) -> str | None:
        step = self.step(key)
        if step is None:
            return None
        return getattr(step, "pool", None) or (step.tags or {}).get(GLOBAL_CONCURRENCY_TAG)


def explain(found: Explanation, instance: DagsterInstance, run: DagsterRun, plan: Plan) -> None:
    """Adds the reasons why ``found.step_key`` does not start."""
    key = found.step_key
    assert key is not None
    attempts = event_log.read(instance, run.run_id, key, whole=True).attempts
    last = attempts[-1] if attempts else None
    event = last.terminal if last is not None else None
    retry = event is not None and event.event_type == DagsterEventType.STEP_UP_FOR_RETRY
    if last is not None and event is not None and not retry:
        found.waits = False
        text = f"It has ended ({event.event_type_value}, {ago(last.last_timestamp)})."
        found.reasons.append(Reason("ended", text))
        return
    if run.is_finished or run.status == DagsterRunStatus.CANCELING:
        explain_runs.explain(found, instance, run)
        if last is not None and event is None and _has_begun(last):
            _explain_open(found, instance, run, last)
        return
    if last is not None and event is None:
        _explain_open(found, instance, run, last)
    elif last is None or event is None or not _explain_retry(found, last, event):
        _explain_unsent(found, instance, run, plan)


def _has_begun(last: Attempt) -> bool:
    return last.start is not None or last.owner is not None


def _explain_open(
    found: Explanation, instance: DagsterInstance, run: DagsterRun, last: Attempt
) -> None:
    """Explains an attempt that was sent, or has begun, and has no end."""
    if not _has_begun(last):
        metadata = last.sent.event_specific_data.metadata if last.sent else {}  # type: ignore[union-attr]
        if "queue" not in metadata:
            text = f"It was given to a process of its own {ago(last.last_timestamp)}."
            found.reasons.append(Reason("launched", text))
            return
        found.sent = _sent(metadata, last)
        explain_sent(found, instance)
        return
    begun = last.start is not None
    since = last.started_at if begun else last.last_timestamp
    doing = "has run" if begun else "has been prepared"
    what = f"Attempt {last.number} {doing} since {clock(since)}"
    what += f" ({lasted(time.time() - since)})"
    state, words = "running", ""
    if last.owner is not None:
        state, words = explain_pools.condition(instance, last.owner, last.last_timestamp)
    found.waits = state != "running"
    if state == "running":
        found.reasons.append(Reason("running", f"{what}{f': {words}' if words else ''}."))
        if begun:
            explain_pace.explain(found, instance, run, found.step_key or "", since)
    else:
        text = (
            f"{what}, and its process is lost: {words}. A worker that receives its message ends the"
            " attempt, and it is tried again."
        )
        found.reasons.append(Reason("process_lost", text))


def _sent(metadata: Mapping[str, Any], last: Attempt) -> Sent:
    def value(name: str, otherwise: Any) -> Any:
        return metadata[name].value if name in metadata else otherwise

    return Sent(
        str(value("queue", "")),
        str(value("task id", "")),
        last.sent_at,
        value("priority", None),
        int(value("attempt", last.number)),
    )


def _explain_retry(found: Explanation, last: Attempt, event: DagsterEvent) -> bool:
    """Explains an attempt that is followed by a retry; returns whether its delay still runs."""
    delay = event.step_retry_data.seconds_to_wait
    lost = event_log.is_worker_lost(event)
    why = "was lost with its worker" if lost else "asked to be tried again"
    until = last.last_timestamp + delay if delay else 0.0
    if until > time.time():
        text = (
            f"Attempt {last.number} {why}, and the next one is sent in"
            f" {lasted(until - time.time())}, at {clock(until)} (a delay of {lasted(delay or 0)})."
        )
        found.reasons.append(Reason("retry_delay", text, until))
        return True
    text = f"Attempt {last.number} {why} {ago(last.last_timestamp)}; the next one was not sent yet."
    found.reasons.append(Reason("retry", text))
    return False


def _explain_unsent(
    found: Explanation, instance: DagsterInstance, run: DagsterRun, plan: Plan
) -> None:
    if run.status != DagsterRunStatus.STARTED:
        text = f"It was not sent: its run has not started ({run.status.value})."
        found.reasons.append(Reason("run_not_started", text))
        explain_runs.explain(found, instance, run)
        return
    _explain_needs(found, plan)
    if not explain_runs.explain_process(found, instance, run) or found.reasons:
        return
    key = found.step_key or ""
    if pool := plan.pool(key):
        explain_pools.explain(found, instance, pool)
    _explain_executor(found, instance, run, plan)
    if not found.reasons:
        text = (
            "It was not sent yet, and nothing that Dagster's storage tells keeps it: what it needs"
            " is there, and the run's own process lives."
        )
        found.reasons.append(Reason("not_sent", text))


def _explain_needs(found: Explanation, plan: Plan) -> None:
    open_needs, failed = [], []
    for need in plan.needs(found.step_key or ""):
        status = plan.status.get(need)
        if status == "FAILURE":
            failed.append(need)
        elif status not in ENDS:
            open_needs.append(f"{need} ({'in progress' if status else 'not begun'})")
    if failed:
        text = f"It will not start: it needs {listed(failed)}, which failed."
        found.reasons.append(Reason("needs_failed", text))
    if open_needs:
        steps = counted(len(open_needs), "step that has", "steps that have")
        text = f"It needs {steps} not ended: {listed(open_needs)}."
        found.reasons.append(Reason("needs", text))
    if not plan.is_known:
        found.unknown.append("which steps it needs: Dagster stored no plan of this run")


def _explain_executor(
    found: Explanation, instance: DagsterInstance, run: DagsterRun, plan: Plan
) -> None:
    """Adds the executor's own limits, if the run's configuration has them."""
    whole: Any = run.run_config
    config = (whole.get("execution") or {}).get("config") or {}
    most, limits = config.get("max_concurrent"), config.get("tag_concurrency_limits")
    if not isinstance(most, int) and not limits:
        return
    in_flight = _in_flight(instance, run, plan)
    if isinstance(most, int) and len(in_flight) >= most:
        text = f"{len(in_flight)} of {most} steps of the run (max_concurrent) are under way"
        found.reasons.append(Reason("max_concurrent", f"{text}: {listed(in_flight)}."))
    own = plan.step(found.step_key or "")
    if limits and own is not None:
        others = [step for key in in_flight if (step := plan.step(key)) is not None]
        if TagConcurrencyLimitsCounter(limits, others).is_blocked(own):
            text = "The executor's tag_concurrency_limits are reached by steps of the run"
            found.reasons.append(Reason("step_tag_limit", f"{text}: {listed(in_flight)}."))


def _in_flight(instance: DagsterInstance, run: DagsterRun, plan: Plan) -> list[str]:
    """The steps that were sent and have not ended."""
    records = instance.get_records_for_run(
        run.run_id, None, of_type=DagsterEventType.STEP_WORKER_STARTING
    ).records
    sent = dict.fromkeys(record.event_log_entry.step_key or "" for record in records)
    return [key for key in sent if plan.status.get(key) not in ENDS]
