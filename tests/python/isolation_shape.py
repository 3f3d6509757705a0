"""A job of one step that makes the check its configuration names."""

import json
from collections.abc import Callable
from typing import Any

from dagster import MetadataValue, OpExecutionContext, Output, job, op

CHECKS: dict[str, Callable[..., Any]] = {}


def check_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a function one that the step can be asked for by its name."""
    CHECKS[function.__name__] = function
    return function


@op(config_schema=str)
def check(context: OpExecutionContext):
    name, _, argument = context.op_config.partition(" ")
    found = CHECKS[name](argument) if argument else CHECKS[name]()
    yield Output(None, metadata={"found": MetadataValue.text(json.dumps(found))})


@job
def checks() -> None:
    check()
