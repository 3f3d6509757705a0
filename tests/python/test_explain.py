"""Why a run or step does not start, in situations that are really there: what the instance agent
tells, and what ``run explain`` and ``run free-slot`` make of it.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRunStatus,
    MetadataValue,
)
from dagster._core.events import EngineEventData, StepRetryData
from dagster._core.execution.plan.handle import StepHandle
from dagster._core.execution.plan.objects import StepSuccessData
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._daemon.types import DaemonHeartbeat
from dagster._utils.error import SerializableErrorInfo

from _dagster_taskiq_host import event_log, explain_pace, explain_pools, heartbeats
from _dagster_taskiq_host import explain as explaining
from _dagster_taskiq_host.explain_words import Explanation
from conftest import Background, Queue, create_run, job_named, own_binary, wait_for
from fleet import Begun, Fleet, running

POOL = "narrow"
LOCATION = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "repository")
ORIGIN = {"remote_job_origin": RemoteJobOrigin(LOCATION, "chain_job")}
QUEUE_YAML = """\
telemetry: {enabled: false}
run_coordinator: {module: dagster, class: QueuedRunCoordinator}
concurrency:
  runs:
    max_concurrent_runs: 2
    tag_concurrency_limits: [{key: team, value: {applyLimitPerUniqueValue: true}, limit: 1}]
  pools: {granularity: op}
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A project without a worker, with a pool of one slot."""
    storage = os.environ.get("DTQ_TEST_STORAGE", "")
    with running(tmp_path_factory.mktemp("explain"), storage=storage, visibility=600) as found:
        found.environment["XDG_STATE_HOME"] = str(found.folder / "state")
        found.instance.event_log_storage.set_concurrency_slots(POOL, 1)
        yield found


def told(instance: DagsterInstance, run_id: str, step: str | None = None) -> dict[str, Any]:
    """What the instance agent tells."""
    found = explaining.explain(instance, run_id, step)
    json.dumps(found)
    return found


def kinds(found: dict[str, Any]) -> list[str]:
    return [reason["kind"] for reason in found["reasons"]]


def text_of(found: dict[str, Any], kind: str) -> str:
    return next(reason["text"] for reason in found["reasons"] if reason["kind"] == kind)


def command(fleet: Fleet, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """A verb of ``run``; the project's storage is known to it."""
    found = [own_binary(), "run", *arguments, "--python", sys.executable]
    settings = fleet.folder / "bands.yaml"
    settings.write_text(
        "priority_bands: [{name: high, min: 8}, {name: normal, min: 3}, {name: low}]\n"
    )
    return subprocess.run(
        [*found, "-y", str(settings)],
        env=fleet.environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def explained(fleet: Fleet, run_id: str, *step: str) -> dict[str, Any]:
    """What ``run explain`` prints."""
    done = command(fleet, "explain", run_id, *step, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def kill(run: Begun) -> None:
    os.killpg(run.process.pid, signal.SIGKILL)
    run.process.wait()


def fail(fleet: Fleet, run: Begun) -> None:
    """As Dagster's monitor does, which gives no slot back."""
    found = fleet.instance.get_run_by_id(run.run_id)
    assert found is not None
    fleet.instance.report_run_failed(found)


@pytest.fixture
def queued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DagsterInstance]:
    """An instance with a run queue of two runs, one a team."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(QUEUE_YAML)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with DagsterInstance.get() as found:
        yield found


def test_a_queued_run_tells_of_the_daemon_of_the_limits_and_of_those_before_it(
    queued: DagsterInstance,
) -> None:
    def run(status: DagsterRunStatus, **tags: str) -> str:
        run = create_run("chain_job", queued, status=status, tags=tags, **ORIGIN)
        return run.run_id

    def beat(age: float) -> None:
        at = time.time() - age
        queued.add_daemon_heartbeat(DaemonHeartbeat(at, "QUEUED_RUN_COORDINATOR", "d", None))

    asked = run(DagsterRunStatus.QUEUED, team="a")
    found = told(queued, asked[:8])
    assert (found["run_id"], found["waits"]) == (asked, True)
    assert kinds(found) == ["daemon"]
    assert "No daemon has ever" in text_of(found, "daemon")
    beat(600)
    assert "its last heartbeat was 10 min ago" in text_of(told(queued, asked), "daemon")
    beat(1)
    found = told(queued, asked)
    assert kinds(found) == ["run_queue"] and found["unknown"]

    same_team = run(DagsterRunStatus.STARTED, team="a")
    found = told(queued, asked)
    assert kinds(found) == ["tag_limit"]
    assert "1 run of 1 (tag_concurrency_limits) with the tag team=a" in text_of(found, "tag_limit")
    assert [holder["run_id"] for holder in found["reasons"][0]["holders"]] == [same_team]
    other_team = run(DagsterRunStatus.STARTED, team="b")
    found = told(queued, asked)
    assert kinds(found) == ["run_limit", "tag_limit"]
    limit = text_of(found, "run_limit")
    assert "2 runs of 2 (max_concurrent_runs) are in progress" in limit
    assert same_team[:8] in limit and other_team[:8] in limit

    # A pool that another run's step holds.
    storage = queued.event_log_storage
    storage.set_concurrency_slots(POOL, 1)
    storage.claim_concurrency_slot(POOL, other_team, "load")
    pooled = queued.create_run_for_job(
        job_named("own_pool_job", "second.py").get_definition(),
        run_config={"ops": {"waits_in_pool": {"config": {"folder": "nowhere"}}}},
        status=DagsterRunStatus.QUEUED,
        **ORIGIN,
    ).run_id
    found = told(queued, pooled)
    assert kinds(found) == ["run_limit", "pool", "run_queue_place"]
    assert "The run queue waits for a slot of a pool. The pool narrow has 1 slot" in text_of(
        found, "pool"
    )
    assert [holder["step_key"] for holder in found["reasons"][1]["holders"]] == ["load"]

    run(DagsterRunStatus.QUEUED, **{"dagster/priority": "3"})
    assert "1 queued run goes before it" in text_of(told(queued, asked), "run_queue_place")
    assert "no run begins with ffffff-" in told(queued, "ffffff-")["missing"]


def test_a_delayed_retry_tells_until_when_and_a_step_what_it_needs(
    instance: DagsterInstance, queue: Queue
) -> None:
    waiting = Background("lost_job", instance, queue)
    run_id = waiting.run.run_id
    waiting.message()
    assert kinds(told(instance, run_id, "later")) == ["no_worker"]
    data = StepRetryData(SerializableErrorInfo("once\n", [], None), seconds_to_wait=600)
    waiting.report(DagsterEventType.STEP_UP_FOR_RETRY, "later", data)
    found = told(instance, run_id, "later")
    assert kinds(found) == ["retry_delay"] and found["reasons"][0]["until"]
    assert "Attempt 1 asked to be tried again, and the next one is sent in 10 min" in text_of(
        found, "retry_delay"
    )

    chain = Background("chain_job", instance, queue)
    chain.message()
    found = told(instance, chain.run.run_id, "add_one_2")
    assert text_of(found, "needs") == "It needs 1 step that has not ended: add_one (not begun)."
    assert "has no step nothing" in told(instance, chain.run.run_id, "nothing")["missing"]
    found = told(instance, chain.run.run_id)
    assert [step["step_key"] for step in found["steps"]] == ["add_one", "add_one_2", "one"]
    assert "no worker reports to this storage" in found["steps"][-1]["reason"]

    # As a worker announces the run's process, which is not there any more.
    facts = {event_log.OWNER_KEY: "w", "incarnation": "i", "host": socket.gethostname()}
    facts |= {"pid": "1", "started": "long ago", "boot": heartbeats.boot_id()}
    metadata = {key: MetadataValue.text(value) for key, value in facts.items()}
    instance.report_engine_event("Runs the run.", chain.run, EngineEventData(metadata=metadata))
    found = told(instance, chain.run.run_id)
    assert kinds(found) == ["run_worker", "started"] and found["waits"]
    assert "process 1 of worker w" in text_of(found, "run_worker")
    assert kinds(told(instance, chain.run.run_id, "add_one_2")) == ["needs", "run_worker"]
    for run in (waiting, chain):
        instance.report_run_canceling(run.run)
        run.finish()
    assert kinds(told(instance, run_id, "later"))[-1] == "run_over"


def test_a_step_that_runs_is_compared_with_its_last_ends(instance: DagsterInstance) -> None:
    def ran(seconds: float, ended: bool = True) -> str:
        run, now = create_run("chain_job", instance), time.time()
        events = [(DagsterEventType.STEP_START, now - seconds, None)]
        if ended:
            events.append((DagsterEventType.STEP_SUCCESS, now, StepSuccessData(1.0)))
        for kind, at, data in events:
            handle = StepHandle.parse_from_key("one")
            event = DagsterEvent(kind.value, run.job_name, handle, event_specific_data=data)
            instance.report_dagster_event(event, run.run_id, timestamp=at)
        return run.run_id

    for seconds in (10, 20):
        ran(seconds)
    found = told(instance, ran(60, ended=False), "one")
    assert kinds(found) == ["running"] and "it succeeded twice" in found["unknown"][0]
    assert explain_pace.usual_time(instance, found["run_id"], "one") is None
    ran(40)
    found = told(instance, ran(60, ended=False), "one")
    assert kinds(found) == ["running", "slow"]
    assert "the last 3 times it took 20 s (median), 40 s (p95)" in text_of(found, "slow")
    assert kinds(told(instance, ran(30, ended=False), "one")) == ["running", "pace"]
    usual = explain_pace.usual_time(instance, found["run_id"], "one")
    assert usual is not None and usual["runs"] == 3
    assert [round(usual[key], -3) for key in ("median_ms", "late_ms")] == [20_000, 40_000]


def test_a_holder_of_a_slot_that_no_worker_runs_is_not_said_to_be_alive(
    instance: DagsterInstance,
) -> None:
    storage = instance.event_log_storage
    storage.set_concurrency_slots("outside", 1)
    run = create_run("chain_job", instance)
    storage.claim_concurrency_slot("outside", run.run_id, "one")
    handle = StepHandle.parse_from_key("one")
    start = DagsterEvent(DagsterEventType.STEP_START.value, run.job_name, handle, pid=os.getpid())
    instance.report_dagster_event(start, run.run_id)
    found = Explanation(create_run("chain_job", instance).run_id, "chain_job", "QUEUED")
    explain_pools.explain_run(found, instance, ["outside"])
    [reason] = found.reasons
    assert f"one of run {run.run_id[:8]} has had it for" in reason.text
    assert f"process {os.getpid()}, which is not a worker's, and may have died" in reason.text
    [holder] = reason.holders
    assert reason.text.endswith(holder.text) and holder.is_named and not holder.can_free


def test_a_pool_tells_of_a_holder_whose_run_is_over_and_its_slot_can_be_freed(
    fleet: Fleet, tmp_path: Path
) -> None:
    config = {
        "ops": {op: {"config": {"folder": str(tmp_path)}} for op in ("waits_in_pool", "second")}
    }
    dead = fleet.begin("pool_job", config=config)
    holder, waiting = wait_for(lambda: sent_and_not(dead), "the first step's message")
    found = told(fleet.instance, dead.run_id, waiting)
    assert kinds(found) == ["pool"]
    assert f"{holder} of run {dead.run_id[:8]} has had it for" in text_of(found, "pool")
    [first] = found["reasons"][0]["holders"]
    assert (first["state"], first["can_free"]) == ("waiting", False)
    refused = explain_pools.free(fleet.instance, dead.run_id, holder)["refused"]
    assert "the slot is in use" in refused

    kill(dead)
    fail(fleet, dead)
    run = fleet.begin("pool_job", config=config)
    wait_for(lambda: pending(fleet, run), "the second run's wait for the pool")
    found = told(fleet.instance, run.run_id, holder)
    [first] = found["reasons"][0]["holders"]
    assert (first["state"], first["can_free"]) == ("over", True)
    assert "its run is over (FAILURE)" in first["text"]

    done = command(fleet, "free-slot", dead.run_id, holder, "--read-only")
    assert done.returncode != 0 and "read-only" in done.stderr
    done = command(fleet, "free-slot", dead.run_id, holder)
    assert done.returncode == 0 and "were freed" in done.stdout, done.stderr
    wait_for(lambda: run.count("STEP_WORKER_STARTING"), "the second run's step", 40)
    audit = (fleet.folder / "state/dagster-taskiq-tui/audit.jsonl").read_text().splitlines()
    outcomes = [json.loads(line) for line in audit]
    assert [entry["verb"] for entry in outcomes] == ["run free-slot"] * 2
    assert [entry["done"] for entry in outcomes] == [False, True]
    assert "freed" in outcomes[1]["text"]
    kill(run)
    fail(fleet, run)


def sent_and_not(run: Begun) -> tuple[str, str] | None:
    """The step of the pool's job that was sent, and the one that waits for the pool."""
    sent = list(run.count("STEP_WORKER_STARTING"))
    others = {"waits_in_pool", "second"} - set(sent)
    if len(sent) != 1 or not pending(run.fleet, run):
        return None
    return sent[0], others.pop()


def pending(fleet: Fleet, run: Begun) -> list[str]:
    """The steps of a run that wait for the pool."""
    steps = fleet.instance.event_log_storage.get_concurrency_info(POOL).pending_steps
    return [s.step_key for s in steps if s.run_id == run.run_id and not s.assigned_timestamp]


def test_a_sent_step_tells_where_its_message_is_and_how_the_workers_do(
    fleet: Fleet, tmp_path: Path
) -> None:
    config = {"ops": {"waits": {"config": {"folder": str(tmp_path)}}}}
    fleet.queue.receive()
    client, url = fleet.queue.client, fleet.queue.url
    client.send_message(QueueUrl=url, MessageBody="somebody else's")
    run = fleet.begin("wait_job", config=config)
    wait_for(lambda: fleet.queue.depth() == 2, "both messages")
    high = fleet.queue.beside("high")
    client.send_message(QueueUrl=high.url, MessageBody="more urgent")
    found = explained(fleet, run.run_id[:12], "waits")
    assert kinds(found) == ["no_worker", "queue_place", "higher_band"]
    assert f"About 1 message waits in the higher band {high.name}" in text_of(found, "higher_band")
    assert "no worker reports to this storage" in text_of(found, "no_worker")
    assert "1 message waits in the queue" in text_of(found, "queue_place")

    # Received by another, twice.
    dead = fleet.queue.beside("dead")
    arn = f"arn:aws:sqs:us-east-1:000000000000:{dead.name}"
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "1"})
    client.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": policy})
    for _ in range(2):
        client.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0)
    found = explained(fleet, run.run_id, "waits")
    assert kinds(found)[0] == "dead_letter"
    assert dead.name in text_of(found, "dead_letter")
    client.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": ""})
    kill(run)
    fail(fleet, run)


def test_a_paused_worker_a_lost_process_and_a_busy_one_are_told(
    fleet: Fleet, tmp_path: Path
) -> None:
    worker = fleet.worker("pauses", "--runtime-dir", str(tmp_path / "sockets"))
    config = {"ops": {"waits": {"config": {"folder": str(tmp_path)}}}}
    run = fleet.begin("wait_job", config=config)
    wait_for((tmp_path / "there").exists, "the step")
    found = told(fleet.instance, run.run_id, "waits")
    assert (kinds(found), found["waits"]) == (["running"], False)

    fleet.start([own_binary(), "worker", "pause", *socket_of(fleet, tmp_path)], "pause").wait(30)
    second = fleet.begin("wait_job", config=config)
    wait_for(lambda: second.count("STEP_WORKER_STARTING"), "the second message")
    name = fleet.id_of("pauses")

    def states() -> list[str]:
        return [report["state"] for report in heartbeats.reports(fleet.instance)]

    wait_for(lambda: states() == ["paused"], "the paused worker's heartbeat", 20)
    found = told(fleet.instance, second.run_id, "waits")
    assert kinds(found) == ["workers_paused"]
    assert f"{name} is paused" in text_of(found, "workers_paused")
    # Without DAGSTER_HOME a worker of this host is asked.
    home = fleet.environment.pop("DAGSTER_HOME")
    asked = ("explain", second.run_id, "waits", "--runtime-dir", str(tmp_path / "sockets"))
    found = command(fleet, *asked)
    fleet.environment["DAGSTER_HOME"] = home
    assert f"{name} is paused" in found.stdout, found.stderr
    assert "Its message is the first that waits" in found.stdout
    client, url = fleet.queue.client, fleet.queue.url
    client.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=600)
    fleet.environment.pop("DAGSTER_HOME")
    found = command(fleet, *asked)
    fleet.environment["DAGSTER_HOME"] = home
    assert "Its message is in flight (received 1 times)" in found.stdout, found.stderr

    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
    wait_for(
        lambda: kinds(told(fleet.instance, run.run_id, "waits")) == ["process_lost"], "the loss"
    )
    for begun in (run, second):
        kill(begun)


def socket_of(fleet: Fleet, folder: Path) -> list[str]:
    return ["--runtime-dir", str(folder / "sockets"), fleet.id_of("pauses")]
