"""Hosts that vanish, freeze and come back: all of one name, each with its worker as process 1."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from dagster import DagsterRunStatus
from sqlalchemy.engine import make_url

from _dagster_taskiq_host import history
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
    host: Host
    first: dict[str, str]

    @classmethod
    def on(cls, host: Host, folder: Path) -> "Held":
        """Boot a host and give its worker a step."""
        folder.mkdir()
        host.boot()
        config = {"ops": {"waits": {"config": {"folder": str(folder)}}}}
        run = host.fleet.begin("wait_job", config=config)
        wait_for((folder / "there").exists, "the step")
        held = cls(run, folder, host, {})
        held.first = held.owner(1)
        return held

    def owner(self, attempt: int) -> dict[str, str]:
        """The process that announced itself for an attempt of the step."""
        found = history.read(self.run.fleet.instance, self.run.run_id, "waits", whole=True)
        owner = found.attempt(attempt).owner
        return owner or {}

    def is_elsewhere(self) -> bool:
        """Whether the next attempt runs."""
        return bool(self.owner(2))


def test_what_a_host_ran_is_elsewhere_in_time_and_ends_once_however_the_host_went(
    fleet: Fleet, tmp_path: Path
) -> None:
    assert fleet.server is not None
    ports = [fleet.server.port, make_url(fleet.environment["DAGSTER_TASKIQ_SQS_ENDPOINT_URL"]).port]
    steps = ["--workers", "1", "--run-slots", "0"]
    folders = [tmp_path / f"host-{number}" for number in range(4)]
    for folder in folders:
        folder.mkdir()
    vanishing, freezing, restarting, stopping = (
        Host(fleet, "etl", "etl-1", ports, folder, steps) for folder in folders
    )
    hosts = [vanishing, freezing, restarting, stopping]
    try:
        held = [Held.on(host, tmp_path / f"step-{n}") for n, host in enumerate(hosts)]
        assert len({(h.first["host"], h.first["id"], h.first["worker_pid"]) for h in held}) == 1
        assert len({h.first["incarnation"] for h in held}) == 4
        vanished, frozen, restarted, stopped = held

        began = time.monotonic()
        vanishing.vanish()
        freezing.freeze()
        restarting.kill()
        stopping.stop_processes()
        restarting.boot()
        fleet.worker("rescue", "--workers", "4")
        took = {}
        for name, one in (("vanished", vanished), ("frozen", frozen), ("restarted", restarted)):
            wait_for(one.is_elsewhere, f"another attempt of what {name} ran", 90)
            took[name] = time.monotonic() - began
        wait_for(stopped.is_elsewhere, "another attempt of what hangs", 100)
        took["stopped"] = time.monotonic() - began
        print(took)

        # The late ones go on where they were, and find that the step is no longer theirs.
        late = [os.stat(f"/proc/{pid}").st_ino and pid for pid in step_pids(freezing, stopping)]
        for one in held:
            (one.folder / "go").touch()
        freezing.thaw()
        stopping.thaw()
        for one in held:
            assert one.run.finish().status == DagsterRunStatus.SUCCESS
        wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in late), "their end")
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
