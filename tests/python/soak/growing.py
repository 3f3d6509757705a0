"""The code location of ``soak.growth``: jobs of many steps that do nothing."""

from pathlib import Path

from dagster import Definitions, DynamicOut, DynamicOutput, GraphDefinition, graph, job, op

from dagster_taskiq import taskiq_executor


@op
def quick() -> int:
    """Takes no time."""
    return 1


@op
def same(number: int) -> int:
    """Gives what it is given."""
    return number


@op
def total(numbers: list[int]) -> int:
    """Needs all that came before."""
    return sum(numbers)


@op
def breakable(numbers: list[int]) -> int:
    """Fails while there is a file that says so."""
    if Path(__file__).with_name("broken").exists():
        raise ValueError("broken")
    return sum(numbers)


def fan(width: int, last=total) -> GraphDefinition:
    """As many steps beside each other, and one that needs them all."""

    @graph(name=f"{'broken' if last is breakable else 'fan'}_{width}")
    def built() -> None:
        last([quick.alias(f"quick_{number}")() for number in range(width)])

    return built


def dynamic(width: int) -> GraphDefinition:
    """As many steps, made by the run itself."""

    @op(name=f"parts_{width}", out=DynamicOut())
    def parts():
        for number in range(width):
            yield DynamicOutput(number, mapping_key=f"part_{number}")

    @graph(name=f"dynamic_{width}")
    def built() -> None:
        total(parts().map(same).collect())

    return built


@job(executor_def=taskiq_executor)
def single():
    """One step."""
    quick()


GRAPHS = [*map(fan, (50, 2000, 5000)), fan(3000, breakable), *map(dynamic, (50, 5000))]

defs = Definitions(jobs=[single, *(found.to_job(executor_def=taskiq_executor) for found in GRAPHS)])
