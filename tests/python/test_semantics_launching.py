"""Runs that Dagster launches: by command, from the webserver, by sensor and schedule, all through
``QueuedRunCoordinator`` and the queue, for two code locations on one worker."""

import json
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterEventType, DagsterRun, DagsterRunStatus, RunsFilter

from conftest import HERE, wait_for
from fleet import Fleet

WORKSPACE = """\
load_from:
  - python_file: {relative_path: semantics.py, location_name: by_file}
  - python_module: {module_name: second, location_name: by_module}
"""

LAUNCH = """
mutation ($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""
CAPTURED = """
query ($key: [String!]!) { capturedLogs(logKey: $key) { stdout stderr } }
"""
EVENTS = """
query ($run: ID!) {
  logsForRun(runId: $run) {
    ... on EventConnection { events { ... on LogsCapturedEvent { fileKey stepKeys } } }
  }
}
"""
TERMINATE = """
mutation ($run: String!) { terminateRun(runId: $run) { __typename } }
"""


class Webserver:
    """Dagster's webserver, asked as its own page asks it."""

    def __init__(self, url: str):
        self.url = url

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data of an answer without errors."""
        request = urllib.request.Request(
            f"{self.url}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            found = json.loads(answer.read())
        assert "errors" not in found, found["errors"]
        return found["data"]

    def is_up(self) -> bool:
        """Whether it answers and has loaded both code locations."""
        query = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }"
        try:
            nodes = self.ask(query)["repositoriesOrError"].get("nodes", [])
        except (OSError, urllib.error.URLError):
            return False
        return len(nodes) == 2

    def launch(self, location: str, job: str, config: Any = None) -> str:
        """Launch a job; the run's id."""
        selector = {
            "repositoryLocationName": location,
            "repositoryName": "__repository__",
            "jobName": job,
        }
        params = {"selector": selector, "runConfigData": config or {}}
        answer = self.ask(LAUNCH, params=params)["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return answer["run"]["runId"]


@pytest.fixture(scope="module")
def webserver(fleet: Fleet) -> Iterator[Webserver]:
    """Webserver and daemon of the project."""
    workspace = fleet.folder / "workspace.yaml"
    workspace.write_text(WORKSPACE.replace("semantics.py", str(HERE / "semantics.py")))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    python = sys.executable
    fleet.start([python, "-m", "dagster._daemon", "run", "-w", str(workspace)], "daemon")
    serve = [python, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port)]
    fleet.start([*serve, "-w", str(workspace)], "webserver")
    found = Webserver(f"http://127.0.0.1:{port}")
    wait_for(found.is_up, "the webserver with both code locations", 120)
    yield found


def ended(fleet: Fleet, run_id: str) -> DagsterRun:
    """The run when it has ended."""

    def look() -> DagsterRun | None:
        run = fleet.instance.get_run_by_id(run_id)
        return run if run and run.is_finished else None

    return wait_for(look, f"the end of run {run_id}", 120)


def test_dagster_job_execute_takes_a_file(fleet: Fleet) -> None:
    fleet.run_command("dagster", "job", "execute", "-f", "semantics.py", "-j", "chain_job")
    (run,) = fleet.instance.get_runs(RunsFilter(job_name="chain_job"), limit=1)
    assert run.is_success


def test_dagster_job_execute_takes_a_module(fleet: Fleet) -> None:
    fleet.run_command("dagster", "job", "execute", "-m", "second", "-j", "speak_job")
    (run,) = fleet.instance.get_runs(RunsFilter(job_name="speak_job"), limit=1)
    assert run.is_success


def test_dagster_job_launch_takes_a_workspace(fleet: Fleet, webserver: Webserver) -> None:
    workspace = str(fleet.folder / "workspace.yaml")
    fleet.run_command("dagster", "job", "launch", "-w", workspace, "-l", "by_file", "-j", "nap_job")
    (run,) = fleet.instance.get_runs(RunsFilter(job_name="nap_job"), limit=1)
    assert ended(fleet, run.run_id).is_success


def test_the_webserver_launches_jobs_of_two_code_locations_on_one_worker(
    fleet: Fleet, webserver: Webserver
) -> None:
    runs = [webserver.launch("by_file", "dynamic_job"), webserver.launch("by_module", "speak_job")]
    assert [ended(fleet, run).status for run in runs] == [DagsterRunStatus.SUCCESS] * 2
    for run in runs:
        assert len(fleet.instance.all_logs(run, of_type=DagsterEventType.RUN_ENQUEUED)) == 1
        assert len(fleet.instance.all_logs(run, of_type=DagsterEventType.RUN_STARTING)) == 1


def test_what_a_step_prints_is_shown_by_the_webserver(fleet: Fleet, webserver: Webserver) -> None:
    run = webserver.launch("by_module", "speak_job")
    assert ended(fleet, run).is_success
    events = webserver.ask(EVENTS, run=run)["logsForRun"]["events"]
    (captured,) = [event for event in events if event.get("stepKeys") == ["speaks"]]
    key = [run, "compute_logs", captured["fileKey"]]
    logs = webserver.ask(CAPTURED, key=key)["capturedLogs"]
    assert "spoken on stdout" in logs["stdout"]
    assert "imported with the instance's own variables" in logs["stdout"]
    assert "spoken on stderr" in logs["stderr"]


def test_a_run_is_cancelled_from_the_webserver(
    fleet: Fleet, webserver: Webserver, tmp_path: Path
) -> None:
    config = {"ops": {"waits": {"config": {"folder": str(tmp_path)}}}}
    run = webserver.launch("by_module", "wait_job", config)
    wait_for(lambda: (tmp_path / "there").exists(), "the step", 60)
    answer = webserver.ask(TERMINATE, run=run)["terminateRun"]
    assert answer["__typename"] == "TerminateRunSuccess", answer
    assert ended(fleet, run).status == DagsterRunStatus.CANCELED


@pytest.mark.parametrize("asked_by", ["sensor", "schedule"])
def test_a_sensor_and_a_schedule_launch_runs(
    asked_by: str, fleet: Fleet, webserver: Webserver
) -> None:
    filters = RunsFilter(tags={"asked_by": asked_by})
    run = wait_for(lambda: fleet.instance.get_runs(filters), f"a run of the {asked_by}", 120)[-1]
    assert ended(fleet, run.run_id).is_success
    if asked_by == "sensor":
        assert len(fleet.instance.get_runs(filters)) == 1
