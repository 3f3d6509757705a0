"""Which queue and priority the tags of steps and runs choose."""

import pytest

from dagster_taskiq.config import Settings, parse_bands
from dagster_taskiq.errors import ConfigurationError
from dagster_taskiq.routing import Router, order_in_run

BASE = "https://sqs.eu-west-1.amazonaws.com/1/tasks"
BANDS = parse_bands([{"name": "low"}, {"name": "high", "min": 8}, {"name": "normal", "min": 3}])


def router(base: str = BASE, run_tags: dict[str, str] | None = None, **settings) -> Router:
    made = Settings(queue_url=base, region="eu-west-1", endpoint_url=None, **settings)
    return Router(made, base, run_tags or {})


@pytest.mark.parametrize(
    ("priority", "queue"),
    [("9", "tasks-high"), ("8", "tasks-high"), ("7", "tasks"), ("3", "tasks"), ("2", "tasks-low")],
)
def test_a_band_takes_the_priorities_from_its_minimum_on(priority: str, queue: str) -> None:
    route = router(bands=BANDS).step({"dagster-taskiq/priority": priority})
    assert route.queue == queue
    assert route.fallback_url == (None if queue == "tasks" else BASE)


def test_the_run_priority_is_added_to_the_step_priority() -> None:
    route = router(run_tags={"dagster-taskiq/run_priority": "-4"}, bands=BANDS).step({})
    assert (route.priority, route.queue) == (1, "tasks-low")


def test_fifo_stays_last_in_the_name_of_a_band() -> None:
    base = f"{BASE}.fifo"
    route = router(base, bands=BANDS).step({"dagster-taskiq/priority": "8"})
    assert route.queue == "tasks-high.fifo"
    assert router(base).run().queue == "tasks-runs.fifo"


@pytest.mark.parametrize("name", ["dagster", "tasks", None])
def test_the_base_queue_has_several_names(name: str | None) -> None:
    assert router(default_queue=name).step({}).url == BASE


def test_a_queue_named_by_the_step_wins_over_the_run_and_the_default() -> None:
    queues = {"a": f"{BASE}-a", "b": f"{BASE}-b", "c": f"{BASE}-c"}
    run_tags = {"dagster-taskiq/queue": "b"}
    made = router(run_tags=run_tags, queues=queues, default_queue="c")
    assert made.step({"dagster-taskiq/queue": "a"}).url == queues["a"]
    assert made.step({}).url == queues["b"]
    assert router(queues=queues, default_queue="c").step({}).url == queues["c"]


def test_a_bad_priority_is_replaced_by_the_default_and_said() -> None:
    route = router(run_tags={"dagster-taskiq/run_priority": "x"}).step({})
    assert route.priority == 5
    assert "dagster-taskiq/run_priority is 'x'" in route.warnings[0]


def test_the_isolation_of_the_step_wins_over_the_runs_and_nonsense_is_said() -> None:
    tag = "dagster-taskiq/isolation"
    assert router().step({}).isolation is None
    assert router(run_tags={tag: "reuse"}).step({}).isolation == "reuse"
    assert router(run_tags={tag: "reuse"}).step({tag: "fresh"}).isolation == "fresh"
    route = router().step({tag: "spoon"})
    assert route.isolation is None
    assert "'spoon', which is none of auto, fork, reuse, fresh" in route.warnings[0]


def test_dagsters_own_priority_alone_is_warned_of() -> None:
    assert "set dagster-taskiq/priority" in router().step({"dagster/priority": "3"}).warnings[0]
    both = {"dagster/priority": "3", "dagster-taskiq/priority": "3"}
    assert router().step(both).warnings == ()


def test_steps_of_a_run_go_by_our_tag_and_without_it_by_dagsters_own() -> None:
    ours, theirs = "dagster-taskiq/priority", "dagster/priority"
    tags: list[dict[str, str]] = [
        {ours: "9"},
        {theirs: "3"},
        {theirs: "1"},
        {ours: "5", theirs: "100"},
        {},
        {theirs: "no number"},
        {theirs: "-1"},
        {ours: "4", theirs: "100"},
    ]
    assert sorted(tags, key=order_in_run) == tags


@pytest.mark.parametrize(
    "bands",
    [
        [{"name": "a", "min": 1}, {"name": "a", "min": 2}],
        [{"name": "a", "min": 1}, {"name": "b", "min": 1}],
        [{"name": "a"}, {"name": "b"}],
        [{"name": "a b"}],
        [{"name": "dead", "min": 1}, {"name": "normal"}],
        [{"name": "normal", "min": 1}, {"name": "runs"}],
    ],
)
def test_bands_that_make_no_sense_are_refused(bands: list[dict[str, object]]) -> None:
    with pytest.raises(ConfigurationError, match="priority_bands"):
        parse_bands(bands)
