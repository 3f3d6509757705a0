"""The names of Dagster that are not public and yet needed: a release without them must be seen."""

import ast
import importlib
import inspect
from collections.abc import Callable

import pytest
from dagster import DagsterEvent, DagsterInstance, GraphDefinition, JobDefinition, RetryPolicy
from dagster._cli import api
from dagster._core.code_pointer import CodePointer
from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository
from dagster._core.event_api import EventLogCursor
from dagster._core.events import JobFailureData
from dagster._core.execution.api import create_execution_plan, execute_plan_iterator
from dagster._core.execution.context_creation_job import create_context_free_log_manager
from dagster._core.execution.plan.active import ActiveExecution
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._core.execution.plan.objects import StepFailureData, StepRetryData
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.plan.state import KnownExecutionState, PastExecutionState
from dagster._core.execution.plan.step import ExecutionStep, UnresolvedMappedExecutionStep
from dagster._core.launcher.base import RunLauncher
from dagster._core.storage.event_log.base import EventLogStorage
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.runs.base import RunStorage
from dagster._core.system_config.objects import ResolvedRunConfig
from dagster._grpc.types import ExecuteRunArgs, ExecuteStepArgs, ResumeRunArgs
from dagster._utils.error import SerializableErrorInfo
from dagster._utils.hosted_user_process import recon_job_from_origin
from sqlalchemy.pool import Pool

from conftest import SOURCE


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
        # What is replaced for speed, and what its replacement calls.
        (ResolvedRunConfig.build, "job_def run_config"),
        (
            ExecutionPlan.build,
            "job_def resolved_run_config step_keys_to_execute known_state instance_ref tags"
            " repository_load_data",
        ),
        (ExecutionPlan.build_subset_plan, "step_keys_to_execute job_def resolved_run_config"),
        (ExecutionStep.get_execution_dependency_keys, ""),
        (ReconstructableJob.get_definition, ""),
        (Pool.__init__, "creator reset_on_return pre_ping _dispatch dialect"),
        # What the log tail counts with, and what one step's events are read with.
        (SqlEventLogStorage.run_connection, "run_id"),
        # What groups of events are stored with.
        (SqlEventLogStorage._event_to_row, "event"),
        (EventLogStorage.store_event_batch, "events"),
        (GraphDefinition.get_node, "handle"),
        # What the warm hosts use besides.
        (
            DagsterEvent.__new__,
            "event_type_value job_name step_handle node_handle step_kind_value logging_tags"
            " event_specific_data message step_key",
        ),
        (DagsterEvent.step_worker_started, "log_manager job_name message step_key metadata"),
        (DagsterInstance.from_ref, "instance_ref"),
        (DagsterInstance.handle_new_event, "event"),
        (DagsterInstance.report_dagster_event, "dagster_event run_id log_level"),
        (DagsterInstance.report_engine_event, "message dagster_run engine_event_data step_key"),
        (DagsterInstance.report_run_canceled, "dagster_run message"),
        (DagsterInstance.report_run_failed, "dagster_run message job_failure_data"),
        (DagsterInstance.get_run_step_stats, "run_id step_keys"),
        (DagsterInstance.get_records_for_run, "run_id cursor of_type limit ascending"),
        (DagsterInstance.get_execution_plan_snapshot, "snapshot_id"),
        (DagsterInstance.inject_env_vars, "location_name"),
        (DagsterInstance.run_will_resume, "run_id"),
        (RunStorage.set_cursor_values, "pairs"),
        (JobDefinition.get_retry_policy_for_handle, "handle"),
        (RetryPolicy.calculate_delay, "attempt_num"),
        (ReconstructableJob.with_repository_load_data, "metadata"),
        (ReconstructableJob.get_repository_definition, ""),
        (CodePointer.describe, ""),
        (ReconstructableJob.get_subset, "op_selection asset_selection asset_check_selection"),
        (
            create_execution_plan,
            "job run_config step_keys_to_execute known_state repository_load_data",
        ),
        (execute_plan_iterator, "execution_plan job dagster_run instance run_config retry_mode"),
        (create_context_free_log_manager, "instance dagster_run"),
        (recon_job_from_origin, "origin"),
        (JobFailureData.__new__, "error failure_reason"),
        (StepFailureData.__new__, "error user_failure_data error_source"),
        (StepRetryData.__new__, "error seconds_to_wait"),
        (LocalComputeLogManager.capture_logs, "log_key"),
        (LocalComputeLogManager.get_captured_local_path, "log_key extension"),
        (LocalComputeLogManager.complete_artifact_path, "log_key"),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_a_function_of_dagster_takes_what_it_is_given(
    function: Callable[..., object], parameters: str
) -> None:
    assert set(parameters.split()) <= set(inspect.signature(function).parameters)


#: What is done without where a release lacks it.
OPTIONAL = {("dagster._core.snowflake_partner", "set_snowflake_partner_env_var")}


def private_names() -> list[tuple[str, str]]:
    """Module and name of everything the packages import from Dagster's private modules."""
    found = set()
    for package in ("dagster_taskiq", "_dagster_taskiq_host"):
        for path in (SOURCE / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dagster._"):
                    found.update((node.module or "", alias.name) for alias in node.names)
    return sorted(found - OPTIONAL)


@pytest.mark.parametrize(("module", "name"), private_names(), ids=lambda value: value)
def test_a_private_name_of_dagster_is_where_it_is_imported_from(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(module), name)


def test_no_private_module_of_dagster_is_used_without_being_named() -> None:
    """``import dagster._core...`` would escape the list of names."""
    assert len(private_names()) > 50
    for package in ("dagster_taskiq", "_dagster_taskiq_host"):
        for path in (SOURCE / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    assert not [a.name for a in node.names if a.name.startswith("dagster._")], path


@pytest.mark.parametrize(
    "name",
    ["_plan", "_retry_mode", "_in_flight", "_executable", "_waiting_to_retry"],
)
def test_the_execution_state_has_the_parts_that_are_used(name: str) -> None:
    assert f"self.{name}" in inspect.getsource(ActiveExecution)


def test_the_event_log_has_the_columns_that_are_read_and_an_index_of_step_keys() -> None:
    names = {"id", "run_id", "event", "dagster_event_type", "step_key"}
    assert names <= set(SqlEventLogStorageTable.c.keys())
    indexed = [list(index.columns) for index in SqlEventLogStorageTable.indexes]
    assert [SqlEventLogStorageTable.c.step_key] in indexed
    assert "run_connection(run_id)" in inspect.getsource(SqlEventLogStorage.get_records_for_run)
    assert "deserialize_value(json_str, EventLogEntry)" in inspect.getsource(
        SqlEventLogStorage.get_records_for_run
    )


def test_the_plan_and_its_known_state_have_the_parts_that_are_used() -> None:
    assert "known_state" in ExecutionPlan._fields
    assert {"pointer", "repository_load_data"} <= set(ReconstructableRepository._fields)
    for name in ("previous_retry_attempts", "ready_outputs", "dynamic_mappings", "parent_state"):
        assert name in KnownExecutionState._fields
    assert {"run_id", "produced_outputs", "parent_state"} == set(PastExecutionState._fields)
    for name in ("resolved_by_step_key", "resolved_by_output_name"):
        assert hasattr(UnresolvedMappedExecutionStep, name)
