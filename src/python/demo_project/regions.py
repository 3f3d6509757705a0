"""A fan-out: every region is scored in a step of its own, the urgent ones first."""

import os

from dagster import In, Nothing, OpExecutionContext, graph, op

from demo_project import shop

PRIORITY_TAG = "dagster-taskiq/priority"

#: Number of scored regions; ``demo --steps`` sets it.
STEPS = int(os.environ.get("DAGSTER_TASKIQ_DEMO_STEPS", "12"))


@op(tags={PRIORITY_TAG: "9"})
def open_ledger(context: OpExecutionContext) -> float:
    """The day's turnover, the base of the regions' scores."""
    total = sum(shop.euros(order) for order in shop.orders())
    context.log.info("turnover: %.2f EUR", total)
    return total


@op
def score(context: OpExecutionContext, turnover: float) -> float:
    """One region's share of the turnover."""
    name = context.op_handle.name
    region = shop.REGIONS[int(name.rsplit("_", 1)[-1]) % len(shop.REGIONS)]
    shop.take_a_while(name)
    share = sum(shop.euros(order) for order in shop.orders() if order.region == region) / turnover
    print(f"{region}: {share:.1%} of the turnover")
    return share


@op(ins={"shares": In(list[float])}, tags={PRIORITY_TAG: "8"})
def rank(context: OpExecutionContext, shares: list[float]) -> float:
    """The best share."""
    best = max(shares)
    context.log.info("best share %.1f%% of %d regions", 100 * best, len(shares))
    return best


@op(ins={"start": In(Nothing)}, tags={PRIORITY_TAG: "1"})
def tidy_up() -> None:
    """Work that can wait for everything else."""
    shop.take_a_while("tidy_up")


def priority(number: int) -> int:
    """Three urgent regions, six ordinary ones, three that can wait, and so on."""
    return (9, 5, 5, 1)[number % 4]


@graph
def regional_scores() -> None:
    """Score the regions side by side, then rank them."""
    turnover = open_ledger()
    shares = []
    for number in range(STEPS):
        tagged = score.alias(f"score_{number:02d}").tag({PRIORITY_TAG: str(priority(number))})
        shares.append(tagged(turnover))
    rank(shares)
    tidy_up(start=turnover)
