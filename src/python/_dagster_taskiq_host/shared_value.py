"""A JSON object in Dagster's key-value store that one process at a time changes, under a claim."""

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

from dagster import DagsterInstance

from . import claims

TAKE = 3.0
"""Seconds for which the claim is tried."""


class Busy(Exception):
    """Another worker has held the value for too long."""


@contextlib.contextmanager
def changed(instance: DagsterInstance, key: str, what: str) -> Iterator[dict[str, Any]]:
    """Reads the object, and writes it if it was changed, while no other process does.

    ``what`` is its name in the sentence of :class:`Busy`.
    """
    claim = claims.claim(instance, key, None, 1)
    deadline = time.monotonic() + TAKE
    while not claim.acquire():
        if time.monotonic() >= deadline:
            raise Busy(f"other workers have held {what} for {TAKE:.0f} s")
        time.sleep(0.02)
    try:
        text = instance.run_storage.get_cursor_values({key}).get(key)
        value = load(text)
        yield value
        written = json.dumps(value, sort_keys=True)
        if written != text:
            instance.run_storage.set_cursor_values({key: written})
    finally:
        claim.release()


def load(text: str | None) -> dict[str, Any]:
    """The object in a stored text; an empty one where there is none."""
    try:
        value = json.loads(text) if text else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
