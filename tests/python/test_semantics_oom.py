"""A step that the kernel kills for want of memory."""

import socket
from collections.abc import Iterator

import pytest
from dagster import DagsterEventType, DagsterRunStatus

from cgroup import MemoryGroup, NoCgroup, memory_limit
from conftest import counted
from fleet import Fleet, running

#: Worker, instance agent and warm host take a third of it; the step the rest.
LIMIT = 700 * 1024 * 1024


@pytest.fixture
def group() -> Iterator[MemoryGroup]:
    """A control group with the limit."""
    try:
        with memory_limit(LIMIT) as found:
            yield found
    except NoCgroup as error:
        pytest.skip(f"the kernel's OOM kill was not tested, no control group: {error}")


@pytest.fixture
def fleet(group: MemoryGroup, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A project whose worker is in the group, with the hosts and steps it starts."""
    with running(tmp_path_factory.mktemp("oom")) as found:
        group.join(found.worker("first").pid)
        yield found


def test_an_oom_kill_is_the_steps_own_with_host_pid_and_signal_and_is_retried_by_its_policy(
    fleet: Fleet, group: MemoryGroup
) -> None:
    run = fleet.execute("hungry_job", "second.py", raise_on_error=False)
    assert run.status == DagsterRunStatus.SUCCESS
    assert group.kills() == 1
    (retry,) = fleet.instance.all_logs(run.run_id, of_type=DagsterEventType.STEP_UP_FOR_RETRY)
    text = retry.get_dagster_event().step_retry_data.error.message
    assert "signal 9 (SIGKILL; the kernel's out-of-memory killer sends it too)" in text
    assert f"host {socket.gethostname()}, pid " in text

    assert counted(fleet.instance, run.run_id, "STEP_SUCCESS") == {"hungry": 1}
    assert fleet.processes[0].poll() is None, "the worker lives on"
