"""A second code location: its jobs have steps that say when they are there and wait to go on."""

import inspect
import os
import signal
import sys
import time
from pathlib import Path

from dagster import Config, ConfigMapping, Definitions, RetryPolicy, in_process_executor, job, op

from dagster_taskiq import taskiq_executor

#: Set by the secrets loader of the instance before it imports a code location.
GREETING = os.environ.get("DTQ_TEST_GREETING", "nothing")


class Place(Config):
    """A folder: the step makes ``there`` in it and waits for ``go``."""

    folder: str


@op
def waits(config: Place) -> int:
    """Says that it runs; ends when it may."""
    return _wait(config)


def _wait(config: Place) -> int:
    folder = Path(config.folder)
    (folder / "coming").write_text(str(os.getpid()))
    (folder / "coming").rename(folder / "there")
    while not (folder / "go").exists():
        time.sleep(0.05)
    return 1


@op
def marks(config: Place) -> None:
    """Leaves a mark each time it runs."""
    with (Path(config.folder) / "marks").open("a") as file:
        file.write("x")


@op(pool="narrow")
def waits_in_pool(config: Place) -> int:
    """As ``waits``, with the only slot of a pool; does not let itself be interrupted."""
    while True:
        try:
            return _wait(config)
        except BaseException:
            time.sleep(0.05)


@op
def cancels_its_run(context) -> int:
    """Has its run marked as cancelled, as an operator's forced termination does, and goes on."""
    context.instance.report_run_canceled(context.run)
    return 1


@op
def kills_itself() -> None:
    """Ends by a signal, without a word."""
    os.kill(os.getpid(), signal.SIGKILL)


@op(retry_policy=RetryPolicy(max_retries=1))
def dies_once(context) -> int:
    """Its first attempt's process is killed."""
    if context.retry_number == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return 1


@op(retry_policy=RetryPolicy(max_retries=1))
def hungry(context) -> None:
    """Its first attempt asks for more memory than there is."""
    kept = []
    while context.retry_number == 0:
        kept.append(bytearray(b"x") * (16 * 1024 * 1024))


@op
def speaks() -> None:
    """On both streams."""
    print("spoken on stdout")
    print("imported with", GREETING)
    print("spoken on stderr", file=sys.stderr)


@job(executor_def=taskiq_executor)
def wait_job():
    waits()


@job(executor_def=in_process_executor)
def own_job():
    marks()
    waits()


@job(executor_def=taskiq_executor)
def pool_job():
    waits_in_pool()
    waits_in_pool.alias("second")()


@job(executor_def=in_process_executor)
def own_pool_job():
    waits_in_pool()


@job(executor_def=in_process_executor)
def cancel_job():
    cancels_its_run()


@job(executor_def=taskiq_executor)
def kill_job():
    kills_itself()


@job(executor_def=taskiq_executor)
def dies_once_job():
    dies_once()


@job(executor_def=taskiq_executor)
def hungry_job():
    hungry()


@job(executor_def=taskiq_executor)
def speak_job():
    speaks()


def _mapped(config: dict[str, str]) -> dict[str, dict[str, object]]:
    """Waits as long as it may not go on, in the step's own process alone."""
    if "DTQ_TEST_RUN" not in os.environ and (Path(config["folder"]) / "armed").exists():
        if any(frame.function == "prepare" for frame in inspect.stack()):
            raise RuntimeError("the host leaves this plan to the step's process")
        _wait(Place(folder=config["folder"]))
    return {"ops": {}}


@job(
    executor_def=taskiq_executor,
    config=ConfigMapping(config_fn=_mapped, config_schema={"folder": str}),
    tags={"dagster-taskiq/isolation": "fresh"},
)
def mapped_job():
    speaks()


defs = Definitions(
    jobs=[
        wait_job,
        own_job,
        pool_job,
        own_pool_job,
        cancel_job,
        kill_job,
        dies_once_job,
        hungry_job,
        speak_job,
        mapped_job,
    ]
)
