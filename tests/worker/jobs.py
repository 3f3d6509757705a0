"""Jobs whose steps go through the queue, for the tests of the worker binary.

Each step leaves a line with its process id in a file of its own, in a folder of its run; a gated
step goes on when a file ``go`` or ``go-<step>`` is there.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from dagster import (
    Definitions,
    OpExecutionContext,
    RetryPolicy,
    in_process_executor,
    job,
    op,
    resource,
)

from dagster_taskiq import taskiq_executor

TRACES = Path(os.environ["DAGSTER_HOME"]) / "traces"


def trace(context: OpExecutionContext, name: str, pid: int | None = None) -> Path:
    folder = TRACES / context.run_id
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / name, "a") as file:
        file.write(f"{pid or os.getpid()}\n")
    return folder


def wait_forever() -> None:
    while True:
        time.sleep(0.05)


@op
def good(context: OpExecutionContext) -> None:
    trace(context, context.op_handle.name)


@op
def gated(context: OpExecutionContext) -> None:
    name = context.op_handle.name
    folder = trace(context, name)
    while not ((folder / "go").exists() or (folder / f"go-{name}").exists()):
        time.sleep(0.02)


@op
def takes_a_second(context: OpExecutionContext) -> None:
    trace(context, context.op_handle.name)
    with open(TRACES / "order", "a") as file:
        file.write(f"{context.op_handle.name}\n")
    time.sleep(1)


@op
def has_grandchild(context: OpExecutionContext) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    trace(context, "grandchild", subprocess.Popen(command).pid)
    trace(context, "has_grandchild")
    wait_forever()


@op
def ignores_interrupts(context: OpExecutionContext) -> None:
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
    trace(context, "ignores_interrupts")
    wait_forever()


@op(retry_policy=RetryPolicy(max_retries=1))
def dies_once(context: OpExecutionContext) -> None:
    trace(context, context.op_handle.name)
    if context.retry_number == 0:
        how = context.op_handle.name
        if how == "by_exit":
            os._exit(3)
        if how == "by_segfault":
            ctypes.string_at(0)
        os.kill(os.getpid(), signal.SIGKILL)


@resource
def kills_its_worker() -> None:
    """Before the step's start is in the log: as code that exhausts the whole machine."""
    host = Path("/proc", str(os.getppid()), "stat").read_text()
    os.kill(int(host.rpartition(")")[2].split()[1]), signal.SIGKILL)
    wait_forever()


@op(required_resource_keys={"deadly"})
def poisoned() -> None: ...


@job(executor_def=taskiq_executor, resource_defs={"deadly": kills_its_worker})
def deadly() -> None:
    poisoned()


@op
def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@job(executor_def=taskiq_executor)
def ten() -> None:
    for n in range(10):
        gated.alias(f"gated_{n}")()


@job(executor_def=taskiq_executor)
def four() -> None:
    for n in range(4):
        gated.alias(f"gated_{n}")()


@job(executor_def=taskiq_executor)
def three() -> None:
    for n in range(3):
        good.alias(f"good_{n}")()


@job(executor_def=taskiq_executor)
def crashing() -> None:
    for how in ("by_exit", "by_segfault", "by_signal"):
        dies_once.alias(how)()


@job(executor_def=taskiq_executor)
def dying() -> None:
    dies()


@job(executor_def=taskiq_executor)
def interrupted() -> None:
    has_grandchild()


@job(executor_def=taskiq_executor)
def stubborn() -> None:
    ignores_interrupts()


@job(executor_def=taskiq_executor)
def single() -> None:
    gated()


@job(executor_def=in_process_executor)
def plain() -> None:
    gated()


@job(executor_def=taskiq_executor)
def many() -> None:
    for n in range(500):
        gated.alias(f"low_{n}")()
    gated.alias("high")()


@job(executor_def=taskiq_executor)
def seconds() -> None:
    for n in range(20):
        takes_a_second.alias(f"high_{n}")()
    takes_a_second.alias("low")()


defs = Definitions(
    jobs=[
        deadly,
        ten,
        four,
        three,
        crashing,
        dying,
        interrupted,
        stubborn,
        single,
        plain,
        many,
        seconds,
    ]
)
