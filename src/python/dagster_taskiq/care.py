"""Looking after steps that do not start: is there a worker, is the message still there?"""

import os
import time
from collections.abc import Iterable, Iterator

from dagster import DagsterInstance

from dagster_taskiq import registry
from dagster_taskiq.config import queue_name
from dagster_taskiq.progress import Flight
from dagster_taskiq.sqs import Sender

_INTERVAL = 10.0
#: Seconds without a start before the run's log says that nobody serves the queue.
_SILENCE_SECONDS = 30.0
#: Seconds before a step that nobody has started is sent again.
_RESEND_AFTER = float(os.environ.get("DAGSTER_TASKIQ_RESEND_AFTER", "900"))


class Care:
    """What is known about the workers, asked at most every ten seconds."""

    def __init__(self, instance: DagsterInstance, run_id: str, sender: Sender):
        self._instance = instance
        self._run_id = run_id
        self._sender = sender
        self._looked_at = time.monotonic()
        self._workers: list[registry.Worker] = []
        self._said_at: dict[str, float] = {}
        self._is_due = False

    def sentences(self, flights: Iterable[Flight]) -> Iterator[str]:
        """Queues with waiting steps that no live worker serves, each said every ten minutes."""
        now = time.monotonic()
        self._is_due = now - self._looked_at >= _INTERVAL
        waiting = [f for f in flights if not f.alive and f.waited() >= _SILENCE_SECONDS]
        if not (self._is_due and waiting):
            return
        self._looked_at = now
        self._workers = registry.workers(self._instance)
        alive = [worker for worker in self._workers if worker.is_alive]
        for name in sorted({queue_name(f.url) for f in waiting if f.url}):
            served = any(not worker.queues or name in worker.queues for worker in alive)
            if served or now - self._said_at.get(name, -600.0) < 600.0:
                continue
            self._said_at[name] = now
            count = sum(1 for f in waiting if f.url and queue_name(f.url) == name)
            yield (
                f"{count} step(s) wait in the queue {name} and no live worker has reported that it"
                " serves it; start one with dagster-taskiq-tui worker start."
            )

    def lost_messages(self, flights: Iterable[Flight]) -> list[Flight]:
        """Steps sent long ago that nobody started, nobody holds, and no queue contains."""
        if not self._is_due:
            return []
        empty: dict[str, bool] = {}
        lost = []
        for flight in flights:
            if flight.alive or not flight.url or flight.waited() < _RESEND_AFTER:
                continue
            if any(w.is_alive and w.holds(self._run_id, flight.step.key) for w in self._workers):
                continue
            if flight.url not in empty:
                empty[flight.url] = self._sender.waiting(flight.url) == 0
            # Where others keep the queue filled it never looks empty: there, after a longer time.
            if empty[flight.url] or flight.waited() > 4 * _RESEND_AFTER:
                flight.sent_at = time.time()
                lost.append(flight)
        return lost
