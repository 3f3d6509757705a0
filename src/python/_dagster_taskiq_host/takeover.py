"""Claims whose holder is silent: its host may have vanished or be frozen.

This does not wait until the database's server notices. Once a worker has been silent for long, the
session that holds the claim is ended, and then the claim is handled like any free one.
"""

import sys
import time
from collections.abc import Callable

from dagster import DagsterInstance

from . import claims, heartbeats, outcomes
from .outcomes import Outcome
from .redaction import redact

END_AFTER = 60.0
"""Seconds of silence after which a holder's session is ended: three times what makes a heartbeat
stale, so that a worker whose storage was slow keeps its tasks.
"""

MISSED = 7.5
"""Seconds after which a heartbeat is overdue, and its worker should be checked again soon."""

DEAD_AFTER = 20.0
"""Seconds without a statement after which a session belongs to a process that is known to be gone:
its last packet to the server was lost, and the server would wait for hours.
"""

ENDED_WITHIN = 3.0
"""Maximum seconds for the server to end a session."""

FindOwner = Callable[[], "tuple[dict[str, str] | None, float]"]
"""Returns the announced owner, and the time it was last seen in the log (Unix seconds)."""


def acquire(
    instance: DagsterInstance, claim: claims.Claim, worker: dict[str, str], find: FindOwner
) -> Outcome | None:
    """Takes a claim, from a silent holder if necessary; returns the outcome of the task if it
    cannot.
    """
    if claim.acquire():
        return None
    if claim.definite:
        return outcomes.claim_held()
    owner, seen = find()
    if owner is None:
        return outcomes.claim_held()
    if heartbeats.has_left(owner):
        return None if _take_from(claim, owner, DEAD_AFTER) else outcomes.claim_held()
    if heartbeats.silence(instance, owner, seen, worker) < END_AFTER:
        return not_gone(instance, owner, seen, worker, END_AFTER)
    return None if _take_from(claim, owner) else outcomes.claim_held()


def take(claim: claims.Claim, find: FindOwner) -> bool:
    """Takes a claim that is free, or that the server has kept for a process that is gone."""
    if claim.acquire():
        return True
    if claim.definite:
        return False
    owner, _ = find()
    return owner is not None and heartbeats.has_left(owner) and _take_from(claim, owner, DEAD_AFTER)


def _take_from(claim: claims.Claim, owner: dict[str, str], idle: float = 0.0) -> bool:
    """Returns whether the claim could be taken after its holder's session was ended.

    ``idle`` as for ``Claim.end_holder``: only the owner's session must be ended, not that of a
    process which has just taken the claim and is about to announce itself.
    """
    try:
        claim.end_holder(idle)
    except claims.NotEnded as error:
        print(redact(f"the claim of worker {owner['id']}: {error}"), file=sys.stderr)
        return False
    deadline = time.monotonic() + ENDED_WITHIN
    while not claim.acquire():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def not_gone(
    instance: DagsterInstance,
    owner: dict[str, str] | None,
    seen: float,
    worker: dict[str, str],
    limit: float = heartbeats.STALE_AFTER,
) -> Outcome:
    """Returns the outcome if an owner may still live; one that may be gone is checked again soon.

    ``worker``: the calling worker. ``limit``: seconds of silence after which the owner counts as
    gone.
    """
    if owner is None or heartbeats.silence(instance, owner, seen) < MISSED:
        return outcomes.claim_held()
    # A newly started worker has to wait for as long as any other.
    silence = heartbeats.silence(instance, owner, seen, worker)
    return outcomes.owner_silent(max(limit - silence, 0.0) + 1.0)
