"""Jobs whose runs end in different ways."""

import time
from pathlib import Path

from dagster import (
    AssetExecutionContext,
    Config,
    DailyPartitionsDefinition,
    Definitions,
    OpExecutionContext,
    RetryPolicy,
    ScheduleDefinition,
    SkipReason,
    asset,
    define_asset_job,
    in_process_executor,
    job,
    op,
    sensor,
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


class DiskFullError(Exception):
    """An error of the project's own."""


@op
def break_down() -> None:
    """Fail with an error of the project's own."""
    message = "no space left for batch 7"
    raise DiskFullError(message)


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
def breaking() -> None:
    """Fail with an error of the project's own."""
    break_down()


@job(executor_def=in_process_executor)
def endless() -> None:
    """Run until it is terminated."""
    wait()


@job(executor_def=in_process_executor)
def lasting() -> None:
    """Run until all of its runs are terminated."""
    wait()


january = DailyPartitionsDefinition("2024-01-01", end_date="2024-01-05")


@asset(key_prefix="report", partitions_def=january)
def daily(context: AssetExecutionContext) -> None:
    """Say which day it is."""
    context.log.info(f"the day is {context.partition_key}")


@asset(key_prefix="report", partitions_def=january)
def weekly() -> None:
    """Do nothing."""


days = define_asset_job("days", executor_def=in_process_executor)


every_night = ScheduleDefinition(name="every_night", cron_schedule="0 3 * * *", job=numbers)


@sensor(job=numbers)
def new_orders() -> SkipReason:
    """Launch nothing."""
    return SkipReason("no new order")


defs = Definitions(
    assets=[daily, weekly],
    jobs=[greeting, numbers, failing, breaking, endless, lasting, days],
    schedules=[every_night],
    sensors=[new_orders],
)
