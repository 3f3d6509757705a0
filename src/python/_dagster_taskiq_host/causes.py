"""Why a step or a run failed or is to be retried, in one line for the console.

The whole of it is in Dagster's log.
"""

from dagster import DagsterEvent, DagsterEventType
from dagster._utils.error import SerializableErrorInfo

from .redaction import redact

LONGEST = 300
"""Characters that are passed on."""

FAILURES = frozenset(
    {
        DagsterEventType.STEP_FAILURE,
        DagsterEventType.STEP_UP_FOR_RETRY,
        DagsterEventType.RESOURCE_INIT_FAILURE,
        DagsterEventType.PIPELINE_FAILURE,
    }
)


def cause(event: DagsterEvent) -> str | None:
    """What an event of a failure gives as the reason: the exception at the start of its chain.

    A run whose steps failed has no exception of its own: its message names the steps.
    """
    if event.event_type not in FAILURES:
        return None
    error = getattr(event.event_specific_data, "error", None)
    text = event.message or "" if error is None else _first(error)
    # Before it is cut: half a secret has no form to be recognised by.
    return redact(" ".join(text.split()))[:LONGEST] or None


def _first(error: SerializableErrorInfo) -> str:
    while error.cause is not None:
        error = error.cause
    lines = [line for line in error.message.splitlines() if line.strip()]
    head, colon, rest = (lines[0] if lines else "").partition(":")
    name = error.cls_name
    # The module that an exception comes from says less than the room it takes.
    return f"{name if name and head.endswith(f'.{name}') else head}{colon}{rest}"
