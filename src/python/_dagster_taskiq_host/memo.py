"""Caches what each step of a run would compute again: its resolved configuration and its plan.

The process that forks the steps fills the cache once for a run, and they inherit it; a process that
runs several steps fills it with the first. Dagster's own functions are used in every case that is
not plain: dynamic steps, runs that continue another one, step versions.

Only ``ResolvedRunConfig.build`` and ``ExecutionPlan.build`` are replaced; ``test_contract`` checks
the assumptions about them, and ``DAGSTER_TASKIQ_PLAIN_DAGSTER=1`` leaves them as they are.
"""

import contextlib
import json
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from dagster import DagsterInstance, JobDefinition
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.plan.state import KnownExecutionState
from dagster._core.system_config.objects import ResolvedRunConfig

from . import locations
from .connections import PLAIN

T = TypeVar("T")

REMEMBERED = 16
"""Maximum number of cached jobs with their configuration; further ones are computed anew."""

Key = tuple[int, str]
"""Key of a job definition's identity and a configuration as JSON."""

_build_config = ResolvedRunConfig.build
_build_plan = ExecutionPlan.build
_configs: "OrderedDict[Key, tuple[JobDefinition, ResolvedRunConfig]]" = OrderedDict()
_plans: "OrderedDict[tuple[Key, int], tuple[Any, ExecutionPlan]]" = OrderedDict()


def install() -> None:
    """Makes Dagster use the cache in this process and in those it forks."""
    if not os.environ.get(PLAIN):
        ResolvedRunConfig.build = staticmethod(config)  # type: ignore[method-assign]
        ExecutionPlan.build = staticmethod(plan)  # type: ignore[method-assign]


def prepare(instance: DagsterInstance, run_id: str) -> None:
    """Fills the cache for the steps of a run. Each step meets an error here again by itself."""
    if os.environ.get(PLAIN):
        return
    with contextlib.suppress(Exception):
        run = instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished and run.parent_run_id is None:
            job = locations.subset_of(instance, run)
            definition = job.get_definition()
            resolved = config(definition, run.run_config)
            load_data = job.repository.repository_load_data
            _whole_plan(definition, resolved, load_data)


def config(
    job_def: JobDefinition, run_config: Mapping[str, object] | None = None
) -> ResolvedRunConfig:
    """Like ``ResolvedRunConfig.build``."""
    key = _key(job_def, run_config)
    if key is None:
        return _build_config(job_def, run_config)

    def build() -> tuple[JobDefinition, ResolvedRunConfig]:
        # The definition is kept, so that its identity is not reused meanwhile.
        return job_def, _build_config(job_def, run_config)

    return _remembered(_configs, key, build)[1]


def plan(
    job_def: JobDefinition,
    resolved_run_config: ResolvedRunConfig,
    step_keys_to_execute: Sequence[str] | None = None,
    known_state: KnownExecutionState | None = None,
    instance_ref: Any = None,
    tags: Mapping[str, str] | None = None,
    repository_load_data: Any = None,
) -> ExecutionPlan:
    """Like ``ExecutionPlan.build``."""
    known = known_state or KnownExecutionState()
    whole = None
    if step_keys_to_execute and _is_plain(known):
        whole = _whole_plan(job_def, resolved_run_config, repository_load_data)
    if whole is None or not all(key in whole.executable_map for key in step_keys_to_execute or ()):
        return _build_plan(
            job_def,
            resolved_run_config,
            step_keys_to_execute=step_keys_to_execute,
            known_state=known_state,
            instance_ref=instance_ref,
            tags=tags,
            repository_load_data=repository_load_data,
        )
    own = whole._replace(known_state=known)
    return own.build_subset_plan(list(step_keys_to_execute or ()), job_def, resolved_run_config)


def _is_plain(known: KnownExecutionState) -> bool:
    return not (known.dynamic_mappings or known.parent_state or known.step_output_versions)


def _whole_plan(
    job_def: JobDefinition, resolved: ResolvedRunConfig, load_data: Any
) -> ExecutionPlan | None:
    """Returns the plan of all steps; None if the configuration is not cached."""
    found = (key for key, value in _configs.items() if value[1] is resolved)
    key = next(found, None)
    if key is None:
        return None

    def build() -> tuple[Any, ExecutionPlan]:
        return load_data, _build_plan(job_def, resolved, repository_load_data=load_data)

    return _remembered(_plans, (key, id(load_data)), build)[1]


def _key(job_def: JobDefinition, run_config: Mapping[str, object] | None) -> Key | None:
    try:
        return id(job_def), json.dumps(run_config or {}, sort_keys=True)
    except (TypeError, ValueError):
        return None


def _remembered(memory: "OrderedDict[Any, T]", key: Any, build: Callable[[], T]) -> T:
    if key in memory:
        memory.move_to_end(key)
    else:
        memory[key] = build()
        while len(memory) > REMEMBERED:
            memory.popitem(last=False)
    return memory[key]
