"""Jobs of the tests, as a code location: every job runs its steps through ``taskiq_executor``.

The same jobs with Dagster's multiprocess executor have names that end in ``_multiprocess``; what a
run does must not depend on which of the two runs it.
"""

import os
import time
from pathlib import Path

from dagster import (
    AssetKey,
    Config,
    Definitions,
    DynamicOut,
    DynamicOutput,
    ExecutorDefinition,
    Failure,
    JobDefinition,
    Out,
    Output,
    RetryPolicy,
    RetryRequested,
    asset,
    define_asset_job,
    failure_hook,
    in_process_executor,
    job,
    multiprocess_executor,
    op,
    resource,
    success_hook,
)

from dagster_taskiq import taskiq_executor

FAN_SIZE = int(os.environ.get("DTQ_TEST_FAN_SIZE", "50"))


@op
def one() -> int:
    """The chain's start."""
    return 1


@op(tags={"dagster-taskiq/priority": "8"})
def add_one(number: int) -> int:
    """A link of the chain."""
    return number + 1


@op
def branch(number: int) -> int:
    """One of the fan's parallel steps."""
    return number


@op
def total(numbers: list[int]) -> int:
    """Where the fan comes together."""
    return sum(numbers)


@op
def third_time_lucky(context) -> int:
    """Fails twice; asks to be tried again at once."""
    if context.retry_number < 2:
        raise RetryRequested(max_retries=3)
    return context.retry_number


@op(retry_policy=RetryPolicy(max_retries=1, delay=0.2))
def second_time_lucky(context, number: int) -> int:
    """Fails once; its policy has it tried again."""
    if context.retry_number < 1:
        raise ValueError("once")
    return number


@op
def boom(number: int) -> int:
    """Fails."""
    raise Failure("boom")


@op
def beside(number: int) -> int:
    """Succeeds beside a step that fails."""
    return number


@op(out=Out(is_required=False))
def maybe():
    """Yields nothing, so that what follows is skipped."""
    yield from ()


@op(out={"yes": Out(is_required=False), "no": Out(is_required=False)})
def choose():
    """Yields one of two outputs."""
    yield Output(1, "yes")


@op(out=DynamicOut())
def parts():
    """Three parts, known only when it runs."""
    for index in range(3):
        yield DynamicOutput(index, mapping_key=f"part_{index}")


class SleepConfig(Config):
    """How long to sleep, in seconds."""

    seconds: float = 60.0


@op
def sleep(config: SleepConfig) -> None:
    """Sleeps."""
    time.sleep(config.seconds)


@op
def ranked() -> None:
    """Has a priority."""


@op(pool="scarce")
def pooled() -> int:
    """Needs a slot of the pool."""
    return 1


@op(retry_policy=RetryPolicy(max_retries=1, delay=1.0))
def later(context) -> int:
    """Fails once and succeeds a second later."""
    if context.retry_number < 1:
        raise ValueError("once")
    return 1


@op(tags={"dagster-taskiq/queue": "gpu"})
def on_gpu() -> None:
    """Wants the queue gpu."""


@op(tags={"dagster-taskiq/queue": "nowhere"})
def on_nowhere() -> None:
    """Wants a queue that is not configured."""


@resource
def broken() -> None:
    """Cannot be made."""
    raise ValueError("broken")


@op(required_resource_keys={"broken"})
def needy() -> None:
    """Needs it."""


@op
def crash() -> None:
    """Ends its process."""
    os._exit(3)


@op
def gate() -> None:
    """Waits until the file in DTQ_TEST_GATE is there."""
    path = Path(os.environ["DTQ_TEST_GATE"])
    while not path.exists():
        time.sleep(0.05)


@success_hook
def on_success(context) -> None:
    """Does nothing; its event must be in the log."""


@failure_hook
def on_failure(context) -> None:
    """Does nothing; its event must be in the log."""


@asset
def raw() -> int:
    """The first asset."""
    return 2


@asset
def doubled(raw: int) -> int:
    """Made from the first."""
    return raw * 2


def chain(executor: ExecutorDefinition, name: str) -> JobDefinition:
    @job(executor_def=executor, name=name, hooks={on_success})
    def built():
        add_one(add_one(one()))

    return built


def fan(executor: ExecutorDefinition, name: str, size: int = FAN_SIZE) -> JobDefinition:
    @job(executor_def=executor, name=name)
    def built():
        start = one()
        total([branch.alias(f"branch_{index}")(start) for index in range(size - 2)])

    return built


def retry(executor: ExecutorDefinition, name: str) -> JobDefinition:
    @job(executor_def=executor, name=name)
    def built():
        second_time_lucky(third_time_lucky())

    return built


def fail(executor: ExecutorDefinition, name: str) -> JobDefinition:
    @job(executor_def=executor, name=name, hooks={on_failure})
    def built():
        start = one()
        add_one(boom(start))
        add_one.alias("after_beside")(beside(start))

    return built


def skip(executor: ExecutorDefinition, name: str) -> JobDefinition:
    @job(executor_def=executor, name=name)
    def built():
        add_one.alias("after_skipped")(add_one(maybe()))
        yes, no = choose()
        add_one.alias("on_yes")(yes)
        add_one.alias("on_no")(no)

    return built


def dynamic(executor: ExecutorDefinition, name: str) -> JobDefinition:
    @job(executor_def=executor, name=name)
    def built():
        total(parts().map(add_one).map(branch).collect())

    return built


def sleeper(executor: ExecutorDefinition, name: str) -> JobDefinition:
    @job(executor_def=executor, name=name)
    def built():
        sleep()

    return built


def priorities(executor: ExecutorDefinition, name: str) -> JobDefinition:
    @job(executor_def=executor, name=name)
    def built():
        for priority in ("1", "9", "5", "high"):
            ranked.alias(f"priority_{priority}").tag({"dagster-taskiq/priority": priority})()

    return built


def resumable(executor: ExecutorDefinition, name: str) -> JobDefinition:
    @job(executor_def=executor, name=name)
    def built():
        add_one.alias("after_skipped")(add_one(maybe()))
        add_one.alias("after_pooled")(pooled())
        later()
        gate()
        add_one.alias("after_failed")(boom(one()))

    return built


def lost(executor: ExecutorDefinition, name: str) -> JobDefinition:
    @job(executor_def=executor, name=name)
    def built():
        later()

    return built


def queues(executor: ExecutorDefinition, name: str) -> JobDefinition:
    @job(executor_def=executor, name=name)
    def built():
        on_gpu()
        on_nowhere()

    return built


def broken_resource(executor: ExecutorDefinition, name: str) -> JobDefinition:
    @job(executor_def=executor, name=name, resource_defs={"broken": broken})
    def built():
        needy()

    return built


def crashing(executor: ExecutorDefinition, name: str) -> JobDefinition:
    @job(executor_def=executor, name=name)
    def built():
        crash()

    return built


BUILDERS = {
    "chain_job": chain,
    "fan_job": fan,
    "retry_job": retry,
    "fail_job": fail,
    "skip_job": skip,
    "dynamic_job": dynamic,
    "sleep_job": sleeper,
    "priority_job": priorities,
    "resume_job": resumable,
    "lost_job": lost,
    "crash_job": crashing,
    "queue_job": queues,
    "broken_resource_job": broken_resource,
}

taskiq = {name: build(taskiq_executor, name) for name, build in BUILDERS.items()}
# Forked from a process that has imported Dagster: the same executor, in a fraction of the time.
forking = multiprocess_executor.configured(
    {"start_method": {"forkserver": {"preload_modules": ["dagster", "dagster_taskiq"]}}}
)
multiprocess = {name: build(forking, f"{name}_multiprocess") for name, build in BUILDERS.items()}

asset_job = define_asset_job(
    "asset_job", selection=[AssetKey("raw"), AssetKey("doubled")], executor_def=taskiq_executor
)
asset_job_multiprocess = define_asset_job(
    "asset_job_multiprocess",
    selection=[AssetKey("raw"), AssetKey("doubled")],
    executor_def=forking,
)

defs = Definitions(
    assets=[raw, doubled],
    jobs=[*taskiq.values(), *multiprocess.values(), asset_job, asset_job_multiprocess],
    executor=in_process_executor,
)
