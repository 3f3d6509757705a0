"""The versions of Dagster that the tests run on, and what is said of another one.

Another version is used all the same: most releases change nothing that matters here, and a name
that a release lacks is an error by itself.
"""

import re
from importlib import metadata

OLDEST = "1.12.2"
"""As in tests/requirements-older.lock."""

NEWEST = "1.13.28"
"""The last one of tests/versions/pairs. Later patches of its line are not warned about."""


def warning(version: str) -> str | None:
    """Returns a sentence on a version of Dagster outside of the tested range; None within it."""
    found = _numbers(version)
    if found[:2] > _numbers(NEWEST)[:2]:
        return f"Dagster {version} is newer than what this version is tested with, {_RANGE}."
    if found < _numbers(OLDEST):
        return f"Dagster {version} is older than what this version is tested with, {_RANGE}."
    return None


def installed_warning() -> str | None:
    """Returns the same of the installed Dagster."""
    return warning(metadata.version("dagster"))


_RANGE = f"{OLDEST} to {NEWEST}"


def _numbers(version: str) -> tuple[int, ...]:
    """Returns the leading numbers of a version; those of a pre-release are its release's."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
