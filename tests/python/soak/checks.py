"""What must hold when a soak is over, by the event log."""

from collections import Counter
from dataclasses import dataclass, field

from dagster import DagsterInstance, DagsterRunStatus

from soak.location import LIMITED
from soak.scene import Scene

ENDS = ("STEP_SUCCESS", "STEP_FAILURE", "STEP_SKIPPED")
RUN_ENDS = ("PIPELINE_SUCCESS", "PIPELINE_FAILURE", "PIPELINE_CANCELED")


@dataclass
class Found:
    """What the log says, and what is wrong with it."""

    runs: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def check(scene: Scene) -> Found:
    """Read every run's log, the pools, the queues and the steps' traces."""
    found = Found()
    traces = Counter((scene.folder / "traces").read_text().splitlines())
    for run_id in scene.launched:
        _check_run(scene, run_id, traces, found)
    slots = scene.instance.event_log_storage.get_concurrency_info(LIMITED)
    if slots.active_slot_count or slots.pending_step_count:
        found.wrong.append(
            f"the pool {LIMITED} has {slots.active_slot_count} slots taken and"
            f" {slots.pending_step_count} steps waiting"
        )
    for queue in scene.queues():
        left = scene.left_in(queue)
        if left:
            found.wrong.append(f"{left} message(s) are left in the queue {queue}")
    return found


def _check_run(scene: Scene, run_id: str, traces: Counter[str], found: Found) -> None:
    status = scene.status(run_id)
    name = status.value if status else "missing"
    found.runs[name] += 1
    allowed = {DagsterRunStatus.SUCCESS}
    if run_id in scene.cancelled:
        allowed.add(DagsterRunStatus.CANCELED)
    if status not in allowed:
        found.wrong.append(f"run {run_id} is {name}")
    ends, retries, events = _ends(scene.instance, run_id)
    found.events.update(events)
    run_ends = sum(events[kind] for kind in RUN_ENDS)
    if run_ends != 1:
        found.wrong.append(f"run {run_id} has {run_ends} ends")
    for step, kinds in ends.items():
        if len(kinds) != 1:
            found.wrong.append(f"step {step} of run {run_id} has the ends {kinds}")
        # What a cancelled run interrupts has no end of its own.
        attempts = len(kinds) + retries[step] + (status != DagsterRunStatus.SUCCESS)
        ran = traces[f"{run_id} {step}"]
        if ran > attempts:
            found.wrong.append(
                f"step {step} of run {run_id} ran {ran} times, in {attempts} attempts"
            )
    if status == DagsterRunStatus.SUCCESS:
        started = {step for step, kinds in ends.items() if kinds == ["STEP_SUCCESS"]}
        if len(started) != len(ends) or not ends:
            found.wrong.append(f"run {run_id} succeeded with other ends than successes: {ends}")


def _ends(
    instance: DagsterInstance, run_id: str
) -> tuple[dict[str, list[str]], Counter[str], Counter[str]]:
    """Of each step that began its ends, and how often it was tried again; all types of events."""
    ends: dict[str, list[str]] = {}
    retries: Counter[str] = Counter()
    events: Counter[str] = Counter()
    canceled = False
    for entry in instance.all_logs(run_id):
        event = entry.dagster_event
        if event is None:
            continue
        kind = event.event_type_value
        events[kind] += 1
        canceled |= kind in ("PIPELINE_CANCELING", "PIPELINE_CANCELED")
        if event.step_key and kind in ENDS:
            ends.setdefault(event.step_key, []).append(kind)
        elif event.step_key and kind == "STEP_UP_FOR_RETRY":
            retries[event.step_key] += 1
        elif event.step_key and kind == "STEP_START" and not canceled:
            ends.setdefault(event.step_key, [])
    if canceled:
        ends = {step: kinds for step, kinds in ends.items() if kinds}
    return ends, retries, events
