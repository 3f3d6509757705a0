"""Explains why a run does not start: the run queue's reasons, and the run's later place."""

import time
from collections.abc import Mapping
from typing import Any

from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.op_concurrency_limits_counter import GlobalOpConcurrencyLimitsCounter
from dagster._core.run_coordinator.queued_run_coordinator import QueuedRunCoordinator
from dagster._core.storage.dagster_run import RunRecord
from dagster._core.storage.tags import PRIORITY_TAG

from . import event_log, explain_pools
from .explain_pools import condition
from .explain_words import (
    Explanation,
    Holder,
    Reason,
    Sent,
    ago,
    counted,
    lasted,
    listed,
    short,
)
from .explain_workers import explain_sent
from .lost_runs import TASK_ID_TAG
from .redaction import redact

DAEMON = "QUEUED_RUN_COORDINATOR"
"""Dagster's name of the daemon that dequeues runs."""

BEATS = 30.0
"""Seconds between two heartbeats of a daemon."""

SILENT = 3 * BEATS
"""Seconds without a heartbeat after which a daemon counts as silent."""

ACTIVE = (DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING)
"""The statuses that count against the limits of the run queue."""

QUEUED = 500
"""Maximum number of queued runs that are read, the oldest first."""

LOOKED_AT = 10
"""Maximum number of runs in progress that are examined one by one."""


def explain(found: Explanation, instance: DagsterInstance, run: DagsterRun) -> None:
    """Adds the reasons why a run does not start or go on."""
    status = run.status
    if status == DagsterRunStatus.QUEUED:
        _explain_queued(found, instance, run)
    elif status in (DagsterRunStatus.NOT_STARTED, DagsterRunStatus.MANAGED):
        text = f"The run is {status.value}: it was created and not handed to the run queue."
        found.reasons.append(Reason("not_submitted", text))
    elif status == DagsterRunStatus.STARTING:
        _explain_starting(found, instance, run)
    elif status == DagsterRunStatus.STARTED:
        explain_process(found, instance, run)
    elif status == DagsterRunStatus.CANCELING:
        found.waits = False
        found.reasons.append(Reason("canceling", "The run is being cancelled."))
        explain_process(found, instance, run)
    else:
        found.waits = False
        text = f"The run is over ({status.value})."
        if status == DagsterRunStatus.FAILURE:
            text = f"The run is over ({status.value}): `run show` has its errors."
        found.reasons.append(Reason("run_over", text))


def _explain_queued(found: Explanation, instance: DagsterInstance, run: DagsterRun) -> None:
    coordinator = instance.run_coordinator
    if not isinstance(coordinator, QueuedRunCoordinator):
        text = (
            f"The run is queued, and this instance has no run queue: its run coordinator is"
            f" {type(coordinator).__name__}."
        )
        found.reasons.append(Reason("no_run_queue", text))
        return
    _explain_daemon(found, instance)
    config: Any = instance.get_concurrency_config()
    queue = config.run_queue_config
    records = instance.get_run_records(RunsFilter(statuses=list(ACTIVE)))
    if queue is not None:
        _explain_limits(found, instance, run, queue, records)
        _explain_run_pools(found, instance, run, config, records)
    _explain_place(found, instance, run)
    if all(reason.kind == "run_queue_place" for reason in found.reasons):
        every = coordinator.dequeue_interval_seconds
        text = (
            "Nothing that Dagster's storage tells keeps it in the run queue; the daemon looks every"
            f" {every} s."
        )
        found.reasons.insert(0, Reason("run_queue", text))
        found.unknown.append(
            "whether the daemon leaves out the runs of this code location for a while after an"
            " error: only the daemon knows"
        )


def _explain_daemon(found: Explanation, instance: DagsterInstance) -> None:
    heartbeat = instance.get_daemon_heartbeats().get(DAEMON)
    if heartbeat is None:
        text = (
            "No daemon has ever taken runs out of this run queue: start `dagster-daemon run` (or"
            " `dagster dev`) on the same storage."
        )
        found.reasons.append(Reason("daemon", text))
        return
    age = time.time() - heartbeat.timestamp
    if age > SILENT:
        text = (
            "The daemon of the run queue is not running, or is stuck: its last heartbeat was"
            f" {ago(heartbeat.timestamp)}, and one is due every {BEATS:.0f} s."
        )
        found.reasons.append(Reason("daemon", text))
    elif heartbeat.errors:
        words = redact(" ".join(heartbeat.errors[0].message.split()))[:300]
        text = f"The daemon of the run queue reports an error: {words}"
        found.reasons.append(Reason("daemon", text))


def _explain_limits(
    found: Explanation,
    instance: DagsterInstance,
    run: DagsterRun,
    queue: Any,
    records: "list[RunRecord] | Any",
) -> None:
    most = queue.max_concurrent_runs
    if most >= 0 and len(records) >= most:
        text = f"{counted(len(records), 'run')} of {most} (max_concurrent_runs) are in progress"
        found.reasons.append(_limit("run_limit", text, instance, records))
    for limit in queue.tag_concurrency_limits or ():
        key, value = limit["key"], limit.get("value")
        if key not in run.tags or (isinstance(value, str) and run.tags[key] != value):
            continue
        each = isinstance(value, Mapping) and value.get("applyLimitPerUniqueValue")
        wanted = run.tags[key] if isinstance(value, str) or each else None
        same = [
            record
            for record in records
            if key in record.dagster_run.tags and wanted in (None, record.dagster_run.tags[key])
        ]
        if len(same) >= limit["limit"]:
            tag = key if wanted is None else f"{key}={wanted}"
            text = (
                f"{counted(len(same), 'run')} of {limit['limit']} (tag_concurrency_limits) with"
                f" the tag {tag} are in progress"
            )
            found.reasons.append(_limit("tag_limit", text, instance, same))


def _limit(kind: str, text: str, instance: DagsterInstance, records: Any) -> Reason:
    holders = [_look(instance, record) for record in list(records)[:LOOKED_AT]]
    names = [
        f"{short(record.dagster_run.run_id)} ({record.dagster_run.job_name},"
        f" {record.dagster_run.status.value})"
        for record in records
    ]
    text += f": {listed(names)}." if names else "."
    lost = [holder for holder in holders if holder.state in explain_pools.GONE]
    if lost:
        text += f" {counted(len(lost), 'of them has', 'of them have')} no process: {lost[0].name()}"
    return Reason(kind, text, holders=holders)


def _look(instance: DagsterInstance, record: RunRecord) -> Holder:
    run = record.dagster_run
    since = record.start_time or record.create_timestamp.timestamp()
    holder = Holder(run.run_id, None, "", run.job_name, since)
    what = f"{run.status.value} for {lasted(time.time() - since)}"
    if run.status != DagsterRunStatus.STARTING:
        owner, seen = event_log.run_owner(instance, run.run_id)
        if owner is not None:
            holder.state, words = condition(instance, owner, seen)
            what += f", {words}"
    elif TASK_ID_TAG in run.tags:
        holder.state = "waiting"
        what += ", waits for a run slot of a worker"
    holder.text = f"{short(run.run_id)} ({run.job_name}): {what}."
    return holder


class _Counter(GlobalOpConcurrencyLimitsCounter):
    """The run queue's own count of free pool slots, which writes nothing."""

    def _initialize_pool_limits(self, *_: Any, **__: Any) -> None:
        pass


def _explain_run_pools(
    found: Explanation, instance: DagsterInstance, run: DagsterRun, config: Any, records: Any
) -> None:
    queue = config.run_queue_config
    if not queue.should_block_op_concurrency_limited_runs or not run.run_op_concurrency:
        return
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return
    counter = _Counter(
        instance,
        [run],
        records,
        concurrency_keys=storage.get_concurrency_keys(),
        pool_limits=storage.get_pool_limits(),
        slot_count_offset=queue.op_concurrency_slot_buffer,
        pool_granularity=config.pool_config.pool_granularity,
    )
    if not counter.is_blocked(run):
        return
    needs = run.run_op_concurrency
    pools = sorted(needs.root_key_counts) or sorted(needs.all_pools or ())
    before = len(found.reasons)
    explain_pools.explain_run(found, instance, pools)
    if len(found.reasons) == before:
        text = f"The run queue waits for a slot of a pool: {', '.join(pools)}."
        found.reasons.append(Reason("pool", text))


def _explain_place(found: Explanation, instance: DagsterInstance, run: DagsterRun) -> None:
    """Adds the number of queued runs before it: those of a higher priority, then older ones."""
    filters = RunsFilter(statuses=[DagsterRunStatus.QUEUED])
    queued = instance.get_runs(filters, limit=QUEUED, ascending=True)
    ids = [other.run_id for other in queued]
    if run.run_id not in ids:
        found.unknown.append(f"its place in the run queue: more than {QUEUED} runs are before it")
        return
    own = ids.index(run.run_id)
    before = sum(
        (-_priority(other), place) < (-_priority(run), own) for place, other in enumerate(queued)
    )
    if before:
        text = f"{counted(before, 'queued run goes', 'queued runs go')} before it."
        found.reasons.append(Reason("run_queue_place", text))


def _priority(run: DagsterRun) -> int:
    try:
        return int(run.tags.get(PRIORITY_TAG, "0"))
    except ValueError:
        return 0


def _explain_starting(found: Explanation, instance: DagsterInstance, run: DagsterRun) -> None:
    if TASK_ID_TAG not in run.tags:
        launcher = type(instance.run_launcher).__name__
        text = f"{launcher} has launched the run, and its process has not said yet that it runs."
        found.reasons.append(Reason("launched", text))
        return
    found.sent = _sent(instance, run)
    if found.sent is None:
        text = "The run launcher is about to send the run to its queue."
        found.reasons.append(Reason("not_sent", text))
        return
    explain_sent(found, instance)


def _sent(instance: DagsterInstance, run: DagsterRun) -> Sent | None:
    """The newest message of a run, as the run launcher logged it."""
    page = instance.get_records_for_run(
        run.run_id, None, of_type=DagsterEventType.ENGINE_EVENT, limit=100, ascending=False
    )
    for record in page.records:
        event = record.event_log_entry.dagster_event
        if event is None or event.step_key is not None:
            continue
        metadata = event.engine_event_data.metadata
        if "url" in metadata and "task id" in metadata:
            queue = str(metadata["url"].value).rsplit("/", 1)[-1]
            return Sent(queue, str(metadata["task id"].value), record.timestamp)
    return None


def explain_process(found: Explanation, instance: DagsterInstance, run: DagsterRun) -> bool:
    """Adds a reason if the run's own process is lost; returns whether it may still exist."""
    owner, seen = event_log.run_owner(instance, run.run_id)
    if owner is None:
        launcher = type(instance.run_launcher).__name__
        found.unknown.append(f"whether the run's own process lives: {launcher} started it")
        return True
    state, words = condition(instance, owner, seen)
    if state == "running":
        return True
    text = f"The run's own process is lost: {words}. Nothing is sent before a worker resumes it."
    found.reasons.append(Reason("run_worker", text))
    return False
