"""When a worker that is not heard of counts as gone."""

import time
from types import SimpleNamespace

import pytest
from dagster import DagsterInstance

from _dagster_taskiq_host import heartbeats, paused_queues

ME = {"id": "me", "incarnation": "m"}
OTHER = {"id": "other", "incarnation": "o", "host": "elsewhere", "pid": "1", "boot": "b"}


def test_only_the_time_counts_in_which_heartbeats_could_arrive(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr(heartbeats, "time", SimpleNamespace(time=lambda: now))
    monkeypatch.setattr(heartbeats, "_written", {})

    def beat(*workers: dict[str, str]) -> None:
        for worker in workers:
            heartbeats.beat(instance, worker["id"], {"incarnation": worker["incarnation"]})

    def silence() -> float:
        found = heartbeats.silence(instance, OTHER, 0.0, ME)
        gone = heartbeats.owner_is_gone(instance, OTHER, 0.0, ME)
        assert gone is (found > heartbeats.STALE_AFTER)
        return found

    for _ in range(12):
        beat(ME, OTHER)
        now += 5
    assert silence() == 5
    # The storage is away for two minutes; this worker is the first to be back.
    now += 120
    assert silence() == 0
    beat(ME)
    assert silence() == 0
    now += 5
    beat(ME)
    assert silence() == 5
    # The process that writes the heartbeats is another one now.
    heartbeats._written.clear()
    for _ in range(4):
        now += 5
        beat(ME)
    assert silence() == 25
    beat(OTHER)
    assert silence() == 0


def test_a_heartbeat_brings_the_queues_that_are_paused(instance: DagsterInstance) -> None:
    def beat() -> paused_queues.Paused:
        return heartbeats.beat(instance, ME["id"], {"incarnation": ME["incarnation"]})

    assert beat() == {}
    first = paused_queues.pause(instance, "tasks", "ann@bastion", "the warehouse is down")
    again = paused_queues.pause(instance, "tasks", "bob@bastion", None)
    assert again["tasks"] == {"by": "bob@bastion", "at": first["tasks"]["at"], "reason": None}
    assert beat() == again
    assert paused_queues.resume(instance, "tasks") == {}
    assert paused_queues.resume(instance, "tasks") == {}, "it is not paused"
    assert beat() == {}
