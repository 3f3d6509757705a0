"""Jobs whose runs end in different ways."""

import time
from pathlib import Path

from dagster import (
    Config,
    Definitions,
    OpExecutionContext,
    RetryPolicy,
    in_process_executor,
    job,
    op,
)


class Greeting(Config):
    """Configuration of one op."""

    who: str
    times: int = 1


@op
def greet(config: Greeting) -> str:
    """Say hello."""
    return " ".join([f"hello {config.who}"] * config.times)


@op
def answer() -> int:
    """Give the answer."""
    return 42


@op
def double(context: OpExecutionContext, number: int) -> int:
    """Double a number."""
    context.log.info(f"doubling {number}")
    return 2 * number


@op(retry_policy=RetryPolicy(max_retries=0))
def fail() -> None:
    """Fail."""
    message = "this step always fails"
    raise ValueError(message)


@op
def wait() -> None:
    """Run until somebody stops it."""
    while Path(__file__).exists():
        time.sleep(0.05)


@job(executor_def=in_process_executor)
def greeting() -> None:
    """Need configuration."""
    greet()


@job(executor_def=in_process_executor, tags={"team": "data"})
def numbers() -> None:
    """Succeed."""
    double(answer())


@job(executor_def=in_process_executor)
def failing() -> None:
    """Fail in its only step."""
    fail()


@job(executor_def=in_process_executor)
def endless() -> None:
    """Run until it is terminated."""
    wait()


defs = Definitions(jobs=[greeting, numbers, failing, endless])
