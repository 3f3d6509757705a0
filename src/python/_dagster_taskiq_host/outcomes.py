"""Outcomes of a task in the form sent to the worker.

The worker decides by them whether the message is acknowledged, given back or kept.
"""

from collections.abc import Callable
from typing import Any

from .redaction import redact

Outcome = dict[str, Any]

Notify = Callable[[dict[str, Any]], None]
"""Sends one line to the host."""

LONGEST = 4000
"""Maximum number of characters of a reason: it is put into events, log lines and message
attributes.
"""


def finished(status: str, reason: str | None = None) -> Outcome:
    """The terminal event is in the log. ``status`` is the event's type or the run's status,
    ``reason`` the cause of a failure or retry.
    """
    return {"outcome": "finished", "status": status, "reason": _short(reason)}


def already_finished(event: str) -> Outcome:
    """A terminal event for this attempt already existed: a redelivery."""
    return {"outcome": "already_finished", "event": event}


def run_finished(status: str) -> Outcome:
    """The run has ended or is being cancelled: nothing is run."""
    return {"outcome": "run_finished", "status": status}


def claim_held() -> Outcome:
    """Another process runs this attempt."""
    return {"outcome": "claim_held"}


def owner_silent(again: float) -> Outcome:
    """As ``claim_held``, by a process that has not reported lately: to be checked again in
    ``again`` seconds.
    """
    return {"outcome": "owner_silent", "again_s": round(again, 1)}


def lost(reported: str) -> Outcome:
    """An earlier worker started this attempt and is gone; ``reported`` was written for it."""
    return {"outcome": "lost", "reported": reported}


def not_started(reason: str) -> Outcome:
    """The task could not begin: its message goes back, nothing is written."""
    return {"outcome": "not_started", "reason": _short(reason)}


def raised(reason: str) -> Outcome:
    """The task ended with an exception and without a terminal event."""
    return {"outcome": "raised", "reason": _short(reason)}


def interrupted(reason: str) -> Outcome:
    """The run stopped without a terminal event because it will be resumed."""
    return {"outcome": "interrupted", "reason": _short(reason)}


def unrunnable(reason: str) -> Outcome:
    """Nothing was run and nothing written."""
    return {"outcome": "unrunnable", "reason": _short(reason)}


def stale(reason: str) -> Outcome:
    """The run needs something that the loaded code lacks; loading it again may help."""
    return {"outcome": "stale", "reason": _short(reason)}


def _short(reason: str | None) -> str | None:
    if reason is None:
        return None
    reason = redact(reason)
    if len(reason) <= LONGEST:
        return reason
    return f"{reason[:LONGEST]}… ({len(reason)} characters)"
