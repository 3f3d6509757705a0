"""What travels with a step: enough for it, and no more the larger its run is."""

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from dagster import DynamicOut, DynamicOutput, In, JobDefinition, Nothing, Out, graph, op
from dagster._core.execution.api import create_execution_plan
from dagster._core.execution.plan.outputs import StepOutputHandle
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.plan.state import KnownExecutionState, PastExecutionState
from dagster._core.execution.plan.step import ExecutionStep
from dagster._serdes import pack_value

from dagster_taskiq.needs import known_states

Mappings = dict[str, dict[str, list[str] | None]]


@op(out={"numbers": DynamicOut(is_required=False), "letters": DynamicOut(is_required=False)})
def spread() -> Iterator[Any]:
    """Two dynamic outputs."""
    yield DynamicOutput(1, output_name="numbers", mapping_key="a")


@op(ins={"start": In(Nothing)})
def first() -> int:
    """Takes nothing in."""
    return 1


@op
def one(number: Any) -> Any:
    """Of one."""
    return number


@op(out={"left": Out(is_required=False), "right": Out(is_required=False)})
def two(number: Any, other: Any):
    """Of two, gives two."""
    return number, other


def random_job(chance: random.Random) -> JobDefinition:
    """Dynamic steps, chains mapped over them, collections, and plain steps beside and after."""

    @graph
    def built() -> None:
        plain = [first.alias(f"first_{n}")() for n in range(2)]
        for n in range(chance.randint(1, 3)):
            outputs = spread.alias(f"spread_{n}")()
            for name in ("numbers", "letters"):
                mapped = getattr(outputs, name)
                for depth in range(chance.randint(0, 2)):
                    if chance.random() < 0.5:
                        mapped = mapped.map(one.alias(f"one_{n}_{name}_{depth}"))
                    else:
                        beside, alias = chance.choice(plain), f"two_{n}_{name}_{depth}"
                        mapped = mapped.map(lambda x, b=beside, a=alias: two.alias(a)(x, b)[0])
                if chance.random() < 0.8:
                    plain.append(one.alias(f"all_{n}_{name}")(mapped.collect()))
        for n in range(3):
            left, right = two.alias(f"plain_{n}")(chance.choice(plain), chance.choice(plain))
            plain += [left, right]

    return built.to_job()


def random_mappings(chance: random.Random, plan: ExecutionPlan) -> Mappings:
    keys = [None, [], ["a"], ["a", "b"], [f"k{n}" for n in range(40)]]
    return {
        step.key: {name: chance.choice(keys) for name in ("numbers", "letters")}
        for step in plan.steps
        if step.key.startswith("spread")
    }


def outputs_of(plan: ExecutionPlan, mappings: Mappings) -> list[StepOutputHandle]:
    found = []
    for key in plan.executable_map:
        for output in plan.get_step_by_key(key).step_outputs:
            mapped = mappings.get(key, {}).get(output.name)
            names = [None] if key not in mappings else mapped or []
            found += [StepOutputHandle(key, output.name, name) for name in names]
    return found


def past(chance: random.Random, outputs: list[StepOutputHandle], depth: int) -> Any:
    if depth == 0:
        return None
    produced = {output for output in outputs if chance.random() < 0.5}
    return PastExecutionState(f"run-{depth}", produced, past(chance, outputs, depth - 1))


def source_run(state: Any, handle: StepOutputHandle) -> str | None:
    """As Dagster finds the run whose output is loaded."""
    while state is not None:
        if handle in state.produced_outputs:
            return state.run_id
        state = state.get_parent_state()
    return None


def handles_of(step: ExecutionStep) -> list[StepOutputHandle]:
    inputs = step.step_inputs
    return [h for one in inputs for h in one.get_step_output_handle_dependencies()]


@pytest.mark.parametrize("seed", range(15))
def test_a_step_finds_in_its_part_what_it_finds_in_the_whole_state(seed: int) -> None:
    chance = random.Random(seed)
    job = random_job(chance)
    mappings = random_mappings(chance, create_execution_plan(job))
    resolved = create_execution_plan(job, known_state=KnownExecutionState({}, mappings))
    outputs = outputs_of(resolved, mappings)
    whole = KnownExecutionState(
        previous_retry_attempts={},
        dynamic_mappings=mappings,
        ready_outputs={output for output in outputs if chance.random() < 0.7},
        parent_state=past(chance, outputs, 3),
    )
    # The plan that the executor has: its dynamic steps are resolved one after the other.
    plan = create_execution_plan(job)
    plan.resolve(mappings)
    steps = [plan.get_step_by_key(key) for key in plan.executable_map]
    assert {step.key for step in steps} == set(resolved.executable_map)
    for step, part in zip(steps, known_states(plan, whole, ((s, 0) for s in steps)), strict=True):
        keys = [step.key]
        expected = create_execution_plan(job, step_keys_to_execute=keys, known_state=whole)
        found = create_execution_plan(job, step_keys_to_execute=keys, known_state=part)
        assert found.step_keys_to_execute == expected.step_keys_to_execute
        assert found.get_step_by_key(step.key) == expected.get_step_by_key(step.key)
        for handle in handles_of(expected.get_step_by_key(step.key)):
            assert (handle in part.ready_outputs) == (handle in whole.ready_outputs)
            assert source_run(part.parent_state, handle) == source_run(whole.parent_state, handle)


def size(state: KnownExecutionState) -> int:
    return len(json.dumps(pack_value(state)))


def wide(width: int) -> JobDefinition:
    @graph
    def built() -> None:
        one.alias("all")(spread().numbers.map(one.alias("mapped")).collect())
        for n in range(width):
            one.alias(f"second_{n}")(first.alias(f"first_{n}")())

    return built.to_job()


def largest(width: int) -> dict[str, int]:
    """The bytes of the largest state of a mapped and of a plain step, and of the collecting one."""
    job = wide(width)
    mappings: Mappings = {"spread": {"numbers": [f"k{n:04}" for n in range(width)], "letters": []}}
    plan = create_execution_plan(job)
    plan.resolve(mappings)
    outputs = {StepOutputHandle(f"first_{n}", "result") for n in range(width)}
    outputs |= {StepOutputHandle(f"mapped[k{n:04}]", "result") for n in range(width)}
    outputs |= {StepOutputHandle("spread", "numbers", f"k{n:04}") for n in range(width)}
    grandparent = PastExecutionState("grandparent", outputs, None)
    state = KnownExecutionState(
        {}, mappings, {}, outputs, PastExecutionState("p", outputs, grandparent)
    )
    steps = [plan.get_step_by_key(key) for key in plan.executable_map]
    sizes: dict[str, int] = {}
    for step, part in zip(steps, known_states(plan, state, ((s, 0) for s in steps)), strict=True):
        kind = step.key.partition("[")[0].partition("_")[0]
        sizes[kind] = max(size(part), sizes.get(kind, 0))
    return sizes


def test_a_steps_message_does_not_grow_with_its_run() -> None:
    small, large = largest(50), largest(1000)
    for kind in ("mapped", "second", "first"):
        assert large[kind] < small[kind] * 1.2
    # What collects everything names everything: once in the whole run.
    assert large["all"] < 1000 * 1000
