"""Monitoring of steps in flight: is their queue served, do their messages still exist?

The redelivery of a message is how a lost worker is found. This is the second safeguard, for
messages that were moved, purged or have expired: such a step is sent again, and the rules at
receipt decide the rest. If a worker already runs it, its claim is held and nothing happens.
"""

import os
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from dagster import DagsterInstance

from dagster_taskiq import registry
from dagster_taskiq.config import queue_name
from dagster_taskiq.progress import InFlightStep
from dagster_taskiq.sqs import Sender

#: Seconds without a start before the run's log reports that no worker serves the queue.
_SILENCE_SECONDS = 30.0


def _resend_after() -> float:
    try:
        return float(os.environ.get("DAGSTER_TASKIQ_RESEND_AFTER", "900"))
    except ValueError:
        return 900.0


#: Seconds before a step that no worker has started is sent again.
_RESEND_AFTER = _resend_after()
#: Seconds between two looks at waiting steps, and at steps that a worker has begun.
_INTERVAL = min(10.0, _RESEND_AFTER / 15)
_BEGUN_INTERVAL = min(60.0, _RESEND_AFTER / 15)
#: Number of looks in a row at which no live worker lists a started step before it is sent again:
#: together longer than two visibility timeouts, in which its message returns by itself.
_UNLISTED_LOOKS = 3
#: Seconds before it is sent once more.
_UNLISTED_AGAIN = 15
#: Maximum number of steps that are sent again at one look.
_MOST = 50
#: A queue that is never empty reveals nothing about a message. After this many times
#: ``_RESEND_AFTER``, a few of the oldest steps are sent again all the same.
_LAST_RESORT = 24
_FEW = 10
#: Maximum number of step keys in one sentence.
_NAMED = 5


@dataclass
class Findings:
    """Result of one look: sentences for the run's log, and steps to send again."""

    sentences: list[str] = field(default_factory=list)
    lost: list[InFlightStep] = field(default_factory=list)


class Care:
    """Checks the workers' reports and the queues, seldom."""

    def __init__(self, instance: DagsterInstance, run_id: str, sender: Sender):
        self._instance = instance
        self._run_id = run_id
        self._sender = sender
        self._looked_at = self._looked_at_begun = time.monotonic()
        self._reported_at: dict[str, float] = {}
        #: For each queue, the name of the report of a worker that served it at the last look.
        self._server_of: dict[str, str] = {}
        self._empty: dict[str, bool] = {}
        #: For each queue, when it was last found to have messages.
        self._filled_at: dict[str, float] = {}
        self._started: dict[str, float] = {}
        self._last_resort_at = 0.0
        self._workers: list[registry.Worker] | None = None

    def look(self, flights: Collection[InFlightStep]) -> Findings:
        """Return sentences and steps to send again; nothing between two looks."""
        now = time.monotonic()
        findings = Findings()
        waiting = [f for f in flights if not f.is_begun and f.waited() >= _SILENCE_SECONDS]
        # Workers that do not announce themselves cannot be judged.
        begun = [f for f in flights if f.owner]
        if now - self._looked_at < _INTERVAL:
            waiting = []
        if now - self._looked_at_begun < _BEGUN_INTERVAL:
            begun = []
        if not (waiting or begun):
            return findings
        self._workers = None
        self._empty.clear()
        if waiting:
            self._looked_at = now
            self._note_started(flights)
            findings.sentences.extend(self._unserved(waiting))
            self._add(findings, self._unstarted(waiting), "no worker has started")
        if begun:
            self._looked_at_begun = now
            self._add(findings, self._unlisted(begun), "no live worker has any more")
        return findings

    def _alive(self) -> list[registry.Worker]:
        """All live workers, read once in a look and only where the answer needs them all."""
        if self._workers is None:
            found = registry.workers(self._instance)
            self._workers = [worker for worker in found if worker.is_alive]
        return self._workers

    def _add(self, findings: Findings, lost: Sequence[InFlightStep], what: str) -> None:
        if not lost:
            return
        keys = [flight.step.key for flight in lost]
        names = ", ".join(keys[:_NAMED])
        if len(keys) > _NAMED:
            names += f" and {len(keys) - _NAMED} more"
        findings.sentences.append(
            f"Sending again {len(keys)} step(s) that {what} and whose messages seem to be gone:"
            f" {names}."
        )
        findings.lost.extend(lost)

    def _unserved(self, waiting: Sequence[InFlightStep]) -> Iterator[str]:
        """Queues with waiting steps that no live worker serves, each reported every ten minutes."""
        now = time.monotonic()
        names = {queue_name(f.url) for f in waiting if f.url}
        unserved = {name for name in names if now - self._reported_at.get(name, -600.0) >= 600.0}
        if not unserved:
            return
        # First the workers that served them at the last look: a queue that few workers of a large
        # fleet serve is searched for once.
        known = {self._server_of[name] for name in unserved if name in self._server_of}
        some = registry.some_workers(self._instance)
        for worker in chain(registry.workers_named(self._instance, known), some):
            if worker.is_alive:
                served = unserved & worker.queues if worker.queues else unserved
                self._server_of.update(dict.fromkeys(served, worker.name))
                unserved = unserved - served
            if not unserved:
                return
        for name in sorted(unserved):
            self._reported_at[name] = now
            count = sum(1 for f in waiting if f.url and queue_name(f.url) == name)
            yield (
                f"{count} step(s) wait in the queue {name} and no live worker has reported that it"
                " serves it; start one with dagster-taskiq-tui worker start."
            )

    def _unstarted(self, waiting: Sequence[InFlightStep]) -> list[InFlightStep]:
        """Steps sent long ago that no worker has started or holds, and that are in no queue any
        more.
        """
        due = [
            f
            for f in sorted(waiting, key=lambda flight: flight.sent_at)
            if f.url and f.waited() >= _RESEND_AFTER
        ]
        lost = [f for f in due if self._is_gone(f)]
        lost = [f for f in lost if not self._is_listed(f, self._alive())][:_MOST]
        lost += self._last_resort([f for f in due if f.waited() > _LAST_RESORT * _RESEND_AFTER])
        for flight in lost:
            flight.sent_at = time.time()
        return lost

    def _unlisted(self, begun: Sequence[InFlightStep]) -> list[InFlightStep]:
        """Started steps that no live worker has listed for several looks.

        Without any worker there is no receiver to send to, and perhaps it is the storage that was
        away.
        """
        lost: list[InFlightStep] = []
        owners = registry.workers_named(self._instance, {flight.owner for flight in begun})
        owners = [worker for worker in owners if worker.is_alive]
        for flight in begun:
            if self._is_listed(flight, owners) or self._is_listed_anywhere(flight):
                flight.unlisted = 0
                continue
            flight.unlisted += 1
            wanted = _UNLISTED_AGAIN if flight.resends else _UNLISTED_LOOKS
            patience = _LAST_RESORT * _UNLISTED_LOOKS
            is_due = flight.unlisted >= wanted and len(lost) < _MOST
            if is_due and (self._is_empty(flight.url) or flight.unlisted >= patience):
                flight.unlisted = 0
                lost.append(flight)
        return lost

    def _is_listed(self, flight: InFlightStep, workers: Sequence[registry.Worker]) -> bool:
        return any(worker.holds(self._run_id, flight.step.key) for worker in workers)

    def _is_listed_anywhere(self, flight: InFlightStep) -> bool:
        """Whether another worker has taken the step over, or there is no live worker at all."""
        return not self._alive() or self._is_listed(flight, self._alive())

    def _is_gone(self, flight: InFlightStep) -> bool:
        """Whether the step's queue has no message as old as the step's own."""
        overtaken_by = self._started.get(flight.url, 0.0) - flight.sent_at
        return overtaken_by > _RESEND_AFTER or self._is_empty(flight.url)

    def _is_empty(self, url: str) -> bool:
        """Whether a queue is empty now. One that has a backlog is not counted at each look:
        behind a long one every run waits.
        """
        now = time.monotonic()
        if now - self._filled_at.get(url, -_RESEND_AFTER) < _RESEND_AFTER / 15:
            return False
        if url not in self._empty:
            self._empty[url] = self._sender.waiting(url) == 0
            if not self._empty[url]:
                self._filled_at[url] = now
        return self._empty[url]

    def _note_started(self, flights: Collection[InFlightStep]) -> None:
        """Record for each queue when its newest started message was sent."""
        for flight in flights:
            if flight.is_begun and flight.url:
                newest = max(self._started.get(flight.url, 0.0), flight.sent_at)
                self._started[flight.url] = newest

    def _last_resort(self, due: Sequence[InFlightStep]) -> Sequence[InFlightStep]:
        now = time.monotonic()
        due = [flight for flight in due if not self._is_gone(flight)]
        if not due or now - self._last_resort_at < _RESEND_AFTER:
            return []
        self._last_resort_at = now
        return [flight for flight in due if not self._is_listed(flight, self._alive())][:_FEW]
