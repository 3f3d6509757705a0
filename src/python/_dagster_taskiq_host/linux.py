"""What the processes need from Linux and the standard library does not offer."""

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

AVAILABLE = sys.platform == "linux"


def _prctl(option: int, argument: int) -> None:
    if AVAILABLE:
        ctypes.CDLL(None, use_errno=True).prctl(option, argument, 0, 0, 0)


def die_with_parent(parent: int, signum: int) -> None:
    """Has the kernel send ``signum`` when the parent ends; leaves at once if it already has."""
    _prctl(PR_SET_PDEATHSIG, signum)
    if os.getppid() != parent:
        os._exit(1)


def become_subreaper() -> None:
    """Orphaned descendants become children of this process instead of init's."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def thread_names() -> list[str]:
    """The names of this process's threads, the main one first."""
    tasks = sorted(Path("/proc/self/task").glob("*"), key=lambda task: int(task.name))
    names = []
    for task in tasks:
        try:
            names.append((task / "comm").read_text().strip())
        except OSError:
            continue
    return names


def parents() -> dict[int, int]:
    """Process id to parent process id, of every process that /proc shows."""
    table = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = Path("/proc", entry, "stat").read_text()
        except OSError:
            continue
        # The command is in parentheses and may itself contain spaces and parentheses.
        state_and_parent = stat.rpartition(")")[2].split()
        if state_and_parent[0] != "Z":
            table[int(entry)] = int(state_and_parent[1])
    return table


def descendants(root: int) -> list[int]:
    """The living descendants of a process, whatever session they moved to."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents().items():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    pending = [root]
    while pending:
        below = children.get(pending.pop(), [])
        found += below
        pending += below
    return found


def has_variable(pid: int, name: str, value: str) -> bool:
    """Whether a process was started with this environment variable."""
    try:
        environment = Path("/proc", str(pid), "environ").read_bytes()
    except OSError:
        return False
    return f"{name}={value}".encode() in environment.split(b"\0")


def send(pid: int, signum: int) -> None:
    """Signals one process, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signum)


def send_group(group: int, signum: int) -> None:
    """Signals a process group, if anything is left of it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signum)


def reset_signals() -> None:
    """Undoes the host's handlers. SIGINT stays ignored until Dagster captures it, so that a
    cancellation that comes early cannot end the child before it has looked at its task.
    """
    signal.set_wakeup_fd(-1)
    for signum in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def reseed() -> None:
    """Gives the forked process random numbers of its own."""
    if "random" in sys.modules:
        sys.modules["random"].seed()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()
