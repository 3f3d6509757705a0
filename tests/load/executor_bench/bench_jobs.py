"""The jobs that are measured: steps that do nothing, in shapes that are named by a few letters.

Each system has a code location of its own (a file of two lines, written by the benchmark) that asks
here for the jobs of one measurement: a location with more jobs would take longer to load.
"""

import importlib
import os
import socket

from dagster import (
    Definitions,
    ExecutorDefinition,
    JobDefinition,
    in_process_executor,
    job,
    multiprocess_executor,
    op,
)

#: The connection that ``connection`` opens; kept open as long as the process lives.
connections: list[socket.socket] = []


@op
def nothing() -> None:
    """Do nothing."""


@op
def link(number: int) -> int:
    """A link of a chain."""
    return number


@op
def first() -> int:
    """A chain's beginning."""
    return 0


def definitions(system: str, shapes: list[str], imports: list[str]) -> Definitions:
    """A code location with a job for each shape, after these imports.

    Args:
        system: whose executor runs the steps.
        shapes: names such as ``fan_20`` (20 steps beside each other) and ``chain_10``.
        imports: modules; ``connection`` opens a TCP connection instead.

    """
    for name in imports:
        if name == "connection":
            port = int(os.environ["EXECUTOR_BENCH_LISTENER"])
            connections.append(socket.create_connection(("127.0.0.1", port)))
        else:
            importlib.import_module(name)
    return Definitions(jobs=[_job(shape, _executor(system)) for shape in shapes])


def _executor(system: str) -> ExecutorDefinition:
    if system == "multiprocess":
        return multiprocess_executor.configured({"max_concurrent": 2})
    if system == "celery":
        from dagster_celery import celery_executor

        url = os.environ["EXECUTOR_BENCH_REDIS"]
        return celery_executor.configured({"broker": url, "backend": url})
    if system == "in_process":
        return in_process_executor
    from dagster_taskiq import taskiq_executor

    return taskiq_executor


def _job(shape: str, executor: ExecutorDefinition) -> JobDefinition:
    kind, size = shape.split("_")

    @job(name=shape, executor_def=executor)
    def made() -> None:
        if kind == "fan":
            for number in range(int(size)):
                nothing.alias(f"step_{number}")()
        else:
            number = first()
            for position in range(1, int(size)):
                number = link.alias(f"link_{position}")(number)

    return made
