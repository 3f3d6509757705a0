"""A claim whose holder has not been heard of: the host may have vanished without a word to the
database's server, or stand still.

Nobody waits for the server to notice. Once a worker has been silent for long, the session that
holds the claim is ended, and what then follows is what follows any free claim.
"""

import sys
import time
from collections.abc import Callable

from dagster import DagsterInstance

from . import claims, liveness, outcomes
from .outcomes import Outcome
from .redaction import redact

END_AFTER = 60.0
"""Seconds of silence after which a holder's session is ended: three times what makes a heartbeat
stale, so that a worker whose storage was slow keeps what it runs."""

MISSED = 7.5
"""Seconds after which a heartbeat is overdue, and its worker worth another look soon."""

DEAD_AFTER = 20.0
"""Seconds without a statement after which a session is that of a process that is known to be gone:
its last word to the server was lost, and the server waits for it, by itself for hours."""

ENDED_WITHIN = 3.0
"""Seconds that the server may take to end a session."""

FindOwner = Callable[[], "tuple[dict[str, str] | None, float]"]
"""Who announced itself, and when it was last seen in the log (Unix seconds)."""


def acquire(
    instance: DagsterInstance, claim: claims.Claim, worker: dict[str, str], find: FindOwner
) -> Outcome | None:
    """Takes a claim, from a silent holder if need be; the outcome of the task where it cannot."""
    if claim.acquire():
        return None
    if claim.definite:
        return outcomes.claim_held()
    owner, seen = find()
    if owner is None:
        return outcomes.claim_held()
    if liveness.has_left(owner):
        return None if _take_from(claim, owner, DEAD_AFTER) else outcomes.claim_held()
    if liveness.silence(instance, owner, seen, worker) < END_AFTER:
        return not_gone(instance, owner, seen, worker, END_AFTER)
    return None if _take_from(claim, owner) else outcomes.claim_held()


def take(claim: claims.Claim, find: FindOwner) -> bool:
    """Takes a claim that is free, or that the server has kept for a process that is gone."""
    if claim.acquire():
        return True
    if claim.definite:
        return False
    owner, _ = find()
    return owner is not None and liveness.has_left(owner) and _take_from(claim, owner, DEAD_AFTER)


def _take_from(claim: claims.Claim, owner: dict[str, str], idle: float = 0.0) -> bool:
    """Whether the claim could be taken after its holder's session was ended.

    ``idle`` as for ``Claim.end_holder``: what is to be ended is the owner's session, and not that
    of a process which has just taken the claim and is about to announce itself.
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
    limit: float = liveness.STALE_AFTER,
) -> Outcome:
    """The outcome where an owner may still live; one that may be gone is looked at again soon.

    ``worker``: the one that asks. ``limit``: seconds of silence from which on the owner counts as
    gone.
    """
    if owner is None or liveness.silence(instance, owner, seen) < MISSED:
        return outcomes.claim_held()
    # A worker that was started just now has to listen for as long as any other.
    silence = liveness.silence(instance, owner, seen, worker)
    return outcomes.owner_silent(max(limit - silence, 0.0) + 1.0)
