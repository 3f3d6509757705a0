"""What became of a task, as told to the worker. The worker decides by it whether the message is
acknowledged, given back or kept.
"""

from typing import Any

from .redaction import redact

Outcome = dict[str, Any]


def finished(status: str, reason: str | None = None) -> Outcome:
    """The terminal event is in the log. ``status`` is the event's type or the run's status,
    ``reason`` why it failed or is to be retried.
    """
    return {"outcome": "finished", "status": status, "reason": redact(reason) if reason else None}


def already_finished(event: str) -> Outcome:
    """A terminal event for this attempt was there before: a redelivery."""
    return {"outcome": "already_finished", "event": event}


def run_finished(status: str) -> Outcome:
    """The run has ended or is being cancelled: nothing is run."""
    return {"outcome": "run_finished", "status": status}


def claim_held() -> Outcome:
    """Another process runs this attempt."""
    return {"outcome": "claim_held"}


def lost(reported: str) -> Outcome:
    """An earlier worker started this attempt and is gone; ``reported`` was written for it."""
    return {"outcome": "lost", "reported": reported}


def raised(reason: str) -> Outcome:
    """The task ended with an exception and without a terminal event."""
    return {"outcome": "raised", "reason": redact(reason)}


def interrupted(reason: str) -> Outcome:
    """The run stopped without a terminal event because it will be resumed."""
    return {"outcome": "interrupted", "reason": redact(reason)}


def unrunnable(reason: str) -> Outcome:
    """Nothing was run and nothing written."""
    return {"outcome": "unrunnable", "reason": redact(reason)}
