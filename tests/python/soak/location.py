"""The soak's code location. Every execution of a step leaves a line in ``SOAK_TRACES``."""

import os
import time
from pathlib import Path

from dagster import Definitions, DynamicOut, DynamicOutput, RetryPolicy, job, op

from dagster_taskiq import taskiq_executor

#: A step whose own process is killed fails as one that ran out of memory does: its policy decides.
POLICY = RetryPolicy(max_retries=30)
#: Steps of a job that runs them beside each other.
FAN = 96
LIMITED = "soak_limited"


def trace(context) -> None:
    """Append one line in one write, so that lines of many processes do not mix."""
    line = f"{context.run_id} {context.get_step_execution_context().step.key}\n"
    with Path(os.environ["SOAK_TRACES"]).open("a") as traces:
        traces.write(line)


@op(retry_policy=POLICY)
def quick(context) -> int:
    """Takes no time."""
    trace(context)
    return 1


@op(retry_policy=POLICY)
def slow(context) -> int:
    """Takes long enough to be killed in its middle."""
    trace(context)
    time.sleep(2.0)
    return 1


@op(retry_policy=POLICY)
def shaky(context, number: int) -> int:
    """Fails at its first attempt."""
    trace(context)
    if context.retry_number == 0:
        raise ValueError("the first attempt fails")
    return number + 1


@op(retry_policy=POLICY, pool=LIMITED)
def limited(context) -> int:
    """Takes a slot of a pool."""
    trace(context)
    time.sleep(0.2)
    return 1


@op(retry_policy=POLICY, tags={"dagster-taskiq/priority": "9"})
def total(context, numbers: list[int]) -> int:
    """Needs all that came before."""
    trace(context)
    return sum(numbers)


@op(retry_policy=POLICY, out=DynamicOut())
def parts(context):
    """As many as there are."""
    trace(context)
    for number in range(FAN // 2):
        yield DynamicOutput(number, mapping_key=f"part_{number}")


@job(executor_def=taskiq_executor)
def fan():
    total([quick.alias(f"quick_{number}")() for number in range(FAN)])


@job(executor_def=taskiq_executor)
def long():
    total([slow.alias(f"slow_{number}")() for number in range(4)])


@job(executor_def=taskiq_executor)
def chain():
    shaky.alias("third")(shaky.alias("second")(quick()))


@job(executor_def=taskiq_executor)
def pooled():
    total([limited.alias(f"limited_{number}")() for number in range(6)])


@job(executor_def=taskiq_executor)
def dynamic():
    total(parts().map(shaky).collect())


defs = Definitions(jobs=[fan, long, chain, pooled, dynamic])
