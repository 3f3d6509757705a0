"""``dagster-taskiq``, the command that becomes ``dagster-taskiq-tui``: real processes."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance

from conftest import Queue, own_binary, stop, wait_for

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "src/python/wheel/scripts/dagster-taskiq"


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """The script as an installer writes it: with the interpreter in its first line."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "dagster-taskiq"
    text = SCRIPT.read_text()
    assert text.startswith("#!python\n")
    script.write_text(text.replace("#!python", f"#!{sys.executable}", 1))
    script.chmod(0o755)
    return [str(script)]


def environment(**variables: str) -> dict[str, str]:
    """No program is found with this one, unless the tests' own environment has it."""
    kept = {name: value for name, value in os.environ.items() if name != "DAGSTER_TASKIQ_TUI"}
    return {**kept, "PATH": "/nowhere", **variables}


def run(command: list[str], **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, env=environment(**variables), capture_output=True, text=True)


def test_the_wheel_has_the_command() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    assert re.search(r'^data = "src/python/wheel"$', project, re.MULTILINE)
    assert os.access(SCRIPT, os.X_OK)


def test_the_program_is_named_or_beside_the_command_or_on_the_path(
    command: list[str], tmp_path: Path
) -> None:
    words = [*command, "--version"]
    expected = subprocess.run([own_binary(), "--version"], capture_output=True, text=True).stdout
    version = expected.split()[-1]

    assert run(words, DAGSTER_TASKIQ_TUI=own_binary()).stdout.split()[-1] == version
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "dagster-taskiq-tui").symlink_to(own_binary())
    assert run(words, PATH=str(folder)).stdout.split()[-1] == version
    beside = Path(command[0]).parent / "dagster-taskiq-tui"
    beside.symlink_to(own_binary())
    assert run(words).stdout.split()[-1] == version


def test_a_missing_program_is_one_sentence(command: list[str]) -> None:
    for variables, says in (
        ({}, "neither beside dagster-taskiq nor on PATH"),
        ({"DAGSTER_TASKIQ_TUI": "/nowhere/tui"}, "cannot run /nowhere/tui: No such file"),
    ):
        done = run([*command, "worker", "list"], **variables)
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        assert says in done.stderr


def test_arguments_and_exit_codes_are_the_programs(command: list[str], tmp_path: Path) -> None:
    named = {"DAGSTER_TASKIQ_TUI": own_binary()}
    for words, code in (
        (["worker", "list", "--no-such"], 2),
        (["worker", "status", "--runtime-dir", str(tmp_path)], 1),
        (["config", "show", "--slots", "3", "--name", "it's a name"], 0),
    ):
        ours = run([*command, *words], **named)
        plain = run([own_binary(), *words])
        assert ours.returncode == plain.returncode == code
        assert ours.stdout == plain.stdout


@pytest.fixture
def worker(
    command: list[str], queue: Queue, instance: DagsterInstance, tmp_path: Path
) -> "Iterator[subprocess.Popen[Any]]":
    """``dagster-taskiq worker start`` with the settings of the older system's documentation."""
    settings = tmp_path / "config.yaml"
    settings.write_text(
        f'execution:\n  config:\n    queue_url: "{queue.url}"\n    region_name: "us-east-1"\n'
        f'    endpoint_url: "{queue.client.meta.endpoint_url}"\n'
    )
    words = ["worker", "start", "--config-yaml", str(settings), "--workers", "2"]
    places = ["--runtime-dir", str(tmp_path / "runtime"), "--log-dir", str(tmp_path / "log")]
    with (
        (tmp_path / "worker.log").open("w") as log,
        subprocess.Popen(
            [*command, *words, *places, "--name", "older", "--python", sys.executable],
            env=environment(DAGSTER_TASKIQ_TUI=own_binary(), PATH=os.environ["PATH"]),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            ready = tmp_path / "worker.log"
            wait_for(lambda: "2 step slots" in ready.read_text(), "the worker")
            yield process
        finally:
            stop(process)


def test_a_worker_is_started_listed_and_terminated(
    worker: "subprocess.Popen[Any]", command: list[str], tmp_path: Path
) -> None:
    program = Path(f"/proc/{worker.pid}/exe").resolve()
    assert program == Path(own_binary()).resolve(), "the process is the program's own"
    named = {"DAGSTER_TASKIQ_TUI": own_binary()}
    place = ["--runtime-dir", str(tmp_path / "runtime")]
    listed = run([*command, "worker", "list", *place, "--python", sys.executable], **named)
    assert "older" in listed.stdout, listed.stderr
    assert run([*command, "worker", "terminate", *place, "older"], **named).returncode == 0
    assert worker.wait(60) == 0


def test_signals_reach_the_program(command: list[str], tmp_path: Path) -> None:
    log = tmp_path / "broker.log"
    words = ["broker", "serve", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / "data")]
    with (
        log.open("w") as output,
        subprocess.Popen(
            [*command, *words],
            env=environment(DAGSTER_TASKIQ_TUI=own_binary()),
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            wait_for(lambda: "endpoint: " in log.read_text(), "the broker")
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            stop(process)
