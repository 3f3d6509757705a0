"""Explains from Dagster's storage why a queued run or a waiting step does not start.

Nothing is guessed: each reason is a fact from the storage, and unavailable data are named. The
messages in the queues and the tasks that workers hold are not known here.
"""

from typing import Any

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus

from . import explain_runs, explain_steps
from .explain_words import Explanation, Reason, counted

LOOK_BACK = 500
"""Number of runs that are searched for the beginning of an id."""

MOST = 20
"""Maximum number of waiting steps of one run that are explained."""

WHOLE = 36
"""Length of a whole run id in characters."""


class Unclear(Exception):
    """The run or step is ambiguous or missing; the text gives the reason and the remedy."""


def explain(instance: DagsterInstance, run_id: str, step_key: str | None) -> dict[str, Any]:
    """Returns the explanation of a run or of one of its steps, or ``{"missing": sentence}``."""
    try:
        return _explain(instance, _find(instance, run_id), step_key).to_dict()
    except Unclear as problem:
        return {"missing": str(problem)}


def _find(instance: DagsterInstance, given: str) -> DagsterRun:
    run = instance.get_run_by_id(given)
    if run is not None:
        return run
    if len(given) >= WHOLE:
        raise Unclear(f"Dagster's storage has no run {given}")
    found = [run for run in instance.get_runs(limit=LOOK_BACK) if run.run_id.startswith(given)]
    if not found:
        raise Unclear(f"no run begins with {given} among the newest {LOOK_BACK}")
    if len(found) > 1:
        ids = ", ".join(run.run_id for run in found[:3])
        raise Unclear(f"{len(found)} runs begin with {given}: {ids}; give more of its id")
    return found[0]


def _explain(instance: DagsterInstance, run: DagsterRun, step_key: str | None) -> Explanation:
    found = Explanation(run.run_id, run.job_name, run.status.value, step_key)
    if step_key is None:
        explain_runs.explain(found, instance, run)
        if run.status == DagsterRunStatus.STARTED:
            _explain_steps(found, instance, run)
        return found
    plan = explain_steps.Plan(instance, run)
    if not plan.has(step_key) and plan.is_known:
        raise Unclear(f"run {run.run_id} has no step {step_key}; `run show` prints them")
    explain_steps.explain(found, instance, run, plan)
    return found


def _explain_steps(found: Explanation, instance: DagsterInstance, run: DagsterRun) -> None:
    """Adds for a started run what each step that has not begun waits for."""
    plan = explain_steps.Plan(instance, run)
    waiting = plan.waiting()
    for key in waiting[:MOST]:
        one = Explanation(run.run_id, run.job_name, run.status.value, key)
        explain_steps.explain(one, instance, run, plan)
        if one.waits and one.reasons:
            found.steps.append({"step_key": key, "reason": one.reasons[0].text})
    running = [key for key, status in plan.status.items() if status == "IN_PROGRESS"]
    text = (
        f"The run has started: {counted(len(running), 'step is', 'steps are')} in progress,"
        f" {counted(len(waiting), 'step has', 'steps have')} not begun."
    )
    found.waits = bool(found.reasons)
    found.reasons.append(Reason("started", text))
    if len(waiting) > MOST:
        found.unknown.append(
            f"what {len(waiting) - MOST} more steps wait for: only {MOST} are asked"
        )
