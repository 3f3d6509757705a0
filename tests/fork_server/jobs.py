"""Definitions that the host tests run. Steps leave traces in a folder of their run's."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from dagster import (
    Definitions,
    In,
    Nothing,
    OpExecutionContext,
    RetryPolicy,
    RetryRequested,
    job,
    op,
    resource,
)

TRACES = Path(os.environ["DAGSTER_HOME"]) / "traces"


def trace(context: OpExecutionContext, name: str, text: object = None) -> None:
    folder = TRACES / context.run_id
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / name, "a") as file:
        file.write(f"{os.getpid() if text is None else text}\n")


def wait_forever() -> None:
    while True:
        time.sleep(0.05)


@op
def good(context: OpExecutionContext) -> int:
    trace(context, "good")
    print("hello from stdout")
    print("hello from stderr", file=sys.stderr)
    return 1


@op(ins={"after": In(Nothing)})
def bad() -> None:
    raise ValueError("as intended")


@op
def retrying() -> None:
    raise RetryRequested(max_retries=3, seconds_to_wait=7)


@op
def exits() -> None:
    os._exit(3)


@op(retry_policy=RetryPolicy(max_retries=1, delay=2))
def exits_with_policy() -> None:
    os._exit(3)


@op
def segfaults() -> None:
    ctypes.string_at(0)


@op
def hangs(context: OpExecutionContext) -> None:
    trace(context, "hangs")
    wait_forever()


@op
def ignores_interrupts(context: OpExecutionContext) -> None:
    grandchild = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
    )
    trace(context, "grandchild", grandchild.pid)
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
    trace(context, "ignores_interrupts")
    wait_forever()


@op
def has_grandchild(context: OpExecutionContext) -> None:
    grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    trace(context, "grandchild", grandchild.pid)
    trace(context, "has_grandchild")
    wait_forever()


@op
def slow(context: OpExecutionContext) -> None:
    trace(context, "slow")
    while not (TRACES / context.run_id / "go").exists():
        time.sleep(0.02)


@op
def prints_a_lot() -> None:
    line = "x" * 99 + "\n"
    for _ in range(50):
        sys.stdout.write(line * 1000)
    sys.stdout.flush()


@op
def leaves_a_daemon(context: OpExecutionContext) -> None:
    grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    trace(context, "grandchild", grandchild.pid)


@resource
def broken_resource() -> None:
    raise RuntimeError("no database")


@op(required_resource_keys={"broken"})
def needs_resource() -> None:
    pass


@job(resource_defs={"broken": broken_resource})
def steps() -> None:
    bad(good())
    retrying()
    exits()
    exits_with_policy()
    segfaults()
    hangs()
    ignores_interrupts()
    has_grandchild()
    slow()
    prints_a_lot()
    leaves_a_daemon()
    needs_resource()


@job
def whole() -> None:
    good()


@job
def hanging() -> None:
    hangs()


@job
def crashing() -> None:
    exits()


@op
def stuck_in_a_lock(context: OpExecutionContext) -> None:
    lock = threading.Lock()
    lock.acquire()
    trace(context, "stuck_in_a_lock")
    lock.acquire()


@op
def stuck_in_c(context: OpExecutionContext) -> None:
    trace(context, "stuck_in_c")
    libc = ctypes.PyDLL(None)  # keeps the interpreter's lock
    left = 600
    while left:
        left = libc.sleep(left)


@op
def waits_in_system_calls(context: OpExecutionContext) -> None:
    """A call that a signal interrupted would fail with EINTR: C code does not repeat it."""
    libc = ctypes.CDLL(None, use_errno=True)
    fifo = TRACES / context.run_id / "fifo"
    fifo.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(fifo)
    trace(context, "waits_in_system_calls")
    fd = libc.open(str(fifo).encode(), os.O_RDONLY)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "open")
    trace(context, "opened")
    if libc.read(fd, ctypes.create_string_buffer(9), 9) < 0:
        raise OSError(ctypes.get_errno(), "read")


@job
def stuck() -> None:
    stuck_in_a_lock()
    stuck_in_c()
    waits_in_system_calls()


defs = Definitions(jobs=[steps, whole, hanging, crashing, stuck])
