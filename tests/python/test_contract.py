"""The names of Dagster that are not public and yet needed: a release without them must be seen."""

import inspect
from collections.abc import Callable

import pytest
from dagster import DagsterEvent
from dagster._cli import api
from dagster._core.event_api import EventLogCursor
from dagster._core.execution.plan.active import ActiveExecution
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.plan.state import KnownExecutionState
from dagster._core.launcher.base import RunLauncher
from dagster._core.storage.event_log.base import EventLogStorage
from dagster._core.storage.runs.base import RunStorage
from dagster._grpc.types import ExecuteRunArgs, ExecuteStepArgs, ResumeRunArgs
from dagster._utils.error import SerializableErrorInfo


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (
            ActiveExecution.__init__,
            "execution_plan retry_mode sort_key_fn max_concurrent tag_concurrency_limits"
            " instance_concurrency_context",
        ),
        (ActiveExecution._update, ""),
        (ActiveExecution._prep_for_dynamic_outputs, "step"),
        (ActiveExecution.get_steps_to_execute, "limit"),
        (ActiveExecution.get_steps_to_skip, ""),
        (ActiveExecution.get_steps_to_abandon, ""),
        (ActiveExecution.mark_up_for_retry, "step_key at_time"),
        (ActiveExecution.mark_skipped, "step_key"),
        (ActiveExecution.mark_abandoned, "step_key"),
        (ActiveExecution.handle_event, "dagster_event"),
        (ActiveExecution.verify_complete, "job_context step_key"),
        (ActiveExecution.plan_events_iterator, "job_context"),
        (ActiveExecution.concurrency_event_iterator, "plan_context"),
        (InstanceConcurrencyContext.free_step, "step_key"),
        (DagsterEvent.step_failure_event, "step_context step_failure_data"),
        (DagsterEvent.step_retry_event, "step_context step_retry_data"),
        (DagsterEvent.step_worker_starting, "step_context message metadata"),
        (DagsterEvent.step_skipped_event, "step_context"),
        (DagsterEvent.engine_event, "plan_context message event_specific_data"),
        (EventLogCursor.from_storage_id, "storage_id"),
        (EventLogStorage.default_run_scoped_event_tailer_offset, ""),
        (EventLogStorage.free_concurrency_slot_for_step, "run_id step_key"),
        (RunStorage.get_cursor_values, "keys"),
        (api._execute_step_command_body, "args instance dagster_run"),
        (
            api._execute_run_command_body,
            "run_id instance write_stream_fn set_exit_code_on_failure",
        ),
        (
            api._resume_run_command_body,
            "run_id instance write_stream_fn set_exit_code_on_failure",
        ),
        (RunLauncher.launch_run, "context"),
        (RunLauncher.resume_run, "context"),
        (RunLauncher.check_run_worker_health, "run"),
        (RunLauncher.get_run_worker_debug_info, "run include_container_logs"),
        (
            ExecuteStepArgs.__new__,
            "job_origin run_id step_keys_to_execute instance_ref retry_mode known_state"
            " should_verify_step print_serialized_events",
        ),
        (ExecuteRunArgs.__new__, "job_origin run_id instance_ref set_exit_code_on_failure"),
        (ResumeRunArgs.__new__, "job_origin run_id instance_ref set_exit_code_on_failure"),
        (KnownExecutionState.__new__, "previous_retry_attempts ready_outputs"),
        (SerializableErrorInfo.__new__, "message stack cls_name"),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_a_function_of_dagster_takes_what_it_is_given(
    function: Callable[..., object], parameters: str
) -> None:
    assert set(parameters.split()) <= set(inspect.signature(function).parameters)


@pytest.mark.parametrize(
    "name",
    ["_plan", "_retry_mode", "_in_flight", "_executable", "_waiting_to_retry"],
)
def test_the_execution_state_has_the_parts_that_are_used(name: str) -> None:
    assert f"self.{name}" in inspect.getsource(ActiveExecution)


def test_the_plan_and_its_known_state_have_the_parts_that_are_used() -> None:
    assert "known_state" in ExecutionPlan._fields
    for name in ("previous_retry_attempts", "ready_outputs"):
        assert name in KnownExecutionState._fields
