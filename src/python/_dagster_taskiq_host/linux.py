"""Functions of Linux that the standard library does not offer."""

import contextlib
import ctypes
import os
import resource
import signal
import stat
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
MFD_CLOEXEC = 1

AVAILABLE = sys.platform == "linux"


def _prctl(option: int, argument: int) -> None:
    if AVAILABLE:
        ctypes.CDLL(None, use_errno=True).prctl(option, argument, 0, 0, 0)


def die_with_parent(parent: int, signum: int) -> None:
    """Makes the kernel send ``signum`` when the parent ends; exits at once if it already has."""
    _prctl(PR_SET_PDEATHSIG, signum)
    if os.getppid() != parent:
        os._exit(1)


def become_subreaper() -> None:
    """Makes orphaned descendants children of this process instead of init's."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def threads() -> dict[int, str]:
    """Returns the kernel's ids and names of this process's threads, without the main one."""
    names = {}
    for task in Path("/proc/self/task").glob("*"):
        with contextlib.suppress(OSError):
            names[int(task.name)] = (task / "comm").read_text(errors="replace").strip()
    names.pop(os.getpid(), None)
    return names


def own_name() -> str:
    """Returns the kernel's name of this process, which unnamed native threads have too."""
    try:
        return Path("/proc/self/comm").read_text(errors="replace").strip()
    except OSError:
        return ""


def parents() -> dict[int, int]:
    """Returns process id to parent process id, of every process in /proc."""
    return {pid: parent for pid, (parent, _) in _processes().items()}


def _processes() -> dict[int, tuple[int, int]]:
    """Yields parent and process group of every process in /proc, without zombies."""
    table = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            text = Path("/proc", entry, "stat").read_text(errors="replace")
        except OSError:
            continue
        # The command is in parentheses and may itself contain spaces and parentheses.
        state, parent, group = text.rpartition(")")[2].split()[:3]
        if state != "Z":
            table[int(entry)] = (int(parent), int(group))
    return table


def descendants(root: int) -> list[int]:
    """Returns the living descendants of a process in any session."""
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
    """Returns whether a process was started with this environment variable."""
    try:
        environment = Path("/proc", str(pid), "environ").read_bytes()
    except OSError:
        return False
    return f"{name}={value}".encode() in environment.split(b"\0")


def send(pid: int, signum: int) -> bool:
    """Signals one process; false if this is not permitted, for example for one of ``sudo``."""
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        pass
    except PermissionError:
        return False
    return True


def send_group(group: int, signum: int) -> None:
    """Signals a process group, if any of it is left."""
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


def memory_file(name: str) -> int:
    """Creates a file that exists in memory only. ``name`` is shown in ``/proc``.

    Raises:
        AttributeError: the system has none.
        OSError: it cannot be created.

    """
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name)
    # Python was built against an older libc than it runs on.
    fd = ctypes.CDLL(None, use_errno=True).memfd_create(name.encode(), MFD_CLOEXEC)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "memfd_create")
    return int(fd)


def aliases(fd: int) -> list[int]:
    """Returns other descriptors of this process that refer to the same pipe or file."""
    if not AVAILABLE:
        return []
    same = os.fstat(fd)
    if not (stat.S_ISFIFO(same.st_mode) or stat.S_ISREG(same.st_mode)):
        return []
    return [other for other in open_fds() if other > 2 and os.path.samestat(os.fstat(other), same)]


def open_fds() -> list[int]:
    """Returns the descriptors of this process."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            os.fstat(int(name))  # the one that listed the folder is closed by now
            found.append(int(name))
    return found


def raise_descriptor_limit() -> int:
    """Raises the limit of open files to its maximum; returns the former limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft


def set_descriptor_limit(soft: int) -> None:
    """Restores the limit for user code: ``select`` and old programs need it."""
    with contextlib.suppress(ValueError, OSError):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def group_members(group: int) -> list[int]:
    """Returns the living processes of a process group."""
    return [pid for pid, (_, own) in _processes().items() if own == group]
