"""Checks whether a loaded process can be forked: its threads, a forked copy, its connections.

Objections are named with the module they come from. A thread that does not exist in the child may
hold a lock there forever. Two processes that share a connection read each other's answers.
"""

import contextlib
import json
import os
import select
import signal
import socket
import stat
import sys
import sysconfig
import threading
import time
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from . import cpython, linux
from .inheritance import Inheritance

AUTO, FORK, REUSE, FRESH = "auto", "fork", "reuse", "fresh"
MODES = (AUTO, FORK, REUSE, FRESH)

SETTLE = 0.5
"""Seconds within which threads may end that were only used while code was loaded."""

PROBE = 10.0
"""Maximum seconds for the answer of a forked copy."""

NATIVE = (
    "jemalloc_bg_thd",  # begins again in the child: jemalloc has fork handlers
    "polars-ooc-clea",  # removes files of queries that no child has
    "grpc_global_tim",  # gRPC's handlers stop these before a fork and start them after it
    "event_engine",
    "lifeguard",
    "timer_manager",
)
"""Names (15 characters) of native threads that are safe to fork."""

PYTHON = ("sentry-sdk.", "raven-sentry.")
"""Prefixes of Python threads that their library starts again in another process."""

METADATA = frozenset(
    {"169.254.169.254", "fd00:ec2::254", "169.254.170.2", "169.254.170.23", "fd00:ec2::23"}
)
"""Addresses of AWS's credentials service, which many clients query when they are created at import.
The connection is idle, and a child in which it is closed opens another.
"""

SQLITE = b"SQLite format 3\0"


def fork() -> int:
    """Calls ``os.fork`` without Python's warning about threads: this module checks them itself, and
    user code may have turned warnings into errors.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def objections(inheritance: Inheritance, own_fds: frozenset[int]) -> list[str]:
    """Returns the objections to forking this process, a phrase each. ``own_fds`` are the host's."""
    if not linux.AVAILABLE:
        return [f"processes are not forked on {sys.platform}"]
    deadline = time.monotonic() + SETTLE
    while _python_threads(inheritance) and time.monotonic() < deadline:
        time.sleep(0.02)
    again = _probe()
    if again is None:
        return ["a forked copy of it hangs in the fork handlers of a library"]
    found = [
        _describe(thread) for thread in _python_threads(inheritance) if thread.name not in again
    ]
    python = {thread.native_id for thread in threading.enumerate()}
    native = [name for tid, name in linux.threads().items() if tid not in python]
    unknown = sorted({name for name in native if name not in NATIVE})
    found += [_describe_native(name, native.count(name)) for name in unknown]
    return found + list(_connections(inheritance, own_fds))


def _python_threads(inheritance: Inheritance) -> list[threading.Thread]:
    idle = cpython.idle_executor_threads(inheritance.executors)
    return [
        thread
        for thread in threading.enumerate()
        if thread is not threading.main_thread()
        and thread not in idle
        and not thread.name.startswith(PYTHON)
    ]


def _probe() -> set[str] | None:
    """Returns the names of the Python threads that fork handlers start again in a child.

    It also lets libraries end those native threads that they end before a fork.
    """
    read, write = os.pipe()
    pid = fork()
    if not pid:
        with contextlib.suppress(BaseException):
            names = [thread.name for thread in threading.enumerate()]
            os.write(write, json.dumps(names).encode())
        os._exit(0)
    os.close(write)
    answered = select.select([read], [], [], PROBE)[0]
    answer = os.read(read, 65536) if answered else b""
    os.close(read)
    linux.send(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    try:
        return set(json.loads(answer))
    except ValueError:
        return None


def _describe(thread: threading.Thread) -> str:
    target = getattr(thread, "_target", None)
    module = getattr(target, "__module__", None) or type(thread).__module__
    frame = sys._current_frames().get(thread.ident or 0)
    while module == "threading" and frame is not None:
        module = frame.f_globals.get("__name__", module)
        frame = frame.f_back
    origin = f" of the module {module}" if module != "threading" else ""
    return f"the thread {thread.name!r}{origin}"


def _describe_native(name: str, count: int) -> str:
    many = f"{count} threads" if count > 1 else "the thread"
    if name == linux.own_name():
        return f"{many} without a name, of a native library (OpenMP, DuckDB and others start such)"
    return f"{many} {name!r} of a native library"


def _connections(inheritance: Inheritance, own_fds: frozenset[int]) -> Iterator[str]:
    for fd in linux.open_fds():
        if fd in own_fds or fd <= 2:
            continue
        with contextlib.suppress(OSError):
            mode = os.fstat(fd).st_mode
            if stat.S_ISSOCK(mode):
                peer, port = _peer(fd)
                if peer in METADATA:
                    inheritance.hung_up.append(fd)
                elif peer is not None:
                    yield f"the connection to {peer}{port}{_opened_by(fd)}"
            elif stat.S_ISREG(mode) and os.pread(fd, len(SQLITE), 0) == SQLITE:
                path = os.readlink(f"/proc/self/fd/{fd}")
                yield f"the SQLite database {path}, which is open"


def _peer(fd: int) -> tuple[str | None, str]:
    """Returns the other end of a connected stream, unless it is in this process itself."""
    with socket.socket(fileno=os.dup(fd)) as copy:
        if copy.type != socket.SOCK_STREAM:
            return None, ""
        try:
            peer = copy.getpeername()
        except OSError:
            return None, ""
    if isinstance(peer, tuple):
        return str(peer[0]), f":{peer[1]}"
    return (peer if isinstance(peer, str) else peer.decode(errors="replace")) or None, ""


def _opened_by(fd: int) -> str:
    """Returns the module of user code whose variable leads to the connection, if any."""
    for module in user_modules():
        for name, value in list(vars(module).items()):
            if _leads_to(value, fd):
                return f" ({module.__name__}.{name})"
    return ""


def user_modules() -> Iterator[Any]:
    """Returns the modules that are neither Python's, nor from installed packages, nor ours."""
    installed = tuple({path + os.sep for path in sysconfig.get_paths().values()})
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and not file.startswith(installed) and __package__ not in file:
            yield module


def _leads_to(value: Any, fd: int, depth: int = 4) -> bool:
    fileno = getattr(type(value), "fileno", None)
    if fileno is not None:
        with contextlib.suppress(Exception):
            return bool(fileno(value) == fd)
    if depth == 0 or isinstance(value, (type, ModuleType)) or callable(value):
        return False
    inner = list(getattr(value, "__dict__", {}).values())
    if type(value) in (list, tuple, set, dict):
        inner += list(value.values() if isinstance(value, dict) else value)
    return any(_leads_to(item, fd, depth - 1) for item in inner[:100])
