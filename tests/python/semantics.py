"""A code location for the comparison with Dagster's own executor: every job comes twice.

``<name>`` runs its steps through ``taskiq_executor``, ``<name>_plain`` in Dagster's own process.
Whatever Dagster promises of a job must be the same for both.
"""

import hashlib
import time

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetKey,
    AssetSelection,
    AssetSpec,
    Backoff,
    Config,
    DefaultScheduleStatus,
    DefaultSensorStatus,
    Definitions,
    DynamicOut,
    DynamicOutput,
    ExecutorDefinition,
    In,
    Jitter,
    JobDefinition,
    MaterializeResult,
    MetadataValue,
    Nothing,
    Out,
    Output,
    RetryPolicy,
    RunRequest,
    ScheduleDefinition,
    SkipReason,
    StaticPartitionsDefinition,
    asset,
    asset_check,
    config_mapping,
    define_asset_job,
    failure_hook,
    graph,
    in_process_executor,
    job,
    multi_asset,
    op,
    resource,
    sensor,
    success_hook,
)

import jobs as basic
from dagster_taskiq import taskiq_executor

BIG = 5 * 1024 * 1024
LINES = 10_000


@resource(config_schema={"greeting": str})
def greeter(context):
    """Made and torn down in the process of each step."""
    yield context.resource_config["greeting"]
    context.log.info("greeter torn down")


@success_hook(required_resource_keys={"greeter"})
def greet_on_success(context) -> None:
    """Uses a resource, from the step's process."""
    context.log.info(f"hook says {context.resources.greeter}")


@failure_hook
def note_failure(context) -> None:
    """Sees what the step failed with."""
    context.log.info(f"hook saw {type(context.op_exception).__name__}")


class Times(Config):
    """Run config with a default and a nested value."""

    times: int
    suffix: str = "!"


@op(required_resource_keys={"greeter"})
def say(context, config: Times) -> str:
    """Made of resource, config and default."""
    return context.resources.greeter * config.times + config.suffix


@op
def shout(context, text: str) -> str:
    """Metadata of every kind on an output, which is also in the event log."""
    context.add_output_metadata(
        {
            "length": len(text),
            "ratio": 0.5,
            "where": MetadataValue.path("/tmp/x"),
            "table": MetadataValue.md("| a |\n|---|\n| 1 |"),
            "json": {"nested": [1, 2, {"deep": True}]},
            "long": "x" * 10_000,
        }
    )
    return text.upper()


@op
def fails_with_metadata(text: str) -> str:
    """Fails for good, in user code."""
    raise ValueError(text)


@op(ins={"start": In(Nothing)})
def after_nothing() -> int:
    """Waits for something that hands over nothing."""
    return 1


@op(
    retry_policy=RetryPolicy(
        max_retries=3, delay=0.4, backoff=Backoff.EXPONENTIAL, jitter=Jitter.PLUS_MINUS
    )
)
def third_attempt(context) -> int:
    """Fails twice under a policy with delay, backoff and jitter."""
    if context.retry_number < 2:
        raise ValueError(f"attempt {context.retry_number}")
    return context.retry_number


@op(retry_policy=RetryPolicy(max_retries=1))
def never(number: int) -> int:
    """Uses its policy up."""
    raise ValueError("never")


@op(out=DynamicOut())
def none_at_all():
    """No dynamic outputs at all."""
    yield from ()


@op(out={"numbers": DynamicOut(), "plain": Out()})
def mixed():
    """Dynamic and plain outputs of one step."""
    yield DynamicOutput(1, output_name="numbers", mapping_key="first")
    yield DynamicOutput(2, output_name="numbers", mapping_key="second")
    yield Output(10, "plain")


@op
def plus(left: int, right: int) -> int:
    """Of two."""
    return left + right


@op
def fails_on_two(number: int) -> int:
    """One of the mapped steps fails."""
    if number == 2:
        raise ValueError("two")
    return number


@op
def big() -> bytes:
    """5 MB, from one step's process to another's."""
    return bytes(range(256)) * (BIG // 256)


@op
def digest(data: bytes) -> str:
    """Of what arrived."""
    assert len(data) == BIG
    return hashlib.sha256(data).hexdigest()


@op
def chatty(context) -> None:
    """Many lines, to the event log and to both streams."""
    import sys

    for number in range(LINES):
        context.log.info(f"event line {number}")
        print(f"stdout line {number}")
    print("a word on stderr", file=sys.stderr)


@op
def nap() -> None:
    """Long enough to overlap with others where that is allowed."""
    time.sleep(0.5)


@op(pool="narrow")
def pooled_nap() -> None:
    """The same, in a pool."""
    time.sleep(0.5)


@op(tags={"dagster-taskiq/queue": "gpu", "dagster-taskiq/priority": "9"})
def on_gpu() -> None:
    """Belongs on a named queue."""


@graph
def inner(text: str) -> str:
    return shout(shout.alias("twice")(text))


@config_mapping
def outer_config(val: Times) -> dict:
    """The outer graph's config, as its op needs it."""
    return {"say": {"config": {"times": val.times, "suffix": val.suffix}}}


@graph(config=outer_config)
def outer() -> str:
    return inner(say())


GREETING = {"greeter": {"config": {"greeting": "hi"}}}


def fan(executor: ExecutorDefinition, name: str) -> JobDefinition:
    return basic.fan(executor, name, size=8)


def resources(executor: ExecutorDefinition, name: str) -> JobDefinition:
    @job(
        executor_def=executor,
        name=name,
        resource_defs={"greeter": greeter},
        hooks={greet_on_success, note_failure},
    )
    def built():
        text = say()
        shout(text)
        fails_with_metadata(text)

    return built


def nested(executor: ExecutorDefinition, name: str) -> JobDefinition:
    @job(executor_def=executor, name=name, resource_defs={"greeter": greeter})
    def built():
        after_nothing(outer())

    return built


def jitter(executor: ExecutorDefinition, name: str) -> JobDefinition:
    @job(executor_def=executor, name=name)
    def built():
        basic.add_one(never(third_attempt()))

    return built


def dynamic_more(executor: ExecutorDefinition, name: str) -> JobDefinition:
    @job(executor_def=executor, name=name)
    def built():
        numbers, plain = mixed()
        basic.total(numbers.map(lambda number: plus(number, plain)).collect())
        basic.total.alias("of_none")(none_at_all().map(basic.add_one).collect())
        basic.total.alias("of_failed")(
            basic.parts().map(fails_on_two).map(basic.add_one.alias("after_two")).collect()
        )

    return built


def large(executor: ExecutorDefinition, name: str) -> JobDefinition:
    @job(executor_def=executor, name=name)
    def built():
        digest(big())

    return built


def talk(executor: ExecutorDefinition, name: str) -> JobDefinition:
    @job(executor_def=executor, name=name)
    def built():
        chatty()

    return built


def naps(executor: ExecutorDefinition, name: str) -> JobDefinition:
    @job(executor_def=executor, name=name)
    def built():
        for number in range(4):
            nap.alias(f"nap_{number}").tag({"kind": "heavy" if number < 3 else "light"})()

    return built


def pooled_naps(executor: ExecutorDefinition, name: str) -> JobDefinition:
    @job(executor_def=executor, name=name)
    def built():
        for number in range(3):
            pooled_nap.alias(f"pooled_{number}")()

    return built


def named_queue(executor: ExecutorDefinition, name: str) -> JobDefinition:
    @job(executor_def=executor, name=name, tags={"dagster-taskiq/run_priority": "2"})
    def built():
        on_gpu()
        basic.one()

    return built


@op
def fails_once(context) -> int:
    """Fails in a first run, succeeds in a re-execution of it."""
    if context.run.root_run_id is None:
        raise ValueError("first run")
    return 1


def again(executor: ExecutorDefinition, name: str) -> JobDefinition:
    @job(executor_def=executor, name=name)
    def built():
        total = plus(basic.one(), fails_once())
        basic.add_one(total)

    return built


BUILDERS = {
    **{
        name: basic.BUILDERS[name]
        for name in ("chain_job", "retry_job", "fail_job", "skip_job", "dynamic_job")
    },
    "fan_job": fan,
    "resource_job": resources,
    "nested_job": nested,
    "jitter_job": jitter,
    "dynamic_more_job": dynamic_more,
    "large_job": large,
    "talk_job": talk,
    "nap_job": naps,
    "pool_job": pooled_naps,
    "queue_job": named_queue,
    "again_job": again,
}

PARTITIONS = StaticPartitionsDefinition(["north", "south"])


@asset(partitions_def=PARTITIONS)
def region(context) -> str:
    """One value per partition."""
    return context.partition_key


@asset(partitions_def=PARTITIONS, deps=[])
def report(context, region: str) -> MaterializeResult:
    """Made from the same partition; with metadata."""
    return MaterializeResult(metadata={"region": region, "rows": 3})


@multi_asset(
    specs=[
        AssetSpec("left", skippable=True),
        AssetSpec("right", skippable=True),
        AssetSpec("both", deps=["left", "right"], skippable=True),
    ],
    can_subset=True,
)
def three(context):
    """Makes what was selected, no more."""
    for name in ("left", "right", "both"):
        if AssetKey(name) in context.selected_asset_keys:
            yield MaterializeResult(asset_key=name, metadata={"made": name})


@asset(check_specs=[AssetCheckSpec("positive", asset="checked")])
def checked():
    """Checked by its own step."""
    yield MaterializeResult()
    yield AssetCheckResult(passed=True, check_name="positive", metadata={"count": 1})


@asset_check(asset="checked")
def odd() -> AssetCheckResult:
    """Fails as a warning: what comes after goes on."""
    return AssetCheckResult(passed=False, severity=AssetCheckSeverity.WARN)


@asset
def guarded() -> int:
    """Guarded by a check that fails."""
    return 1


@asset_check(asset="guarded", blocking=True)
def must_hold() -> AssetCheckResult:
    """Blocks what depends on its asset."""
    return AssetCheckResult(passed=False, metadata={"why": "it does not"})


@asset
def after_guarded(guarded: int) -> int:
    """Never made."""
    return guarded


ASSETS = [basic.raw, basic.doubled, region, report, three, checked, guarded, after_guarded]
CHECKS = [odd, must_hold]
SELECTIONS = {
    "assets_job": AssetSelection.assets("raw", "doubled"),
    "partition_job": AssetSelection.assets("region", "report"),
    "multi_job": AssetSelection.assets("left", "right", "both"),
    "check_job": AssetSelection.assets("checked"),
    "guard_job": AssetSelection.assets("guarded", "after_guarded"),
}


def asset_jobs(executor: ExecutorDefinition, ending: str) -> list:
    """The jobs of the assets, with an executor."""
    return [
        define_asset_job(f"{name}{ending}", selection=selection, executor_def=executor)
        for name, selection in SELECTIONS.items()
    ]


taskiq = {name: build(taskiq_executor, name) for name, build in BUILDERS.items()}
plain = [build(in_process_executor, f"{name}_plain") for name, build in BUILDERS.items()]


@sensor(
    job=taskiq["chain_job"],
    minimum_interval_seconds=1,
    default_status=DefaultSensorStatus.RUNNING,
)
def once(context):
    """Asks for one run."""
    if context.cursor:
        return SkipReason("asked already")
    context.update_cursor("asked")
    return RunRequest(run_key="once", tags={"asked_by": "sensor"})


minutely = ScheduleDefinition(
    name="minutely",
    job=taskiq["retry_job"],
    cron_schedule="* * * * *",
    tags={"asked_by": "schedule"},
    default_status=DefaultScheduleStatus.RUNNING,
)

defs = Definitions(
    assets=ASSETS,
    asset_checks=CHECKS,
    jobs=[
        *taskiq.values(),
        *plain,
        *asset_jobs(taskiq_executor, ""),
        *asset_jobs(in_process_executor, "_plain"),
    ],
    sensors=[once],
    schedules=[minutely],
    executor=in_process_executor,
)
