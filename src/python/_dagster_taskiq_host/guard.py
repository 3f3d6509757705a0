"""Keeps a process from writing about an attempt or a run that is no longer its own.

A database that was restarted, or could not reach this host for a while, has dropped the claim. A
process that found it free may have declared this one lost and requested another attempt. So the
claim is checked again before an end is stored, and from time to time. If it had to be taken again,
the log shows whether this process is still the owner.

A process can be frozen between the check and the end. Where claim and events share a connection,
the end cannot be stored on it once the claim is lost, and a new connection is checked before it is
used.
"""

import contextlib
import os
import signal
import threading
import time
from typing import Any, NoReturn

from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus
from dagster._core.events.log import EventLogEntry

from . import claims, connections, event_log, heartbeats, outcomes, run_end, slots
from .claims import Standing
from .event_groups import EventGroups
from .messages import Task
from .outcomes import Notify

LOOK_EVERY = 10.0
"""Seconds between checks of a held claim."""

NUMBERED = event_log.TERMINAL | {DagsterEventType.STEP_OUTPUT}
"""Events of a step that carry the number of their attempt."""


class Guard:
    """Watches one claim for the process that holds it."""

    def __init__(
        self, instance: DagsterInstance, claim: claims.Claim, task: Task, notify: Notify
    ) -> None:
        self._instance = instance
        self._claim = claim
        self._task = task
        self._notify = notify
        self.has_slot = False
        """Whether the step holds a slot of a concurrency pool."""
        self.groups = EventGroups(instance, instance.handle_new_event, is_step=task.is_step)
        """Where the events of this process are stored."""
        self._announced = False
        self._begun = False
        """Whether the task itself has been started here."""
        self._is_retaken = False
        """Whether the claim was taken again and the log has not been read since then."""
        self._looking: int | None = None
        """The thread that checks the claim."""
        self._looked_at = time.monotonic()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        if claim.shares_connection:
            connections.check_with(self._reconnected)

    def install(self) -> None:
        """Lets every event of this process pass through here."""

        def handle_new_event(event: EventLogEntry, **kwargs: Any) -> None:
            if self._admit(event):
                self.groups.store(self._numbered(event), **kwargs)

        self._instance.handle_new_event = handle_new_event  # type: ignore[method-assign]

    def announced(self) -> None:
        """Marks this process as the announced owner, and checks the claim.

        The announcement may have taken long: this host was frozen, or the database was away.
        Another process may have begun meanwhile.
        """
        self._announced = True
        if not self._claim.definite:
            self.look()
        self._begun = True

    def watch(self) -> None:
        """Checks the claim from a thread: a run that waits for its steps stores no events."""
        if not self._claim.definite:
            self._thread = threading.Thread(
                target=self._watch, name="dagster-taskiq-claim", daemon=True
            )
            self._thread.start()

    def end(self) -> None:
        """Ends the checks: the claim is given up."""
        try:
            self.groups.flush()
            if self.has_slot:
                self._free_slot()
        finally:
            self._over.set()
            connections.check_with(None)
            with self._lock:
                self._claim.release()
            if self._thread is not None:
                # The next task in this process must not find this one's thread.
                self._thread.join(LOOK_EVERY)

    def _free_slot(self) -> None:
        """Frees the slot if the run is over or being cancelled: its process reads no ends then."""
        run = self._instance.get_run_by_id(self._task.run_id)
        if run is None or run.is_finished or run.status == DagsterRunStatus.CANCELING:
            slots.free_step(self._instance, self._task.run_id, self._task.step_key or "")

    def _watch(self) -> None:
        while not self._over.wait(LOOK_EVERY):
            self._glance()

    def _glance(self) -> None:
        """Checks, but ignores errors of a database that is away: the other calls handle them."""
        with contextlib.suppress(Exception):
            self.look()

    def _reconnected(self, connection: Any) -> None:
        """Checks the claim where the connection that held it was lost."""
        holds = self._claim.is_on_connection() and not self._is_retaken
        if not (holds or self._looking == threading.get_ident()):
            self.look(connection)

    def look(self, connection: Any = None) -> None:
        """Checks the claim, and ends this process if its task is no longer its own.

        ``connection`` as for ``Claim.ensure``.
        """
        with self._lock:
            if self._over.is_set():
                return
            self._looked_at = time.monotonic()
            self._looking = threading.get_ident()
            try:
                standing = self._claim.ensure(connection)
                self._is_retaken = self._is_retaken or standing is Standing.RETAKEN
                lost = standing is Standing.LOST
                if lost or (self._is_retaken and self._is_taken_over()):
                    self._give_up()
                self._is_retaken = False
            finally:
                self._looking = None

    def _admit(self, event: EventLogEntry) -> bool:
        """Returns whether an event is to be stored."""
        kind = event.dagster_event.event_type if event.dagster_event else None
        is_end = kind in (event_log.TERMINAL if self._task.is_step else run_end.ENDS)
        if is_end:
            self.look()
        elif time.monotonic() - self._looked_at > LOOK_EVERY:
            self._glance()
        return not (is_end and not self._task.is_step and self._is_ended_otherwise(event))

    def _is_ended_otherwise(self, event: EventLogEntry) -> bool:
        """Returns whether the run has another end, which Dagster would overwrite with this one."""
        run = self._instance.get_run_by_id(self._task.run_id)
        if run is None or not run.is_finished:
            return False
        self._instance.report_engine_event(
            f"The run is {run.status.value} and stays so; it would have ended with"
            f" {event.get_dagster_event().event_type_value}.",
            run,
        )
        return True

    def _numbered(self, event: EventLogEntry) -> EventLogEntry:
        inner = event.dagster_event
        if inner is None or not self._task.is_step or inner.event_type not in NUMBERED:
            return event
        return event._replace(dagster_event=event_log.numbered(inner, self._task.attempt))

    def _is_taken_over(self) -> bool:
        task = self._task
        if task.is_step:
            found = event_log.read(self._instance, task.run_id, task.step_key or "", whole=True)
            attempt = found.attempt(task.attempt)
            if attempt.terminal is not None or (attempt.start is not None and not self._begun):
                return True
            owner = attempt.owner
        else:
            owner, _ = event_log.run_owner(self._instance, task.run_id)
        return self._announced and (owner is None or not heartbeats.is_this_process(owner))

    def _give_up(self) -> NoReturn:
        # Not the task's own failure: the host is informed first.
        self._notify({"kind": "outcome", **outcomes.claim_held()})
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("unreachable")
