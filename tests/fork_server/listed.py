"""Definitions made from a file that changes after they were loaded, as a manifest does."""

import os
from pathlib import Path

from dagster import Definitions, OpExecutionContext, job, op

LIST = Path(os.environ["DAGSTER_HOME"], "listed.txt")


def job_named(name: str):
    @op
    def listed(context: OpExecutionContext) -> None:
        context.log.info(f"loaded in {os.getpid()}")

    @job(name=name)
    def made() -> None:
        listed()

    return made


defs = Definitions(jobs=[job_named(name) for name in LIST.read_text().split()])
