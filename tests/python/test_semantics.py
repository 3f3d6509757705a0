"""What Dagster promises of a job holds on a real worker, event for event."""

import hashlib
import itertools
from collections import Counter

import pytest
from dagster import (
    AssetCheckKey,
    AssetKey,
    DagsterEventType,
    DagsterRun,
    DagsterRunStatus,
    ReexecutionOptions,
)

from fleet import Fleet
from semantics import BIG, GREETING, LINES

SAY = {"resources": GREETING, "ops": {"say": {"config": {"times": 2}}}}
OUTER = {"resources": GREETING, "ops": {"outer": {"config": {"times": 3, "suffix": "?"}}}}


def entries(fleet: Fleet, run: DagsterRun, kind: DagsterEventType) -> list:
    """The log's entries of one type."""
    return [
        entry.get_dagster_event() for entry in fleet.instance.all_logs(run.run_id, of_type=kind)
    ]


def output_of(fleet: Fleet, run: DagsterRun, step: str) -> object:
    """What a step's output file holds."""
    import pickle
    from pathlib import Path

    folder = Path(fleet.instance.storage_directory()) / run.run_id / step
    return pickle.loads((folder / "result").read_bytes())


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("chain_job", "SUCCESS"),
        ("fan_job", "SUCCESS"),
        ("retry_job", "SUCCESS"),
        ("fail_job", "FAILURE"),
        ("skip_job", "SUCCESS"),
        ("dynamic_job", "SUCCESS"),
        ("dynamic_more_job", "FAILURE"),
        ("jitter_job", "FAILURE"),
        ("large_job", "SUCCESS"),
    ],
)
def test_a_job_has_the_events_of_dagsters_own_executor(
    name: str, status: str, fleet: Fleet
) -> None:
    assert fleet.both(name).status.value == status


@pytest.mark.parametrize("name", ["assets_job", "multi_job", "check_job", "guard_job"])
def test_an_asset_job_has_the_events_of_dagsters_own_executor(name: str, fleet: Fleet) -> None:
    fleet.both(name)


def test_resources_hooks_and_run_config_reach_every_step(fleet: Fleet) -> None:
    run = fleet.both("resource_job", run_config=SAY)
    assert output_of(fleet, run, "say") == "hihi!"
    lines = {(e.step_key, e.user_message) for e in fleet.instance.all_logs(run.run_id)}
    assert {("say", "hook says hi"), ("shout", "hook says hi")} <= lines
    assert ("fails_with_metadata", "hook saw ValueError") in lines
    assert ("fails_with_metadata", "greeter torn down") in lines


def test_nested_graphs_run_with_mapped_config(fleet: Fleet) -> None:
    run = fleet.both("nested_job", run_config=OUTER)
    assert run.is_success
    assert output_of(fleet, run, "outer.inner.shout") == "HIHIHI?"


def test_metadata_of_every_kind_is_in_the_log(fleet: Fleet) -> None:
    run = fleet.execute("nested_job", run_config=OUTER)
    plain = fleet.execute("nested_job_plain", run_config=OUTER)

    def metadata(of: DagsterRun) -> dict:
        return {
            event.step_key: event.step_output_data.metadata
            for event in entries(fleet, of, DagsterEventType.STEP_OUTPUT)
        }

    assert metadata(run) == metadata(plain)
    assert len(metadata(run)["outer.inner.shout"]) == 6


def test_a_retry_policys_delay_and_jitter_are_kept(fleet: Fleet) -> None:
    run = fleet.execute("jitter_job", raise_on_error=False)
    log = fleet.instance.all_logs(run.run_id)
    waits = [
        (entry.timestamp, entry.dagster_event.step_retry_data.seconds_to_wait)
        for entry in log
        if entry.step_key == "third_attempt"
        and entry.dagster_event
        and entry.dagster_event.is_step_up_for_retry
    ]
    restarts = [
        entry.timestamp
        for entry in log
        if entry.step_key == "third_attempt"
        and entry.dagster_event
        and entry.dagster_event.is_step_restarted
    ]
    assert len(waits) == len(restarts) == 2
    for number, ((asked_at, seconds), restarted_at) in enumerate(zip(waits, restarts, strict=True)):
        whole = 0.4 * (2 ** (number + 1) - 1)
        assert abs(seconds - whole) <= 0.4
        assert restarted_at >= asked_at + seconds


@pytest.mark.parametrize(
    ("selection", "steps"),
    [
        (["one", "add_one"], {"one", "add_one"}),
        (["*add_one"], {"one", "add_one"}),
    ],
)
def test_a_selection_of_ops_runs_those_and_no_others(
    selection: list[str], steps: set[str], fleet: Fleet
) -> None:
    assert set(fleet.shape(fleet.both("chain_job", op_selection=selection))) == steps


def test_a_selection_of_assets_runs_those_and_no_others(fleet: Fleet) -> None:
    run = fleet.both("assets_job", asset_selection=[AssetKey("raw")])
    assert set(fleet.shape(run)) == {"raw"}


def test_a_multi_asset_makes_the_selected_subset(fleet: Fleet) -> None:
    run = fleet.both("multi_job", asset_selection=[AssetKey("left"), AssetKey("both")])
    made = entries(fleet, run, DagsterEventType.ASSET_MATERIALIZATION)
    assert {event.asset_key.to_user_string() for event in made} == {"left", "both"}


def test_a_partition_reaches_its_steps_and_their_materializations(fleet: Fleet) -> None:
    run = fleet.both("partition_job", tags={"dagster/partition": "south"})
    made = entries(fleet, run, DagsterEventType.ASSET_MATERIALIZATION)
    assert [event.partition for event in made] == ["south", "south"]
    materialization = made[1].step_materialization_data.materialization
    assert materialization.metadata["region"].value == "south"
    assert fleet.instance.get_materialized_partitions(AssetKey("region")) == {"south"}


def test_asset_checks_are_evaluated_and_a_blocking_one_blocks(fleet: Fleet) -> None:
    run = fleet.execute("check_job")
    checks = entries(fleet, run, DagsterEventType.ASSET_CHECK_EVALUATION)
    evaluated = {e.asset_check_evaluation_data.check_name: e for e in checks}
    assert {n: e.asset_check_evaluation_data.passed for n, e in evaluated.items()} == {
        "positive": True,
        "odd": False,
    }
    key = AssetCheckKey(AssetKey("checked"), "odd")
    record = fleet.instance.event_log_storage.get_asset_check_execution_history(key, limit=1)[0]
    assert record.run_id == run.run_id

    blocked = fleet.execute("guard_job", raise_on_error=False)
    assert blocked.status == DagsterRunStatus.FAILURE
    assert "STEP_START" not in fleet.shape(blocked).get("after_guarded", {})


def test_five_megabytes_go_from_one_step_to_the_next(fleet: Fleet) -> None:
    run = fleet.execute("large_job")
    whole = hashlib.sha256(bytes(range(256)) * (BIG // 256)).hexdigest()
    assert output_of(fleet, run, "digest") == whole


def test_ten_thousand_lines_are_in_the_log_and_in_the_captured_output(fleet: Fleet) -> None:
    run = fleet.execute("talk_job")
    assert run.is_success
    logged = Counter(
        entry.user_message.split()[0]
        for entry in fleet.instance.all_logs(run.run_id)
        if entry.step_key == "chatty" and entry.user_message.startswith("event line")
    )
    assert logged["event"] == LINES
    (captured,) = [
        event.logs_captured_data
        for event in entries(fleet, run, DagsterEventType.LOGS_CAPTURED)
        if "chatty" in (event.logs_captured_data.step_keys or ())
    ]
    manager = fleet.instance.compute_log_manager
    data = manager.get_log_data([run.run_id, "compute_logs", captured.file_key])
    assert data.stdout is not None
    lines = data.stdout.decode().splitlines()
    assert [line for line in lines if line.startswith("stdout line")] == [
        f"stdout line {number}" for number in range(LINES)
    ]
    assert data.stderr is not None
    assert "a word on stderr" in data.stderr.decode()
    assert manager.is_capture_complete([run.run_id, "compute_logs", captured.file_key])


def most_at_once(fleet: Fleet, run: DagsterRun, among: str = "") -> int:
    """How many steps ran at the same time, at most, by the log's own times."""
    moves = []
    for entry in fleet.instance.all_logs(run.run_id):
        event = entry.dagster_event
        if event and among in (entry.step_key or "") and event.is_step_start:
            moves.append((entry.timestamp, 1))
        elif event and among in (entry.step_key or "") and event.is_step_success:
            moves.append((entry.timestamp, -1))
    running = most = 0
    for _, change in sorted(moves):
        running += change
        most = max(most, running)
    return most


def execution(**config: object) -> dict:
    return {"execution": {"config": config}}


def test_max_concurrent_holds_steps_back(fleet: Fleet) -> None:
    free = fleet.execute("nap_job")
    assert most_at_once(fleet, free) > 1
    held = fleet.execute("nap_job", run_config=execution(max_concurrent=1))
    assert most_at_once(fleet, held) == 1
    assert held.is_success


def test_tag_concurrency_limits_hold_back_the_steps_they_name(fleet: Fleet) -> None:
    limits = [{"key": "kind", "value": "heavy", "limit": 1}]
    run = fleet.execute("nap_job", run_config=execution(tag_concurrency_limits=limits))
    heavy = [f"nap_{number}" for number in range(3)]
    log = fleet.instance.all_logs(run.run_id)
    starts = {e.step_key: e.timestamp for e in log if e.dagster_event and _started(e)}
    ends = {e.step_key: e.timestamp for e in log if e.dagster_event and _succeeded(e)}
    in_turn = sorted(heavy, key=lambda key: starts[key])
    for before, after in itertools.pairwise(in_turn):
        assert ends[before] <= starts[after]
    assert starts["nap_3"] < ends[in_turn[-1]], "what is not heavy did not wait for all that is"


def _started(entry) -> bool:
    return entry.dagster_event.is_step_start


def _succeeded(entry) -> bool:
    return entry.dagster_event.is_step_success


def test_a_pool_is_shared_by_runs_and_given_back(fleet: Fleet) -> None:
    storage = fleet.instance.event_log_storage
    storage.set_concurrency_slots("narrow", 1)
    run = fleet.execute("pool_job")
    assert run.is_success
    assert most_at_once(fleet, run) == 1
    info = storage.get_concurrency_info("narrow")
    assert (info.active_slot_count, info.pending_step_count) == (0, 0)


def test_a_named_queue_and_the_priorities_of_op_and_run_reach_the_worker(fleet: Fleet) -> None:
    run = fleet.execute("queue_job", run_config=execution(queues={"gpu": fleet.gpu.url}))
    sent = {
        event.step_key: event.engine_event_data.metadata
        for event in entries(fleet, run, DagsterEventType.STEP_WORKER_STARTING)
    }
    assert (sent["on_gpu"]["queue"].value, sent["on_gpu"]["priority"].value) == (
        fleet.gpu.name,
        11,
    )
    assert (sent["one"]["queue"].value, sent["one"]["priority"].value) == (fleet.queue.name, 7)
    ran = {
        event.step_key: event.engine_event_data.metadata["queue"].value
        for event in entries(fleet, run, DagsterEventType.ENGINE_EVENT)
        if "dagster-taskiq/worker" in event.engine_event_data.metadata
    }
    assert ran == {"on_gpu": fleet.gpu.name, "one": fleet.queue.name}


def test_events_name_the_workers_real_host(fleet: Fleet) -> None:
    import socket

    run = fleet.execute("chain_job")
    announced = [
        event.engine_event_data.metadata
        for event in entries(fleet, run, DagsterEventType.ENGINE_EVENT)
        if "dagster-taskiq/worker" in event.engine_event_data.metadata
    ]
    assert len(announced) == 3
    assert {found["host"].value for found in announced} == {socket.gethostname()}
    assert {found["dagster-taskiq/worker"].value for found in announced} == {fleet.id_of("first")}


def test_a_re_execution_from_failure_takes_over_what_succeeded(fleet: Fleet) -> None:
    for name in ("again_job", "again_job_plain"):
        first = fleet.execute(name, raise_on_error=False)
        assert first.status == DagsterRunStatus.FAILURE
        options = ReexecutionOptions.from_failure(first.run_id, fleet.instance)
        second = fleet.execute(name, reexecution_options=options)
        assert second.is_success
        assert set(fleet.shape(second)) == {"fails_once", "plus", "add_one"}
    assert output_of(fleet, second, "add_one") == 3
