"""A code location whose steps wait at gates: an outage of the storage finds them anywhere."""

import os
import time
from pathlib import Path

from dagster import Config, Definitions, In, Nothing, job, op

from dagster_taskiq import taskiq_executor


class Gates(Config):
    """A folder: a step makes ``<its key>.there`` in it and waits for ``<its key>.go``."""

    folder: str


def _wait(context, folder: str) -> None:
    place = Path(folder)
    coming = place / f"{context.op_handle.name}.coming"
    coming.write_text(str(os.getpid()))
    coming.rename(coming.with_suffix(".there"))
    while not (place / f"{context.op_handle.name}.go").exists():
        time.sleep(0.02)


@op
def goes_on(context, config: Gates) -> None:
    """In the middle of its work from before the outage until after it."""
    _wait(context, config.folder)


@op
def ends(context, config: Gates) -> None:
    """Ends while the storage is away."""
    _wait(context, config.folder)
    context.log.info("done")


@op(tags={"dagster-taskiq/queue": "later"})
def begins() -> None:
    """Its message is received while the storage is away."""


@op(ins={"start": In(Nothing)})
def follows() -> None:
    """Is sent by the run worker once it has read an end that came late."""


@job(executor_def=taskiq_executor)
def moments():
    goes_on()
    begins()
    follows(ends())


@job(executor_def=taskiq_executor)
def last_step():
    ends()


defs = Definitions(jobs=[moments, last_step])
