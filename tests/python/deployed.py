"""A code location that is being deployed: files beside it say what is wrong with it just now.

Only the worker's processes, which have ``DTQ_TEST_WORKER``, meet that.
"""

import os
import time
from pathlib import Path

from dagster import Definitions, job, op

from dagster_taskiq import taskiq_executor

HERE = Path(__file__).parent

if "DTQ_TEST_WORKER" in os.environ:
    if (HERE / "dies").exists():
        os._exit(9)
    if (HERE / "broken").exists():
        raise SyntaxError("half of the file")


@op
def first() -> int:
    """Ends when it may."""
    while not (HERE / "go").exists():
        time.sleep(0.02)
    return 1


@op
def second(number: int) -> None:
    """Comes after it."""


@job(executor_def=taskiq_executor)
def pair():
    second(first())


defs = Definitions(jobs=[pair])
