"""A job whose parts note which events of their run the log has by then."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dagster import (
    Definitions,
    InitResourceContext,
    InputContext,
    IOManager,
    OpExecutionContext,
    Out,
    Output,
    OutputContext,
    io_manager,
    job,
    op,
    resource,
)

HERE = Path(os.environ["DAGSTER_HOME"])


def note(place: str, instance: Any, run_id: str) -> None:
    """Writes down what the log has."""
    events = [entry.dagster_event for entry in instance.all_logs(run_id)]
    kinds = [event.event_type.name for event in events if event is not None]
    with (HERE / f"noted-{run_id}").open("a") as file:
        file.write(json.dumps([place, kinds]) + "\n")


@resource
def noting(context: InitResourceContext) -> None:
    assert context.run is not None
    note("resource", context.instance, context.run.run_id)


class Noting(IOManager):
    """Keeps nothing."""

    def handle_output(self, context: OutputContext, obj: Any) -> None:
        note(f"output {obj}", context.step_context.instance, context.run_id)

    def load_input(self, context: InputContext) -> Any: ...


@io_manager
def noting_outputs() -> Noting:
    return Noting()


OUTS = {"one": Out(), "two": Out()}


@op(name="check", config_schema=str, out=OUTS, required_resource_keys={"noting"})
def function(context: OpExecutionContext) -> tuple[int, int]:
    note("body", context.instance, context.run_id)
    return 1, 2


@op(name="check", config_schema=str, out=OUTS, required_resource_keys={"noting"})
def generator(context: OpExecutionContext) -> Iterator[Output]:
    note("body", context.instance, context.run_id)
    yield Output(1, "one")
    note("between", context.instance, context.run_id)
    yield Output(2, "two")
    note("after", context.instance, context.run_id)


@op(name="check", config_schema=str, out=OUTS, required_resource_keys={"noting"})
def failing(context: OpExecutionContext) -> tuple[int, int]:
    raise ValueError("on purpose")


body = {"function": function, "generator": generator, "failing": failing}[os.environ["BODY"]]


@job(resource_defs={"noting": noting, "io_manager": noting_outputs})
def checks() -> None:
    body()


defs = Definitions(jobs=[checks])
