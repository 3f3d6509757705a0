"""What the queries of workers and steps cost a PostgreSQL server, for docs/scale.md.

With the environment that ``cargo test`` made last::

    PYTHONPATH=src/python:tests/python PYTHON tests/load/database_cost.py

It starts a server of its own, fills it with the heartbeats of a fleet, and calls the program's own
functions one after the other. The server's processor time is counted, which depends less on what
else the machine does than the time that passes.
"""

import argparse
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dagster import DagsterEvent, DagsterEventType, DagsterInstance, DagsterRun
from dagster._core.events.log import EventLogEntry
from dagster._core.instance.ref import InstanceRef

from _dagster_taskiq_host import (
    alarm_board,
    alarm_facts,
    claims,
    connections,
    fleet_digest,
    heartbeats,
    instance_agent,
)
from postgres import Postgres

TICKS = os.sysconf("SC_CLK_TCK")


def processes(postmaster: int) -> list[int]:
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    return [postmaster, *map(int, children)]


def processor_time(postmaster: int) -> float:
    """Seconds of the server's processes, ended ones included."""
    ticks = 0
    for pid in processes(postmaster):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        # Own time, and for the postmaster that of the sessions that have ended.
        last = 15 if pid == postmaster else 13
        ticks += sum(int(field) for field in fields[11:last])
    return ticks / TICKS


def measure(name: str, postmaster: int, calls: int, do: Callable[[int], Any]) -> None:
    do(0)
    cpu, began = processor_time(postmaster), time.perf_counter()
    for number in range(calls):
        do(number)
    passed = time.perf_counter() - began
    # The postmaster counts a session's time once it has collected the process.
    time.sleep(0.3)
    cost = (processor_time(postmaster) - cpu) / calls
    print(f"{name:44} {cost * 1e3:8.2f} ms of the server  {passed / calls * 1e3:8.2f} ms in all")


def event_of(run: DagsterRun, step: str) -> EventLogEntry:
    event = DagsterEvent(DagsterEventType.STEP_START.value, run.job_name, step_key=step)
    return EventLogEntry(None, 10, "", run.run_id, time.time(), step, run.job_name, event)


def main() -> None:
    parser = argparse.ArgumentParser(description="What queries cost a PostgreSQL server")
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--calls", type=int, default=300)
    args = parser.parse_args()
    with TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        server = Postgres.start(Path(folder) / "server")
        try:
            assert server.process is not None
            home = Path(folder) / "home"
            home.mkdir()
            (home / "dagster.yaml").write_text(server.dagster_storage)
            with DagsterInstance.from_ref(InstanceRef.from_dir(str(home))) as instance:
                report(instance, server.process.pid, args.workers, args.calls)
        finally:
            server.stop()


def report(instance: DagsterInstance, postmaster: int, workers: int, calls: int) -> None:
    flights = [
        {"task_id": uuid.uuid4().hex, "run_id": str(uuid.uuid4()), "step_key": f"step_{n}"}
        for n in range(8)
    ]
    body = {"incarnation": "i", "state": "running", "queues": ["tasks"], "in_flight": flights}
    for worker in range(workers):
        heartbeats.beat(instance, f"host-{worker}", body)
    run = DagsterRun(job_name="job", run_id=str(uuid.uuid4()))
    instance.run_storage.add_run(run)
    alarm = {"severity": "warning", "kind": "dead-letters", "about": "q", "text": "~1 waits"}
    seen = {"id": "dead-letters/q", "since": "t", "alarm": alarm, "due": ["ops"]}
    request = {"open": [seen], "hooks": ["ops"], "done": [], "lost": [], "working": []}

    def beat(number: int) -> None:
        heartbeats.beat(instance, f"host-{number % workers}", body)

    def cancelled(_: int) -> None:
        instance_agent._ending_runs(instance, [str(flight["run_id"]) for flight in flights])

    def alarms(number: int) -> None:
        fleet_digest.look(instance)
        alarm_facts.latest(instance, 3600)
        alarm_board.sync(instance, {**request, "worker": f"host-{number % workers}"})

    def claim(number: int) -> None:
        held = claims.claim(instance, run.run_id, f"step_{number}", 1, of_process=True)
        assert held.acquire()
        held.release()

    def store(number: int) -> None:
        instance.event_log_storage.store_event(event_of(run, f"step_{number}"))

    print(f"{workers} workers, {calls} calls each, load average {os.getloadavg()[0]:.1f}")
    measure("heartbeat: a write and a read", postmaster, calls, beat)
    measure("query for cancelled runs, 8 runs", postmaster, calls, cancelled)
    measure("three reads for alarms", postmaster, calls, alarms)
    measure("every heartbeat", postmaster, 10, lambda _: heartbeats.fleet(instance))
    measure("claim in a session of its own", postmaster, calls, claim)
    measure("an event in a session of its own", postmaster, calls, store)
    with connections.kept(instance):
        measure("claim on a kept connection", postmaster, calls, claim)
        measure("an event on a kept connection", postmaster, calls, store)


if __name__ == "__main__":
    main()
