"""Hosts that vanish, freeze and come back: all of one name, each with its worker as process 1."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from dagster import DagsterRunStatus
from sqlalchemy.engine import make_url

from _dagster_taskiq_host import event_log
from conftest import wait_for
from fleet import Begun, Fleet, running
from hosts import NETWORK, Host, skip_without_hosts
from servers import NoServer

VISIBILITY = 10


@pytest.fixture
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A project on Postgres."""
    skip_without_hosts()
    try:
        with running(
            tmp_path_factory.mktemp("hosts"), storage="postgres", visibility=VISIBILITY
        ) as found:
            admit_hosts(found)
            yield found
    except NoServer as error:
        pytest.skip(f"hosts that vanish were not tested: {error}")


def admit_hosts(fleet: Fleet) -> None:
    """Hosts reach the server through an address of their own."""
    assert fleet.server is not None
    assert fleet.server.process is not None
    with (fleet.server.folder / "data" / "pg_hba.conf").open("a") as rules:
        rules.write(f"host all all {NETWORK} trust\n")
    fleet.server.process.send_signal(signal.SIGHUP)


@dataclass
class Held:
    """A run whose one step waits in a process of a host."""

    run: Begun
    folder: Path

    @classmethod
    def begin(cls, fleet: Fleet, folder: Path) -> "Held":
        """Begin a run and wait until its step runs."""
        folder.mkdir()
        run = fleet.begin(
            "wait_job", config={"ops": {"waits": {"config": {"folder": str(folder)}}}}
        )
        wait_for((folder / "there").exists, "the step")
        return cls(run, folder)

    def owner(self, attempt: int) -> dict[str, str]:
        """The process that announced itself for an attempt of the step."""
        found = event_log.read(self.run.fleet.instance, self.run.run_id, "waits", whole=True)
        return found.attempt(attempt).owner or {}

    def is_elsewhere(self) -> bool:
        """Whether the next attempt runs."""
        return bool(self.owner(2))


def test_what_a_host_ran_is_elsewhere_and_ends_once_however_the_host_went(
    fleet: Fleet, tmp_path: Path
) -> None:
    assert fleet.server is not None
    ports = [fleet.server.port, make_url(fleet.environment["DAGSTER_TASKIQ_SQS_ENDPOINT_URL"]).port]
    steps = ["--workers", "1", "--run-slots", "0"]
    folders = [tmp_path / f"host-{number}" for number in range(3)]
    for folder in folders:
        folder.mkdir(0o700)
    hosts = [Host(fleet, "etl", "etl-1", ports, folder, steps) for folder in folders]
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(Host.boot, hosts))
        held = [Held.begin(fleet, tmp_path / f"step-{number}") for number in range(3)]
        firsts = [one.owner(1) for one in held]
        for key in ("host", "id", "worker_pid"):
            assert len({owner[key] for owner in firsts}) == 1
        assert len({owner["incarnation"] for owner in firsts}) == 3

        vanishing, freezing, restarting = hosts
        vanishing.vanish()
        freezing.freeze()
        restarting.kill()
        restarting.boot()
        fleet.worker("rescue", "--workers", "3")
        for one in held:
            # The keepalives of the server and the heartbeats, then the next delivery.
            wait_for(one.is_elsewhere, "another attempt", 90)

        # The one that was frozen goes on where it was, and finds that the step is not its own.
        late = step_pids(freezing)
        for one in held:
            (one.folder / "go").touch()
        freezing.thaw()
        for one in held:
            assert one.run.finish().status == DagsterRunStatus.SUCCESS
        wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in late), "its end")
        for one in held:
            assert one.run.count("STEP_UP_FOR_RETRY") == {"waits": 1}
            assert one.run.count("STEP_SUCCESS") == {"waits": 1}
            assert not one.run.count("STEP_FAILURE")
        wait_for(lambda: fleet.queue.depth() == 0, "the acknowledgement of every message")
    finally:
        for host in hosts:
            host.kill()


def step_pids(*hosts: Host) -> list[int]:
    """The processes of the steps of hosts, as this machine numbers them."""
    found = []
    for host in hosts:
        pids = set(host.pids())
        for pid in pids:
            status = Path(f"/proc/{pid}/status").read_text()
            (parent,) = (
                int(line.split()[1]) for line in status.splitlines() if line.startswith("PPid")
            )
            command = Path(f"/proc/{parent}/cmdline").read_bytes() if parent in pids else b""
            if b"\0step\0" in command:
                found.append(pid)
    assert found
    return found
