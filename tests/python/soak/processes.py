"""What runs on the soak's hosts, seen from outside their namespaces: ``/proc``."""

import contextlib
import os
import signal
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process and its command line."""

    pid: int
    command: str


def children() -> dict[int, list[Process]]:
    """All processes by their parent's id."""
    found: dict[int, list[Process]] = defaultdict(list)
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            stat = (folder / "stat").read_text()
            fields = stat.rpartition(")")[2].split()
            command = (
                (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            )
            if fields[0] != "Z":
                found[int(fields[1])].append(Process(int(folder.name), command))
    return found


def below(root: int) -> list[Process]:
    """Every process that descends from one."""
    family = children()
    found: list[Process] = []
    waiting = [root]
    while waiting:
        for process in family[waiting.pop()]:
            found.append(process)
            waiting.append(process.pid)
    return found


def workers(root: int) -> list[Process]:
    """The workers of the host whose first process is ``root``."""
    return [process for process in below(root) if " worker start " in process.command]


def step_hosts(root: int) -> list[Process]:
    """The Python processes that the workers of a host started."""
    family = children()
    return [process for worker in workers(root) for process in family[worker.pid]]


def tasks(root: int) -> list[Process]:
    """The processes that run steps and runs on a host."""
    family = children()
    return [process for host in step_hosts(root) for process in family[host.pid]]


def send(pid: int, number: signal.Signals) -> None:
    """Signal a process that may have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def freeze(root: int) -> None:
    """Stop all of a host, until nothing is left that could start anything."""
    stopped: set[int] = set()
    while True:
        running = {process.pid for process in below(root)} | {root}
        if running <= stopped:
            return
        for pid in running - stopped:
            send(pid, signal.SIGSTOP)
        stopped |= running


def thaw(root: int) -> None:
    """Let a host go on."""
    for pid in [root, *(process.pid for process in below(root))]:
        send(pid, signal.SIGCONT)


def usage(root: int) -> tuple[float, int]:
    """Proportional set size in MiB, and open descriptors, of the workers and their step hosts."""
    kept = [*workers(root), *step_hosts(root)]
    kib = descriptors = 0
    for process in kept:
        with contextlib.suppress(OSError):
            rollup = Path("/proc", str(process.pid), "smaps_rollup").read_text()
            kib += int(rollup.partition("\nPss:")[2].split()[0])
            descriptors += len(os.listdir(f"/proc/{process.pid}/fd"))
    return kib / 1024, descriptors
