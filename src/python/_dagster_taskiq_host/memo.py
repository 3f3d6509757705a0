"""Caches what each step of a run would compute again: its job's definition, its resolved
configuration and its plan.

The process that forks the steps fills the cache once for a run, and they inherit it; a process that
runs several steps fills it with the first. Dagster's own functions are used in every case that is
not plain, such as versions of steps.

Only ``ResolvedRunConfig.build``, ``ExecutionPlan.build`` and the size of the caches of
``ReconstructableJob`` are replaced; ``test_contract`` checks the assumptions about them, and
``DAGSTER_TASKIQ_PLAIN_DAGSTER=1`` leaves them as they are.
"""

import contextlib
import gc
import json
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from dagster import DagsterInstance, JobDefinition
from dagster._core.definitions.reconstruct import ReconstructableJob
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.plan.state import KnownExecutionState
from dagster._core.execution.plan.step import ExecutionStep
from dagster._core.system_config.objects import ResolvedRunConfig

from . import locations
from .connections import PLAIN

JOBS = 64
"""Maximum number of jobs, each with a configuration, that are cached; further ones are computed
anew."""

STEPS = 20_000
"""Maximum number of steps in the cached plans together, except that one plan is always cached."""

RUNS = 4_096
"""Maximum number of runs whose cached job is known without a look at the storage."""

Key = tuple[int, str]
"""Key of a job definition's identity and a configuration as JSON."""


@dataclass
class Cached:
    """A job with a configuration."""

    job_def: JobDefinition
    """Kept, so that its identity is not reused meanwhile."""
    resolved: ResolvedRunConfig
    plan: ExecutionPlan | None = None
    """The plan of all steps."""
    load_data: Any = None
    """What the plan was made with."""
    frozen: bool = False
    """Whether the garbage collector no longer looks at it."""


_build_config = ResolvedRunConfig.build
_build_plan = ExecutionPlan.build
_cached: "OrderedDict[Key, Cached]" = OrderedDict()
_runs: "OrderedDict[str, Key | None]" = OrderedDict()
_evictions = 0
"""Number of entries evicted since the collector last looked at everything."""


def install() -> None:
    """Makes Dagster use the cache in this process and in those it forks."""
    if os.environ.get(PLAIN) or ResolvedRunConfig.build is config:
        return
    ResolvedRunConfig.build = staticmethod(config)  # type: ignore[method-assign]
    ExecutionPlan.build = staticmethod(plan)  # type: ignore[method-assign]
    # Dagster keeps the last one only: steps of two runs with different selections would each make
    # their selection again.
    for name in ("get_definition", "get_repository_definition"):
        plain = getattr(getattr(ReconstructableJob, name), "__wrapped__", None)
        if plain is not None:
            setattr(ReconstructableJob, name, lru_cache(maxsize=JOBS)(plain))


def prepare(instance: DagsterInstance, run_id: str) -> None:
    """Fills the cache for the steps of a run. Each step meets an error here again by itself.

    Reads the storage only if this run is new here or if its job is no longer cached.
    """
    if os.environ.get(PLAIN):
        return
    if run_id in _runs:
        key = _runs[run_id]
        _runs.move_to_end(run_id)
        if key is None or _find(key) is not None:
            return
    key = None
    with contextlib.suppress(Exception):
        key = _prepare(instance, run_id)
    _runs[run_id] = key
    while len(_runs) > RUNS:
        _runs.popitem(last=False)


def _prepare(instance: DagsterInstance, run_id: str) -> Key | None:
    run = instance.get_run_by_id(run_id)
    if run is None or run.is_finished:
        return None
    job = locations.subset_of(instance, run)
    definition = job.get_definition()
    resolved = config(definition, run.run_config)
    _whole_plan(definition, resolved, job.repository.repository_load_data)
    key = _key(definition, run.run_config)
    found = _find(key) if key is not None else None
    if found is not None and not found.frozen:
        _freeze()
        found.frozen = True
    return key


def _freeze() -> None:
    """Hides what was cached from the garbage collector, as what was loaded is hidden: a forked
    process would copy the memory of each object that it looks at.
    """
    global _evictions
    if _evictions >= JOBS:
        gc.unfreeze()
        _evictions = 0
    gc.collect()
    gc.freeze()


def config(
    job_def: JobDefinition, run_config: Mapping[str, object] | None = None
) -> ResolvedRunConfig:
    """Like ``ResolvedRunConfig.build``."""
    key = _key(job_def, run_config)
    if key is None:
        return _build_config(job_def, run_config)
    found = _find(key)
    if found is None:
        found = _cached[key] = Cached(job_def, _build_config(job_def, run_config))
        _evict()
    return found.resolved


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
    part = None
    if step_keys_to_execute and not known.step_output_versions:
        whole = _whole_plan(job_def, resolved_run_config, repository_load_data)
        if whole is not None:
            part = _part_of(whole, step_keys_to_execute, known, job_def, resolved_run_config)
    if part is not None:
        return part
    return _build_plan(
        job_def,
        resolved_run_config,
        step_keys_to_execute=step_keys_to_execute,
        known_state=known_state,
        instance_ref=instance_ref,
        tags=tags,
        repository_load_data=repository_load_data,
    )


def _part_of(
    whole: ExecutionPlan,
    keys: Sequence[str],
    known: KnownExecutionState,
    job_def: JobDefinition,
    resolved: ResolvedRunConfig,
) -> ExecutionPlan | None:
    """Returns the plan that executes these steps of ``whole``; None if it must be built.

    Dagster looks at each step of a plan to make a part of it, which costs a run of n steps n times
    n looks, and a forked process a copy of the memory it looks at. So the part is made of these
    steps and those they depend on, and then refers to all of them again.
    """
    if known.dynamic_mappings or not all(key in whole.executable_map for key in keys):
        return _with_mappings(whole, keys, known, job_def, resolved)
    steps = {}
    for key in keys:
        step = whole.step_dict_by_key[key]
        if not isinstance(step, ExecutionStep):
            return None
        names = (key, *step.get_execution_dependency_keys())
        steps.update({name: whole.step_dict_by_key[name] for name in names})
    small = whole._replace(
        step_dict={step.handle: step for step in steps.values()},
        step_dict_by_key=steps,
        known_state=known,
    )
    part = small.build_subset_plan(list(keys), job_def, resolved)
    return part._replace(step_dict=whole.step_dict, step_dict_by_key=whole.step_dict_by_key)


def _with_mappings(
    whole: ExecutionPlan,
    keys: Sequence[str],
    known: KnownExecutionState,
    job_def: JobDefinition,
    resolved: ResolvedRunConfig,
) -> ExecutionPlan | None:
    """Like ``_part_of``, for steps that come from a dynamic output."""
    # Dagster adds the steps that follow from the known state to the plan's own dictionaries.
    own = whole._replace(
        step_dict=dict(whole.step_dict),
        step_dict_by_key=dict(whole.step_dict_by_key),
        known_state=known,
    )
    own = own.build_subset_plan(whole.step_keys_to_execute, job_def, resolved)
    if not all(key in own.executable_map for key in keys):
        return None
    return own.build_subset_plan(list(keys), job_def, resolved)


def _whole_plan(
    job_def: JobDefinition, resolved: ResolvedRunConfig, load_data: Any
) -> ExecutionPlan | None:
    """Returns the plan of all steps; None if the configuration is not cached."""
    found = next((entry for entry in _cached.values() if entry.resolved is resolved), None)
    if found is None:
        return None
    # Each process reads the load data of its run anew.
    if found.plan is None or found.load_data != load_data:
        found.plan = _build_plan(job_def, resolved, repository_load_data=load_data)
        found.load_data = load_data
        found.frozen = False
        _evict()
    return found.plan


def _key(job_def: JobDefinition, run_config: Mapping[str, object] | None) -> Key | None:
    try:
        return id(job_def), json.dumps(run_config or {}, sort_keys=True)
    except (TypeError, ValueError):
        return None


def _find(key: Key) -> Cached | None:
    found = _cached.get(key)
    if found is not None:
        _cached.move_to_end(key)
    return found


def _evict() -> None:
    """Keeps the cache within its limits; the entry used last always stays."""
    global _evictions
    steps = sum(len(entry.plan.step_dict) for entry in _cached.values() if entry.plan)
    while len(_cached) > 1 and (len(_cached) > JOBS or steps > STEPS):
        _, entry = _cached.popitem(last=False)
        _evictions += 1
        steps -= len(entry.plan.step_dict) if entry.plan else 0
