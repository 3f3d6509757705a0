"""What a step finds in a process that has loaded the code before it: what a process of its own
would find, whatever the code did when it was loaded and whatever ran there before.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from _dagster_taskiq_host.frames import encode
from conftest import wait_for
from step_host import StepHostProcess, fresh_home, step_host


@pytest.fixture(scope="module", params=["fork", "reuse"])
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """A host whose steps are forked, and one whose steps share a process."""
    home = fresh_home(tmp_path_factory.mktemp(request.param) / "home")
    with step_host(home, "inherited.py", isolation=request.param, max_steps=1000) as found:
        found.home = home
        found.mode = request.param
        yield found


def test_what_exit_handlers_remove_is_there_in_every_step(host) -> None:
    for _ in range(2):
        assert host.value("temporary_folders_are_there") == [True, True, True]


def test_exit_handlers_of_a_step_run_when_its_process_ends(host) -> None:
    host.value("register_exit_handlers step")
    if host.mode == "reuse":
        host.value("leaves_a_thread")  # which ends the process
    for kind in ("atexit", "finalize"):
        wait_for((host.home / f"step-{kind}").exists, kind)
    assert host.value("temporary_folders_are_there") == [True, True, True]


def test_an_executor_of_a_module_works_and_keeps_no_step(host) -> None:
    for _ in range(2):
        assert host.value("executor_of_the_module") == 3


def test_an_executor_that_a_step_leaves_open_does_not_keep_it(host) -> None:
    ended = host.run("executor_that_is_left_open")
    assert (ended.status, ended.frame["killed"]) == ("STEP_SUCCESS", False)


def test_steps_draw_numbers_of_their_own_except_from_generators_with_a_seed(host) -> None:
    first = host.value("drawn")
    host.value("seeds")
    second = host.value("drawn")
    host.value("seeds")
    third = host.value("drawn")
    for name, number in first.items():
        others = [second[name], third[name]]
        if "seeded" in name:
            assert others == [number] * 2, name
        else:
            assert len({number, *others}) == 3, name


def test_whatever_user_code_writes_with_reaches_the_compute_log(host) -> None:
    task = host.start("prints")
    host.finish(task)
    output = host.output(task)
    for line in ("by print", "by a copy", "by a handler", "by a program"):
        assert f"{line}\n" in output, output


def test_an_event_loop_of_a_module_works_in_steps_at_the_same_time(host) -> None:
    tasks = [host.start("loop_of_the_module") for _ in range(3)]
    assert [host.finish(task).status for task in tasks] == ["STEP_SUCCESS"] * 3


def test_signal_handlers_of_a_module_are_in_force(host) -> None:
    for _ in range(2):
        assert host.value("handlers_of_the_module") == [signal.SIGUSR1]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_step_starts_processes_in_every_way_python_has(host, method: str) -> None:
    assert host.value(f"starts_processes {method}") == [1, 2, 3, 0, 0]


def test_a_multiprocessing_queue_of_a_module_works(host) -> None:
    for _ in range(2):
        assert host.value("queue_of_the_module") == "through"


def test_what_was_buffered_when_code_was_loaded_is_written_once(host) -> None:
    names = {host.value("writes_the_buffered_file") for _ in range(2)}
    texts = [Path(name).read_text() for name in names]
    assert all(text.count("header") == 1 for text in texts)
    assert sum(text.count("line") for text in texts) == 2


def test_a_file_that_a_step_leaves_open_is_written(host) -> None:
    host.value("leaves_a_file_open left.txt")
    if host.mode == "reuse":
        host.value("leaves_a_thread")
    wait_for(lambda: (host.home / "left.txt").read_text() == "written\n", "the file is written")


def test_what_a_step_changes_in_its_process_the_next_one_does_not_find(host) -> None:
    before = host.value("surroundings")
    host.value("changes_everything")
    assert host.value("surroundings") == before


def test_a_step_may_open_as_many_files_as_without_us(host) -> None:
    import resource

    assert host.value("descriptor_limit") == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_a_failure_with_a_text_that_is_no_unicode_is_told(host) -> None:
    reason = host.run("fails_with_a_bad_name").frame["outcome"]["reason"]
    assert reason.startswith("ValueError: no such file: caf")


def test_the_reason_of_a_failure_is_cut(host) -> None:
    ended = host.run("fails_at_length")
    assert ended.status == "STEP_FAILURE"
    assert len(ended.frame["outcome"]["reason"]) < 5000


def test_processes_that_a_step_leaves_behind_end_with_it(host) -> None:
    left = host.value("leaves_a_process")
    wait_for(lambda: not _alive(left), "the process is gone")


def _alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


@pytest.mark.parametrize("selected", [{}, {"resolved_op_selection": {"check"}}])
def test_a_step_inherits_its_plan_from_a_host_that_had_the_run_s_own_process(
    tmp_path: Path, selected: dict[str, set[str]]
) -> None:
    with step_host(fresh_home(tmp_path / "home"), "inherited.py", isolation="fork") as host:
        for check in ("makes_a_plan_of_its_own", "looks_at_the_plan_when_it_collects"):
            run = host.create_run(check, **selected)
            # It ends at once: this is no message of a run.
            host.finish(host.start(check, run, kind="run", task="resume_job"))
            assert host.value(check, run=run) is False


@pytest.fixture(scope="module")
def reusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StepHostProcess]:
    """A host with processes that run three steps each, and hold little."""
    home = fresh_home(tmp_path_factory.mktemp("reusing") / "home")
    with step_host(
        home, "inherited.py", isolation="reuse", max_steps=3, max_memory_mib=300
    ) as found:
        found.home = home
        yield found


def _new_process(host: StepHostProcess, check: str) -> tuple[int, int]:
    return host.value("pid"), host.value(check)


def test_a_process_runs_its_number_of_steps(reusing) -> None:
    pids = [reusing.value("pid") for _ in range(4)]
    assert pids[0] == pids[1] == pids[2] != pids[3]


@pytest.mark.parametrize("check", ["leaves_a_thread", "holds_memory"])
def test_a_process_that_is_worn_out_runs_no_further_step(reusing, check: str) -> None:
    used = reusing.value(check)
    assert reusing.value("pid") != used


def test_a_canceled_step_ends_its_process_and_the_next_has_another(reusing) -> None:
    task = reusing.start("waits canceled")
    ended = reusing.tasks[task]
    reusing.wait(lambda: list(reusing.home.glob("canceled-*")), "the step waits")
    reusing.channel.send({"kind": "cancel", "id": task, "grace_ms": 60_000})
    reusing.finish(task)
    assert ended.frame["canceled"] and ended.frame["outcome"]["status"] == "STEP_FAILURE"
    assert reusing.value("pid") != ended.pid
    wait_for(lambda: not _alive(ended.pid or 0), "the process is gone")


def test_a_step_of_its_own_has_a_process_that_ran_nothing_before(reusing) -> None:
    used = reusing.value("pid")
    own = reusing.value("pid", isolation="fresh")
    assert own != used
    # One that waits for an unused process is not kept by those that are idle, but were used.
    reusing.value("pid")
    tasks = [reusing.start("pid", isolation=mode) for mode in ("fresh", "reuse", "fresh", "reuse")]
    assert {reusing.finish(task).status for task in tasks} == {"STEP_SUCCESS"}
    wait_for(lambda: not _alive(own), "the process is gone")
    assert reusing.value("pid", isolation="fork") not in (used, own)


def test_steps_at_the_same_time_have_processes_of_their_own(reusing) -> None:
    tasks = [reusing.start("waits together") for _ in range(3)]
    reusing.wait(lambda: len(list(reusing.home.glob("together-*"))) == 3, "all three wait")
    (reusing.home / "go").touch()
    assert {reusing.finish(task).status for task in tasks} == {"STEP_SUCCESS"}
    (reusing.home / "go").unlink()


def test_a_task_that_no_process_can_be_had_for_is_refused_and_the_others_go_on(tmp_path) -> None:
    import resource

    home = fresh_home(tmp_path / "home")
    with step_host(home, "inherited.py", isolation="fork") as host:
        used = len(list(Path(f"/proc/{host.process.pid}/fd").iterdir()))
        resource.prlimit(host.process.pid, resource.RLIMIT_NOFILE, (used + 16, used + 16))
        tasks = [host.start("waits crowd") for _ in range(8)]
        host.wait(lambda: any(host.tasks[task].frame for task in tasks), "one is refused")
        (home / "go").touch()
        kinds = [host.finish(task).frame for task in tasks]
        refused = [frame for frame in kinds if frame["kind"] == "cannot_start"]
        assert refused and all("no process can be forked" in frame["reason"] for frame in refused)
        ran = [frame for frame in kinds if frame["kind"] == "exit"]
        assert ran and all(frame["outcome"]["status"] == "STEP_SUCCESS" for frame in ran)
        assert host.value("pid")


def test_the_temporary_folder_of_a_module_goes_with_the_host(tmp_path) -> None:
    home = fresh_home(tmp_path / "home")
    with step_host(home, "inherited.py", isolation="fork") as host:
        host.value("pid")
        assert not list(home.glob("finalized-*"))
    assert [path.name for path in home.glob("finalized-*")] == [f"finalized-{host.process.pid}"]


def test_every_frame_is_valid_json_whatever_it_holds() -> None:
    import json

    odd = {"kind": "exit", "reason": os.fsdecode(b"\xe9"), "delay": float("nan"), "x": {1: {2}}}
    assert json.loads(encode(odd)) == {
        "kind": "exit",
        "reason": "\\udce9",
        "delay": None,
        "x": {"1": "{2}"},
    }
    loop: list[object] = []
    loop.append(loop)
    assert json.loads(encode({"kind": "event", "x": loop}))["kind"] == "event"
    long = encode({"kind": "log", "line": "\udce9" * (20 * 1024 * 1024)})
    assert len(long) < 16 * 1024 * 1024 and json.loads(long)["kind"] == "log"
    answer = json.loads(encode({"kind": "answer", "id": 7, "value": "x" * (20 * 1024 * 1024)}))
    assert answer["id"] == 7 and "bytes" in answer["error"]
