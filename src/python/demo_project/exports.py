"""An export for practice: one partition a region, a configuration, a long step that can fail.

The demo does not launch it by itself.
"""

import sys
import time

from dagster import Config, OpExecutionContext, graph, op, static_partitioned_config

from demo_project import shop


class CollectConfig(Config):
    """The exported orders."""

    region: str


class ExportConfig(Config):
    """Settings of the export."""

    chunks: int = 5
    seconds_per_chunk: float = 1.0
    #: Fails in the middle, unless the run is the re-execution of another.
    fail: bool = False


class DiskFullError(Exception):
    """The partner's disk is full, which happens now and then."""


@op(tags={"dagster-taskiq/priority": "8"})
def collect(config: CollectConfig) -> list[int]:
    """The region's orders."""
    if config.region not in shop.REGIONS:
        raise ValueError(f"no region {config.region}: there are {', '.join(shop.REGIONS)}")
    return [order.number for order in shop.orders() if order.region == config.region]


@op
def export(context: OpExecutionContext, config: ExportConfig, numbers: list[int]) -> int:
    """Write them out, chunk by chunk: long enough to watch, to cancel, and to drain around."""
    again = context.run.parent_run_id is not None
    for chunk in range(config.chunks):
        time.sleep(config.seconds_per_chunk)
        if config.fail and not again and chunk == config.chunks // 2:
            print("no space left on the partner's disk", file=sys.stderr, flush=True)
            raise DiskFullError(f"chunk {chunk + 1} of {config.chunks} was not taken")
        print(f"chunk {chunk + 1} of {config.chunks} is written", flush=True)
    return len(numbers)


@op(tags={"dagster-taskiq/priority": "2"})
def announce(context: OpExecutionContext, count: int) -> None:
    """Tell the partner."""
    context.log.info("%d orders are exported", count)


@graph
def region_export() -> None:
    """Export one region's orders."""
    announce(export(collect()))


@static_partitioned_config(partition_keys=list(shop.REGIONS))
def one_region(partition_key: str) -> dict[str, object]:
    """The configuration of a region's run."""
    return {
        "ops": {
            "collect": {"config": {"region": partition_key}},
            "export": {"config": {"chunks": 5, "seconds_per_chunk": 1.0, "fail": False}},
        }
    }
