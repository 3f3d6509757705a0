"""The parts of an explanation, and the wording that its sentences share."""

import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

SHORT = 8
"""Number of characters of a run's id that distinguish it on a screen."""

_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))


@dataclass
class Holder:
    """A run or step that holds a resource which another one waits for."""

    run_id: str
    step_key: str | None
    text: str
    """Its state in one sentence."""
    job: str = ""
    since: float | None = None
    """Time since which it has held the resource, in Unix seconds, if known."""
    state: str = "running"
    """``running``, ``waiting`` (sent, not begun), ``silent`` (its worker does not report),
    ``gone`` (its process no longer exists) or ``over`` (it has ended)."""
    can_free: bool = False
    """Whether its slot may be freed; see ``explain_pools.free``."""
    is_named: bool = False
    """Whether the reason's own sentence ends with ``text``."""

    def name(self) -> str:
        """Its sentence, for the reason's own."""
        self.is_named = True
        return self.text

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "since": _moment(self.since)}


@dataclass
class Reason:
    """One reason why something does not start."""

    kind: str
    text: str
    """One sentence."""
    until: float | None = None
    """Time at which the reason ends by itself, in Unix seconds, if known."""
    holders: list[Holder] = field(default_factory=list)
    pool: str | None = None

    def to_dict(self) -> dict[str, Any]:
        holders = [holder.to_dict() for holder in self.holders]
        return {**vars(self), "until": _moment(self.until), "holders": holders}


@dataclass
class Sent:
    """The newest message of a step or run, as its sender logged it."""

    queue: str
    task_id: str
    at: float
    """Unix seconds."""
    priority: int | None = None
    attempt: int = 1

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "at": _moment(self.at)}


@dataclass
class Explanation:
    """Explanation why a run or step does not start."""

    run_id: str
    job: str
    status: str
    step_key: str | None = None
    waits: bool = True
    """Whether it has not started yet; otherwise the reasons describe its state."""
    reasons: list[Reason] = field(default_factory=list)
    """The reasons, most important first."""
    unknown: list[str] = field(default_factory=list)
    """The unavailable data, each as the object of "Not known: "."""
    sent: Sent | None = None
    steps: list[dict[str, str]] = field(default_factory=list)
    """The waiting steps of a run that has started, each with its first reason."""

    def to_dict(self) -> dict[str, Any]:
        return {
            **vars(self),
            "reasons": [reason.to_dict() for reason in self.reasons],
            "sent": self.sent.to_dict() if self.sent else None,
        }


def _moment(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, timezone.utc).isoformat()


def short(run_id: str) -> str:
    """The beginning of a run's id."""
    return run_id[:SHORT]


def lasted(seconds: float) -> str:
    """A duration in its largest unit."""
    for size, unit in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0.0):.0f} s"


def ago(at: float) -> str:
    """The time that has passed since a moment."""
    return f"{lasted(time.time() - at)} ago"


def clock(at: float) -> str:
    """A moment, with its date if that is not today's."""
    moment, now = (datetime.fromtimestamp(when, timezone.utc) for when in (at, time.time()))
    pattern = "%H:%M:%S UTC" if moment.date() == now.date() else "%Y-%m-%d %H:%M:%S UTC"
    return moment.strftime(pattern)


def listed(texts: list[str], most: int = 5) -> str:
    """Some of the texts, and the number of further ones."""
    more = len(texts) - most
    return ", ".join(texts[:most]) + (f" and {more} more" if more > 0 else "")


def counted(number: int, one: str, more: str | None = None) -> str:
    """A number with its noun."""
    return f"{number} {one if number == 1 else more or one + 's'}"
