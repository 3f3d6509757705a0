"""Monitoring of steps in flight: is their queue served, do their messages still exist?

The redelivery of a message is how a lost worker is found. This is the second safeguard, for
messages that were moved, purged or have expired: such a step is sent again, and the rules at
receipt decide the rest. If a worker already runs it, its claim is held and nothing happens.
"""

import os
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

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
        self._empty: dict[str, bool] = {}
        self._started: dict[str, float] = {}
        self._last_resort_at = 0.0

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
        workers = [w for w in registry.workers(self._instance) if w.is_alive]
        self._empty.clear()
        if waiting:
            self._looked_at = now
            self._note_started(flights)
            findings.sentences.extend(self._unserved(waiting, workers))
            self._add(findings, self._unstarted(waiting, workers), "no worker has started")
        if begun:
            self._looked_at_begun = now
            unlisted = self._unlisted(begun, workers)
            self._add(findings, unlisted, "no live worker has any more")
        return findings

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

    def _unserved(
        self, waiting: Sequence[InFlightStep], workers: Sequence[registry.Worker]
    ) -> Iterator[str]:
        """Queues with waiting steps that no live worker serves, each reported every ten minutes."""
        now = time.monotonic()
        for name in sorted({queue_name(f.url) for f in waiting if f.url}):
            served = any(not worker.queues or name in worker.queues for worker in workers)
            if served or now - self._reported_at.get(name, -600.0) < 600.0:
                continue
            self._reported_at[name] = now
            count = sum(1 for f in waiting if f.url and queue_name(f.url) == name)
            yield (
                f"{count} step(s) wait in the queue {name} and no live worker has reported that it"
                " serves it; start one with dagster-taskiq-tui worker start."
            )

    def _unstarted(
        self, waiting: Sequence[InFlightStep], workers: Sequence[registry.Worker]
    ) -> list[InFlightStep]:
        """Steps sent long ago that no worker has started or holds, and that are in no queue any
        more.
        """
        due = [
            f
            for f in sorted(waiting, key=lambda flight: flight.sent_at)
            if f.url and f.waited() >= _RESEND_AFTER and not self._is_listed(f, workers)
        ]
        lost = [f for f in due if self._is_gone(f)][:_MOST]
        lost += self._last_resort([f for f in due if f.waited() > _LAST_RESORT * _RESEND_AFTER])
        for flight in lost:
            flight.sent_at = time.time()
        return lost

    def _unlisted(
        self, begun: Sequence[InFlightStep], workers: Sequence[registry.Worker]
    ) -> list[InFlightStep]:
        """Started steps that no live worker has listed for several looks.

        Without any worker there is no receiver to send to, and perhaps it is the storage that was
        away.
        """
        lost: list[InFlightStep] = []
        for flight in begun:
            if not workers or self._is_listed(flight, workers):
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

    def _is_gone(self, flight: InFlightStep) -> bool:
        """Whether the step's queue has no message as old as the step's own."""
        overtaken_by = self._started.get(flight.url, 0.0) - flight.sent_at
        return overtaken_by > _RESEND_AFTER or self._is_empty(flight.url)

    def _is_empty(self, url: str) -> bool:
        if url not in self._empty:
            self._empty[url] = self._sender.waiting(url) == 0
        return self._empty[url]

    def _note_started(self, flights: Collection[InFlightStep]) -> None:
        """Record for each queue when its newest started message was sent."""
        for flight in flights:
            if flight.is_begun and flight.url:
                newest = max(self._started.get(flight.url, 0.0), flight.sent_at)
                self._started[flight.url] = newest

    def _last_resort(self, due: Sequence[InFlightStep]) -> Sequence[InFlightStep]:
        now = time.monotonic()
        due = [flight for flight in due if not self._is_gone(flight)][:_FEW]
        if not due or now - self._last_resort_at < _RESEND_AFTER:
            return []
        self._last_resort_at = now
        return due
