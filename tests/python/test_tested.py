"""A version of Dagster outside of the tested range is warned about, and used all the same."""

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from dagster import DagsterInstance

from _dagster_taskiq_host import tested
from conftest import SOURCE, Queue, execute, own_binary, stop, wait_for
from dagster_taskiq import run_loop

TESTS = Path(__file__).parent.parent


def locked(name: str) -> str:
    """The version of Dagster in a lock."""
    found = re.search(r"^dagster==(\S+)$", (TESTS / name).read_text(), re.MULTILINE)
    assert found is not None
    return found.group(1)


def test_only_versions_outside_of_the_tested_range_are_warned_about() -> None:
    for version in (tested.OLDEST, "1.12.22", "1.13.0", tested.NEWEST, "1.13.999", "1.13.30rc1"):
        assert tested.warning(version) is None, version
    for version in ("1.14.0", "1.14.0rc1", "1.20.1", "2.0.0"):
        assert "newer than" in (tested.warning(version) or ""), version
    for version in ("1.12.1", "1.11.16", "0.15.0"):
        assert "older than" in (tested.warning(version) or ""), version


def test_the_tested_range_is_what_the_tests_install() -> None:
    assert locked("requirements-older.lock") == tested.OLDEST
    assert tested._numbers(locked("requirements.lock")) <= tested._numbers(tested.NEWEST)


def test_an_executor_on_a_newer_dagster_warns_once_and_its_runs_are_executed(
    shared: tuple[DagsterInstance, Queue],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    instance, _ = shared
    monkeypatch.setattr(tested, "NEWEST", "1.11.0")
    monkeypatch.setattr(run_loop, "_warned", [])
    with caplog.at_level(logging.WARNING, "dagster_taskiq"):
        for _ in range(2):
            assert execute("chain_job", instance).is_success
    said = [record.message for record in caplog.records if "newer than" in record.message]
    assert len(said) == 1


def test_doctor_and_worker_warn_of_a_newer_dagster_and_work_with_it(
    instance: DagsterInstance, queue: Queue, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    newer = tmp_path / "dagster-9.0.0.dist-info"
    newer.mkdir()
    (newer / "METADATA").write_text("Metadata-Version: 2.1\nName: dagster\nVersion: 9.0.0\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{SOURCE}")
    python = ["--python", sys.executable]
    looked = subprocess.run(
        [own_binary(), "doctor", "--json", *python], stdout=subprocess.PIPE, text=True
    )
    checks = [json.loads(line) for line in looked.stdout.splitlines()]
    found = next(check for check in checks if check["check"] == "dagster")
    assert found["verdict"] == "warning"
    assert found["message"].startswith("Dagster 9.0.0 is newer than")

    log = tmp_path / "worker.log"
    command = [own_binary(), "worker", "start", "--slots", "1", "--log-dir", str(tmp_path), *python]
    with (
        log.open("w") as output,
        subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        ) as process,
    ):
        try:
            wait_for(lambda: " ready: " in log.read_text(), "the worker's start")
            assert log.read_text().count("Dagster 9.0.0 is newer than") == 1
        finally:
            stop(process)
