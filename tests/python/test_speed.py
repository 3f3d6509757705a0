"""What reaches into Dagster for speed does what Dagster does, and can be switched off."""

import contextlib
import gc
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    DagsterInstance,
    DynamicOut,
    DynamicOutput,
    In,
    JobDefinition,
    Nothing,
    OpExecutionContext,
    graph,
    job,
    op,
)
from dagster._core.definitions.repository_definition import RepositoryLoadData
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.plan.state import KnownExecutionState
from dagster._core.execution.plan.step import ExecutionStep
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

import test_needs
from _dagster_taskiq_host import connections, event_log, memo, rehearsal
from dagster_taskiq.needs import known_states

FOLDER = Path(__file__).parents[2] / "src/python"


@op(config_schema={"size": int})
def sized(context: OpExecutionContext) -> int:
    return context.op_config["size"]


@op
def one() -> int:
    return 1


@op
def add(left: int, right: int) -> int:
    return left + right


@op(ins={"after": In(Nothing)})
def last() -> None: ...


@graph
def inner(left: int) -> int:
    return add(left, one())


@job
def nested() -> None:
    last(inner(add(one(), inner(one()))))


@job
def configured() -> None:
    add(sized(), one())


@op(out=DynamicOut(int))
def several() -> Any:
    for number in range(3):
        yield DynamicOutput(number, mapping_key=f"n{number}")


@job
def dynamic() -> None:
    several().map(lambda item: add(item, one()))


CASES = [
    (nested, {}),
    (configured, {"ops": {"sized": {"config": {"size": 3}}}}),
    (dynamic, {}),
]


def facts(plan: ExecutionPlan) -> dict[str, Any]:
    """Whatever of a plan the execution of its steps depends on."""
    return {
        "steps": {handle: repr(step) for handle, step in plan.step_dict.items()},
        "executable": dict(plan.executable_map),
        "resolvable": dict(plan.resolvable_map),
        "to_execute": plan.step_handles_to_execute,
        "known_state": plan.known_state,
        "persisted": plan.artifacts_persisted,
        "executor": plan.executor_name,
    }


@pytest.mark.parametrize(("definition", "run_config"), CASES)
def test_a_remembered_plan_is_the_one_dagster_builds(
    definition: JobDefinition, run_config: dict[str, Any]
) -> None:
    plain = memo._build_config(definition, run_config)
    for _ in range(2):
        resolved = memo.config(definition, run_config)
        assert resolved == plain
        whole = memo._build_plan(definition, plain)
        for key in whole.executable_map:
            known = KnownExecutionState(previous_retry_attempts={key: 2})
            arguments = {"step_keys_to_execute": [key], "known_state": known}
            ours = memo.plan(definition, resolved, **arguments)
            assert facts(ours) == facts(memo._build_plan(definition, plain, **arguments))


@pytest.mark.parametrize("seed", range(15))
def test_a_remembered_plan_of_a_step_with_its_state_is_the_one_dagster_builds(seed: int) -> None:
    chance = random.Random(seed)
    definition = test_needs.random_job(chance)
    resolved = memo.config(definition, {})
    mappings = test_needs.random_mappings(chance, memo._build_plan(definition, resolved))
    plan = memo._build_plan(definition, resolved)
    plan.resolve(mappings)
    outputs = test_needs.outputs_of(plan, mappings)
    whole = KnownExecutionState(
        dynamic_mappings=mappings,
        ready_outputs=set(outputs),
        parent_state=test_needs.past(chance, outputs, 2),
    )
    steps = [plan.get_step_by_key(key) for key in plan.executable_map]
    for step, part in zip(steps, known_states(plan, whole, ((s, 0) for s in steps)), strict=True):
        for known in (part, whole):
            arguments = {"step_keys_to_execute": [step.key], "known_state": known}
            ours = memo.plan(definition, resolved, **arguments)
            assert facts(ours) == facts(memo._build_plan(definition, resolved, **arguments))


def test_the_plan_of_a_step_costs_no_look_at_the_other_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    definition = test_needs.wide(200)
    resolved = memo.config(definition, {})
    memo.plan(definition, resolved, step_keys_to_execute=["first_0"])
    looks: list[str] = []
    plain = ExecutionStep.get_execution_dependency_keys
    monkeypatch.setattr(
        ExecutionStep,
        "get_execution_dependency_keys",
        lambda step: looks.append(step.key) or plain(step),
    )
    made: list[int] = []
    new = ExecutionPlan.__new__
    monkeypatch.setattr(
        ExecutionPlan,
        "__new__",
        lambda cls, step_dict, *args, **kwargs: (
            made.append(len(step_dict)) or new(cls, step_dict, *args, **kwargs)
        ),
    )
    memo.plan(definition, resolved, step_keys_to_execute=["second_7"])
    assert set(looks) == {"second_7"}
    assert made == [2]


def test_load_data_that_a_process_read_anew_leads_to_the_remembered_plan() -> None:
    resolved = memo.config(nested, {})
    read = [RepositoryLoadData(reconstruction_metadata={"key": value}) for value in "aab"]
    first, again, other = (memo._whole_plan(nested, resolved, load_data) for load_data in read)
    assert first is again
    assert other is not None and other is not first
    assert other.repository_load_data == read[2]


def test_each_configuration_has_a_plan_of_its_own() -> None:
    two, three = ({"ops": {"sized": {"config": {"size": n}}}} for n in (2, 3))
    assert memo.config(configured, two) != memo.config(configured, three)
    with pytest.raises(Exception, match="size"):
        memo.config(configured, {"ops": {"sized": {"config": {"size": "no number"}}}})


@pytest.mark.parametrize(("limit", "most"), [("JOBS", 3), ("STEPS", 3)])
def test_no_more_is_remembered_than_the_limits_allow(
    limit: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = len(memo._build_plan(configured, memo.config(configured, CASES[1][1])).step_dict)
    monkeypatch.setattr(memo, limit, most if limit == "JOBS" else most * steps + 1)
    used = [{"ops": {"sized": {"config": {"size": size}}}} for size in range(10)]
    for config in used:
        memo.plan(configured, memo.config(configured, config), step_keys_to_execute=["one"])
        # What is used again stays.
        kept = memo.config(configured, used[0])
    assert len(memo._cached) == most
    assert memo.config(configured, used[0]) is kept


def test_a_plan_larger_than_the_limit_is_remembered_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memo, "STEPS", 1)
    for definition in (nested, dynamic):
        memo.plan(definition, memo.config(definition, {}), step_keys_to_execute=["one"])
    assert [entry.job_def for entry in memo._cached.values()] == [dynamic]


@pytest.mark.parametrize(("evictions", "is_freed"), [(memo.JOBS - 1, False), (memo.JOBS, True)])
def test_what_evicted_plans_held_in_cycles_is_freed_after_many_of_them(
    evictions: int, is_freed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Held: ...

    held: Any = Held()
    held.itself = held
    is_dead = weakref.ref(held)
    gc.freeze()
    try:
        del held
        monkeypatch.setattr(memo, "_evictions", evictions)
        memo._freeze()
        assert (is_dead() is None) == is_freed
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def test_a_process_that_is_forked_shares_no_connection(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with DagsterInstance.from_config(str(tmp_path)) as instance, connections.kept(instance):
        for number in range(2 * connections.MOST):
            instance.all_logs(f"run-{number}")
        instance.get_runs()
        assert len(connections._kept) == connections.MOST
        before = _open_databases(tmp_path)
        assert before, "a connection is kept"
        child = os.fork()
        if child == 0:
            try:
                inherited = not connections._kept and instance.get_runs() == []
                os._exit(0 if inherited else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert instance.get_runs() == []
    assert _open_databases(tmp_path) == []


def _open_databases(folder: Path) -> list[str]:
    links = (Path("/proc/self/fd") / fd for fd in os.listdir("/proc/self/fd"))
    names = [os.readlink(link) for link in links if link.is_symlink()]
    return [name for name in names if name.startswith(str(folder)) and name.endswith(".db")]


def test_a_variable_leaves_dagster_as_it_is(tmp_path: Path) -> None:
    script = (
        "from dagster import DagsterInstance\n"
        "from dagster._core.execution.plan.plan import ExecutionPlan\n"
        "from _dagster_taskiq_host import connections, memo, rehearsal\n"
        "before = ExecutionPlan.build\n"
        "with DagsterInstance.ephemeral() as instance:\n"
        "    connections.keep(instance); memo.install(); rehearsal.rehearse(instance)\n"
        "    batches = 'store_event_batch' in vars(instance.event_log_storage)\n"
        "changed = [connections._active, connections._template is not None, batches]\n"
        "print(ExecutionPlan.build is before and not any(changed))\n"
    )
    for value, expected in (("1", "True"), ("", "False")):
        variables = {
            **os.environ,
            "PYTHONPATH": str(FOLDER),
            connections.PLAIN: value,
            "DAGSTER_HOME": str(tmp_path),
        }
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected


def test_runs_with_different_selections_do_not_make_each_other_select_again() -> None:
    script = (
        "from dagster._core.definitions.reconstruct import reconstructable\n"
        "from _dagster_taskiq_host import memo\n"
        "from test_speed import nested\n"
        "memo.install()\n"
        "job = reconstructable(nested)\n"
        "for _ in range(2):\n"
        "    jobs = [job.get_subset(op_selection={name}) for name in ('one', 'last')]\n"
        "    print(*(id(job.get_definition()) for job in jobs))\n"
    )
    path = os.pathsep.join([str(FOLDER), str(Path(__file__).parent)])
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    first, second = done.stdout.splitlines()
    assert first == second


def test_sqlite_storages_make_their_engines_by_the_name_that_is_replaced(tmp_path: Path) -> None:
    for module in connections._SQLITE_MODULES:
        assert module.create_engine is connections._create_engine
    engine = create_engine(f"sqlite:///{tmp_path}/x.db", poolclass=NullPool)
    assert connections._pool(engine).dispatch is not None
    with contextlib.closing(connections._pool(engine).connect()) as connection:
        assert connection.cursor().execute("SELECT 1").fetchone() == (1,)


def test_a_rehearsal_leaves_nothing_behind(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def left() -> dict[str, Any]:
        return {
            "threads": threading.enumerate(),
            "descriptors": sorted(os.listdir("/proc/self/fd"), key=int),
            "random": random.getstate(),
            "environment": dict(os.environ),
            "signals": [signal.getsignal(number) for number in signal.valid_signals()],
            "folder": os.listdir(tempfile.gettempdir()),
        }

    # Errors are suppressed where it is used.
    rehearsal._run_a_step()
    before = left()
    rehearsal._run_a_step()
    assert left() == before
    assert capfd.readouterr() == ("", "")


def test_what_a_rehearsal_compiled_serves_the_files_of_later_runs(tmp_path: Path) -> None:
    rehearsal._run_a_step()
    template = connections._template
    assert template is not None
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with DagsterInstance.from_config(str(tmp_path)) as instance, connections.kept(instance):
        run = instance.create_run_for_job(nested)
        # Makes the run's file, as the forking process does.
        instance.get_run_step_stats(run.run_id, step_keys=[""])
        before = len(template._compiled_cache)
        instance.report_engine_event("one", run, step_key="last")
        assert instance.get_run_by_id(run.run_id) == run
        event_log.read(instance, run.run_id, "last")
        assert len(template._compiled_cache) == before
