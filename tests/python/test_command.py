"""``dagster-taskiq``, the command that becomes ``dagster-taskiq-tui``: real processes."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance

from conftest import Queue, own_binary, stop, wait_for

COMMAND = Path(own_binary()).with_name("dagster-taskiq").resolve()
"""Built with the program, and in its folder."""


def run(command: list[str], **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PATH": "/nowhere", **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_the_program_is_beside_the_command_or_on_the_path(tmp_path: Path) -> None:
    expected = run([own_binary(), "--version"]).stdout
    assert run([str(COMMAND), "--version"]).stdout == expected

    link = tmp_path / "link"
    link.symlink_to(COMMAND)
    assert run([str(link), "--version"]).stdout == expected, "an installer may link to it"

    alone = Path(shutil.copy(COMMAND, tmp_path))
    folder = tmp_path / "on the path"
    folder.mkdir()
    (folder / "dagster-taskiq-tui").symlink_to(Path(own_binary()).resolve())
    assert run([str(alone), "--version"], PATH=str(folder)).stdout == expected


def test_a_program_that_is_missing_or_broken_is_one_sentence(tmp_path: Path) -> None:
    alone = Path(shutil.copy(COMMAND, tmp_path))
    missing = run([str(alone), "worker", "list"])
    beside = tmp_path / "dagster-taskiq-tui"
    beside.touch(0o644)
    broken = run([str(alone), "worker", "list"])
    for done, says in (
        (missing, "neither beside dagster-taskiq nor on PATH: install"),
        (broken, f"cannot run {beside}: Permission denied"),
    ):
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        assert says in done.stderr


def test_arguments_and_exit_codes_are_the_programs(tmp_path: Path) -> None:
    for words, code in (
        (["worker", "list", "--no-such"], 2),
        (["worker", "status", "--runtime-dir", str(tmp_path)], 1),
        (["config", "show", "--slots", "3", "--name", "it's a name"], 0),
    ):
        ours = run([str(COMMAND), *words])
        plain = run([own_binary(), *words])
        assert ours.returncode == plain.returncode == code
        assert ours.stdout == plain.stdout


@pytest.fixture
def worker(
    queue: Queue, instance: DagsterInstance, tmp_path: Path
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
            [str(COMMAND), *words, *places, "--name", "older", "--python", sys.executable],
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
    worker: "subprocess.Popen[Any]", tmp_path: Path
) -> None:
    program = Path(f"/proc/{worker.pid}/exe").resolve()
    assert program == Path(own_binary()).resolve(), "the process is the program's own"
    place = ["--runtime-dir", str(tmp_path / "runtime")]
    listed = run([str(COMMAND), "worker", "list", *place, "--python", sys.executable])
    assert "older" in listed.stdout, listed.stderr
    assert run([str(COMMAND), "worker", "terminate", *place, "older"]).returncode == 0
    assert worker.wait(60) == 0


def test_signals_reach_the_program(tmp_path: Path) -> None:
    log = tmp_path / "broker.log"
    words = ["broker", "serve", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / "data")]
    with (
        log.open("w") as output,
        subprocess.Popen(
            [str(COMMAND), *words],
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
