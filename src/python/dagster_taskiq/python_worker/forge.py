"""A process that has imported Dagster and forks one child for each order.

A fresh interpreter spends seconds on importing Dagster; a fork of this one does not. It has a
single thread, and it loads no user code: each child does that itself. Orders arrive as lines of
JSON on standard input; each is answered with ``{"id", "pid"}`` and, at its end, ``{"id", "code"}``.
When standard input closes, the children are killed.
"""

import json
import os
import select
import signal
import sys
from typing import Any

from dagster_taskiq.python_worker import child

_CHUNK = 1 << 16


def main() -> None:
    """Serve until standard input closes."""
    wake_read, wake_write = os.pipe()
    for end in (wake_read, wake_write):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    running: dict[int, Any] = {}
    pending = b""
    while True:
        ready, _, _ = select.select([0, wake_read], [], [])
        if wake_read in ready:
            os.read(wake_read, _CHUNK)
            _reap(running)
        if 0 in ready:
            chunk = os.read(0, _CHUNK)
            if not chunk:
                break
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                order = json.loads(line)
                running[_fork(order)] = order["id"]
    for pid in running:
        os.killpg(pid, signal.SIGKILL)


def _fork(order: dict[str, Any]) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(2, 1)
            code = child.work(order)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _answer({"id": order["id"], "pid": pid})
    return pid


def _reap(running: dict[int, Any]) -> None:
    while running:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if pid in running:
            _answer({"id": running.pop(pid), "code": os.waitstatus_to_exitcode(status)})


def _answer(line: dict[str, Any]) -> None:
    os.write(1, json.dumps(line).encode() + b"\n")


if __name__ == "__main__":
    main()
