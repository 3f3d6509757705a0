"""What is in the way before a step begins ends no step: its message goes back and comes again."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterRunStatus

from _dagster_taskiq_host import source_watcher
from _dagster_taskiq_host.children import Child
from _dagster_taskiq_host.instances import claims_folder
from conftest import HERE, wait_for
from fleet import Begun, Fleet, running


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A project without a worker."""
    with running(tmp_path_factory.mktemp("not-started")) as found:
        yield found


def logged(fleet: Fleet, text: str, after: int = 0) -> int:
    """Wait until the worker has logged a text; where the log ends then."""
    wait_for(lambda: text in fleet.log_of("worker")[after:], text)
    return len(fleet.log_of("worker"))


def ends_well(fleet: Fleet, run: Begun) -> None:
    found = run.finish()
    assert found.status == DagsterRunStatus.SUCCESS, fleet.log_of("worker")
    assert run.count("STEP_START") == run.count("STEP_SUCCESS") == {"first": 1, "second": 1}
    assert not run.count("STEP_UP_FOR_RETRY") + run.count("STEP_FAILURE")


def hosts(pid: int) -> list[int]:
    """The step hosts of a worker."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    found = {int(word) for path in threads for word in path.read_text().split()}
    found |= set(map(int, children.split()))
    return [p for p in found if b"\0step\0" in Path(f"/proc/{p}/cmdline").read_bytes()]


def test_what_is_in_the_way_of_a_step_is_waited_for(fleet: Fleet) -> None:
    place = fleet.folder / "location"
    place.mkdir()
    code = place / "deployed.py"
    shutil.copy(HERE / "deployed.py", code)
    claims = claims_folder(fleet.instance)
    shutil.rmtree(claims, ignore_errors=True)
    claims.parent.mkdir(parents=True, exist_ok=True)
    claims.write_text("in the way of the folder")
    fleet.environment["DTQ_TEST_WORKER"] = "1"
    worker = fleet.worker("worker")
    del fleet.environment["DTQ_TEST_WORKER"]
    (place / "dies").touch()
    run = fleet.begin("pair", str(code))

    # Its host dies over and over.
    seen = logged(fleet, "first was not started: code location")
    (place / "dies").unlink()
    # Its claim cannot be taken.
    seen = logged(fleet, "first was not started: FileExistsError", seen)
    claims.unlink()
    # Its code is being replaced while its host is there: that one serves on.
    wait_for(lambda: run.count("STEP_START"), "the first step")
    (place / "broken").touch()
    code.write_text(code.read_text() + "\n# half of the new file")
    # The files are looked at once a second at most.
    time.sleep(2 * source_watcher.PERIOD)
    (place / "go").touch()
    ends_well(fleet, run)
    seen = logged(fleet, "half of the file", seen)

    # The same where there is no host left.
    for pid in hosts(worker.pid):
        os.kill(pid, signal.SIGKILL)
    run = fleet.begin("pair", str(code))
    seen = logged(fleet, "first was not started: code location", seen)
    (place / "broken").unlink()
    ends_well(fleet, run)
    wait_for(lambda: fleet.queue.depth() == 0, "the acknowledgements")


@pytest.mark.parametrize("begun", [False, True])
def test_a_process_that_does_not_begin_its_task_is_killed(begun: bool) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True
    )
    child = Child("task", process.pid, -1, [], begun=begun)
    child.signal_due()
    assert process.poll() is None
    child.due = time.monotonic()
    child.signal_due()
    if begun:
        assert process.poll() is None
        process.kill()
    process.wait(30)
    assert child.killed is not begun
    assert process.stdin is not None
    process.stdin.close()
