"""The reason why a step or run failed or is to be retried, in one line for the console.

The full error is in Dagster's log.
"""

from dagster import DagsterEvent, DagsterEventType
from dagster._utils.error import SerializableErrorInfo

from .redaction import redact

LONGEST = 300
"""Maximum number of characters of a reason."""

FAILURES = frozenset(
    {
        DagsterEventType.STEP_FAILURE,
        DagsterEventType.STEP_UP_FOR_RETRY,
        DagsterEventType.RESOURCE_INIT_FAILURE,
        DagsterEventType.PIPELINE_FAILURE,
    }
)


def cause(event: DagsterEvent) -> str | None:
    """Returns the reason in a failure event: the exception at the start of its chain.

    A run whose steps failed has no exception of its own: its message names the steps.
    """
    if event.event_type not in FAILURES:
        return None
    error = getattr(event.event_specific_data, "error", None)
    text = event.message or "" if error is None else _first(error)
    # Before the text is cut: half a secret has no form that can be recognised.
    return redact(" ".join(text.split()))[:LONGEST] or None


def _first(error: SerializableErrorInfo) -> str:
    while error.cause is not None:
        error = error.cause
    lines = [line for line in error.message.splitlines() if line.strip()]
    head, colon, rest = (lines[0] if lines else "").partition(":")
    name = error.cls_name
    # The module of an exception is not worth its space.
    return f"{name if name and head.endswith(f'.{name}') else head}{colon}{rest}"
