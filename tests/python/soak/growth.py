"""What a step costs in larger and larger runs: ``python -m soak.growth``.

Runs a job after the other on PostgreSQL and two hosts, without faults, and prints for each the
processor time that run workers, workers and step processes took for one step, and the most
database sessions at a time beside the processes that ran runs and steps. The queues take messages
of up to 256 KiB, and there is no bucket. Ends with 1 where a run did not succeed.
"""

import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import sqlalchemy
from dagster import DagsterRunStatus, ReexecutionOptions, execute_job

from conftest import client_of
from soak.processes import below, tasks
from soak.scene import Scene, running

#: Seconds for one run.
PATIENCE = 3600.0
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Run them all and print a table."""
    # What was started ends with this process, however that is asked to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    location = Path(__file__).with_name("growing.py")
    good = True
    with (
        tempfile.TemporaryDirectory(prefix="growth-", ignore_cleanup_errors=True) as folder,
        running(Path(folder), location) as scene,
    ):
        for name in scene.queues():
            url = f"{scene.broker.endpoint}/000000000000/{name}"
            client_of(scene.broker.endpoint).set_queue_attributes(
                QueueUrl=url, Attributes={"MaximumMessageSize": str(256 * 1024)}
            )
        measure(scene, ["fan_50"], 51)  # loads the code
        for jobs, steps in (
            (["fan_50"], 51),
            (["fan_2000"], 2001),
            (["fan_5000"], 5001),
            (["dynamic_50"], 52),
            (["dynamic_5000"], 5002),
            (["single"] * 200, 200),
        ):
            good &= measure(scene, jobs, steps)
        good &= measure_again(scene)
    return 0 if good else 1


def measure(scene: Scene, jobs: list[str], steps: int) -> bool:
    """Launch these together, wait for them, print the cost of a step."""
    before, begin = processor(scene), time.monotonic()
    runs = [scene.launch(job) for job in jobs]
    good = wait(scene, runs)
    name = jobs[0] if len(jobs) == 1 else f"{len(jobs)} x {jobs[0]}"
    tell(scene, name, steps, before, begin, good)
    return good


def measure_again(scene: Scene) -> bool:
    """A run of 3,000 steps whose last one fails, and that run from its failure."""
    (scene.folder / "broken").touch()
    failed = scene.launch("broken_3000")
    wait(scene, [failed])
    (scene.folder / "broken").unlink()
    options = ReexecutionOptions.from_failure(failed, scene.instance)
    before, begin = processor(scene), time.monotonic()
    # Its executor is in this process, which is not counted.
    again = execute_job(
        scene.job("broken_3000"), instance=scene.instance, reexecution_options=options
    )
    tell(scene, "3,000 again from failure", 1, before, begin, again.success)
    return again.success


def wait(scene: Scene, runs: list[str]) -> bool:
    """Whether all of them succeeded in time."""
    deadline = time.monotonic() + PATIENCE
    statuses: set[DagsterRunStatus | None] = set()
    PEAK.clear()
    while time.monotonic() < deadline:
        statuses = {scene.status(run) for run in runs}
        if all(status is not None and status in FINISHED for status in statuses):
            break
        PEAK.append((sessions(scene), sum(len(tasks(host.root)) for host in scene.hosts)))
        time.sleep(1.0)
    return statuses == {DagsterRunStatus.SUCCESS}


def sessions(scene: Scene) -> int:
    """How many sessions the database server has."""
    text = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
    with scene.instance.event_log_storage.index_connection() as connection:
        return connection.execute(sqlalchemy.text(text)).scalar_one()


#: Sessions and processes, looked at every second of the last run.
PEAK: list[tuple[int, int]] = []
FINISHED = {DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED}


def tell(scene: Scene, name: str, steps: int, before: float, begin: float, good: bool) -> None:
    """One line of JSON."""
    took = time.monotonic() - begin
    used = processor(scene) - before
    line = {
        "run": name,
        "succeeded": good,
        "seconds": round(took, 1),
        "cpu_ms_a_step": round(1000 * used / steps, 1),
        "peak_sessions_and_processes": max(PEAK, default=None),
        "load": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(line), flush=True)


def processor(scene: Scene) -> float:
    """Seconds of processor time that everything on the hosts has taken."""
    ticks = 0
    for host in scene.hosts:
        for process in below(host.root):
            try:
                stat = Path("/proc", str(process.pid), "stat").read_text()
            except OSError:
                continue
            # Its own, and that of the children that have ended.
            ticks += sum(int(field) for field in stat.rpartition(")")[2].split()[11:15])
    return ticks / TICKS


if __name__ == "__main__":
    sys.exit(main())
