"""The part of a run's state that one step's process needs.

The whole state grows with the run: each output that the run or its parents produced, each key of a
dynamic output. It would travel in every message, so a run of n steps would send n times n of them.
A step needs only the parts that its own inputs name.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dagster._core.execution.plan.handle import ResolvedFromDynamicStepHandle, StepHandle
from dagster._core.execution.plan.outputs import StepOutputHandle
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.plan.state import KnownExecutionState, PastExecutionState
from dagster._core.execution.plan.step import ExecutionStep

Mappings = Mapping[str, Mapping[str, Sequence[str] | None]]
Source = tuple[str, str]
"""A step with a dynamic output, and the output's name."""


def known_states(
    plan: ExecutionPlan, state: KnownExecutionState, steps: Iterable[tuple[ExecutionStep, int]]
) -> Iterable[KnownExecutionState]:
    """For each step, with the number of its earlier attempts, the part of the state it needs."""
    empty = _with_empty_outputs(state.dynamic_mappings)
    for step, attempts in steps:
        handles = {
            handle
            for step_input in step.step_inputs
            for handle in step_input.get_step_output_handle_dependencies()
        }
        keys = {key for step_input in step.step_inputs for key in step_input.dependency_keys}
        yield state._replace(
            previous_retry_attempts={step.key: attempts} if attempts else {},
            ready_outputs=state.ready_outputs & (handles | _plain_outputs(plan, keys)),
            dynamic_mappings={**empty, **_mappings(plan, state.dynamic_mappings, step, handles)},
            parent_state=_past(state.parent_state, handles),
        )


def _plain_outputs(plan: ExecutionPlan, keys: Iterable[str]) -> set[StepOutputHandle]:
    """The outputs of these steps, without those of a dynamic output: there may be thousands, and a
    step that needs them names each.
    """
    return {
        StepOutputHandle(key, output.name)
        for key in keys
        for output in plan.get_step_by_key(key).step_outputs
    }


def _past(
    state: PastExecutionState | None, handles: set[StepOutputHandle]
) -> PastExecutionState | None:
    """The given outputs that each of the preceding runs has produced."""
    if state is None:
        return None
    produced = state.produced_outputs & handles
    return PastExecutionState(state.run_id, produced, _past(state.get_parent_state(), handles))


def _mappings(
    plan: ExecutionPlan, mappings: Mappings, step: ExecutionStep, handles: set[StepOutputHandle]
) -> Mappings:
    """The keys of the dynamic outputs that the step comes from: for a mapped step its own, for one
    that collects all of them.
    """
    if not mappings:
        return {}
    if isinstance(step.handle, ResolvedFromDynamicStepHandle):
        step_key, output = _source(plan, step.handle)
        return {step_key: _only(mappings[step_key], output, [step.handle.mapping_key])}
    found: dict[str, dict[str, Sequence[str] | None]] = {}
    for step_key, output in {source for handle in handles for source in _sources(plan, handle)}:
        others = found.get(step_key) or _only(mappings[step_key], output, [])
        found[step_key] = {**others, output: mappings[step_key][output]}
    return found


def _sources(plan: ExecutionPlan, handle: StepOutputHandle) -> list[Source]:
    if handle.mapping_key is not None:
        return [(handle.step_key, handle.output_name)]
    step = StepHandle.parse_from_key(handle.step_key)
    return [_source(plan, step)] if isinstance(step, ResolvedFromDynamicStepHandle) else []


def _source(plan: ExecutionPlan, handle: ResolvedFromDynamicStepHandle) -> Source:
    unresolved: Any = plan.step_dict[handle.unresolved_form]
    return unresolved.resolved_by_step_key, unresolved.resolved_by_output_name


def _only(
    outputs: Mapping[str, Sequence[str] | None], name: str, keys: Sequence[str]
) -> dict[str, Sequence[str] | None]:
    """One output with these keys. The step's other outputs are present without keys, since Dagster
    requests them when it builds the plan.
    """
    return {other: keys if other == name else found and [] for other, found in outputs.items()}


def _with_empty_outputs(mappings: Mappings) -> Mappings:
    """The steps with a dynamic output without keys. A step that collects such an output does not
    reveal its source, and it takes no room.
    """
    return {
        step: {name: keys and [] for name, keys in outputs.items()}
        for step, outputs in mappings.items()
        if not all(outputs.values())
    }
