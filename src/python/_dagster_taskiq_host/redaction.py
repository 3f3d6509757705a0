"""Hides secrets in text before it leaves a process: in our reasons, log lines and events.

They are recognised by the form of the text around them (``password=…``, a URL with a password) or
by their value, if a variable of the environment contains it. The binary redacts the text again; its
rules (``src/domain/secrets``) know more forms.
"""

import logging
import os
import re
import sys
import traceback
from collections.abc import Mapping
from urllib.parse import quote

from dagster._utils.error import SerializableErrorInfo

REDACTED = "(redacted)"

SHORTEST = 8
"""Minimum length of a value; shorter ones are too often common words."""

_WORDS = (
    r"passw|pwd|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|account[_-]?key"
    r"|credential"
)
_NAME = rf"[\w.-]*(?:{_WORDS})[\w.-]*"
_ERROR_CODE = r"(?:Exception|Error|TokenId|ExpiredToken|InvalidToken|AuthenticationToken|KeyId)"

_VALUE = (
    r"(?:[brfu]{0,2}\\*\"(?:[^\"\\]|\\[^\"])*(?:\\*\"|$)|[brfu]{0,2}'(?:[^'\\]|\\.)*(?:'|$)"
    r"|\[[^\]]*\]?|\{(?![^}]*env)[^}]*\}?|[^\s,;&{}\[<>\"'\\]+(?:\"[^\"]*\"|'[^']*')?)"
)

_RULES: list[tuple[re.Pattern[str], str]] = [
    # scheme://user:password@host; a port is not a password.
    (
        re.compile(
            r"\b([a-z][a-z0-9+.-]*://[^\s:/?#@\"'<>]*:)(?!\d+[/?#])[^\s\"'<>`\\]*@", re.IGNORECASE
        ),
        rf"\1{REDACTED}@",
    ),
    (re.compile(r"\b(https?://)[^\s:/?#@\"'<>()]+@", re.IGNORECASE), rf"\1{REDACTED}@"),
    (
        re.compile(
            r"((?:\bsignature|[?&](?:sig|key|auth|code|pass|pw))=)[^\s&\"'<>\\]+",
            re.IGNORECASE,
        ),
        rf"\1{REDACTED}",
    ),
    (
        re.compile(
            r"(\b(?:authorization|cookie)\\*[\"']?\s*[:=,]\s*[brf]?\\*[\"']?)[^\"'\\\r\n]+",
            re.IGNORECASE,
        ),
        rf"\1{REDACTED}",
    ),
    (re.compile(r"\b(bearer\s+)[\w.~+/%-]*\d[\w.~+/%-]*=*", re.IGNORECASE), rf"\1{REDACTED}"),
    # The rest of a YAML line, then any other `name: value`, `name=value`, `--name value`.
    (
        re.compile(
            rf"^(\s*(?:-\s+)?(?:(?!\w*{_ERROR_CODE}\b){_NAME})[ \t]*:[ \t]+)(?![\"'{{\[])\S.*$",
            re.IGNORECASE | re.MULTILINE,
        ),
        rf"\1{REDACTED}",
    ),
    (
        re.compile(
            rf"((?<![\w.-])(?![\w.-]*(?:{_ERROR_CODE}|[_-](?:file|path))\b)(?:--{_NAME}\s+(?![a-z]+\b)|{_NAME}(?:\\*[\"'])?"
            rf"\s*(?:=>|[:=])\s*|[\"']{_NAME}[\"']\s*,\s*(?=[\"'])|<{_NAME}>))(?!\(redacted\)){_VALUE}",
            re.IGNORECASE,
        ),
        rf"\1{REDACTED}",
    ),
]

_SUSPECT = re.compile(
    rf"://|signature|[?&](?:sig|key|auth|code|pass|pw)|authorization|cookie|bearer|{_WORDS}",
    re.IGNORECASE,
)
"""What every text has that a rule changes: most texts have none of it, and this is found sooner."""

_NO_VALUES = ("_FILE", "_PATH", "_DIR", "_URL", "_URI", "_NAME", "_TYPE", "_ENDPOINT")
_MORE_NAMES = ("_KEY", "_PASS", "_PW", "_AUTH")


def _known(variables: Mapping[str, str]) -> "re.Pattern[str] | None":
    """Matches the secrets in an environment."""
    values: set[str] = set()
    for name, value in variables.items():
        upper = name.upper()
        named = re.search(_WORDS, name, re.IGNORECASE) or upper.endswith(_MORE_NAMES)
        if named and not upper.endswith(_NO_VALUES):
            values.add(value)
        elif "://" in value and "@" in value:
            values.add(value.rpartition("@")[0].partition("://")[2].partition(":")[2])
    distinctive = [value for value in values if _is_distinctive(value)]
    texts = {*distinctive, *(quote(value, safe="-._~") for value in distinctive)}
    ordered = sorted(texts, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ordered))) if ordered else None


def _is_distinctive(value: str) -> bool:
    """Returns whether it is so long and unusual that hiding it spares ordinary text."""
    return (
        len(value) >= SHORTEST
        and not value.startswith(("/", "("))
        and re.search(r"[^a-z._ -]", value) is not None
    )


_KNOWN = _known(os.environ)


def redact(text: str) -> str:
    """Returns the text with its secrets hidden."""
    if _KNOWN is not None:
        text = _KNOWN.sub(REDACTED, text)
    if _SUSPECT.search(text) is None:
        return text
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


def redact_error(info: SerializableErrorInfo) -> SerializableErrorInfo:
    """Returns an exception in the form of Dagster's events, with the secrets of its whole chain
    hidden.
    """
    return info._replace(
        message=redact(info.message),
        stack=[redact(line) for line in info.stack],
        cause=redact_error(info.cause) if info.cause else None,
        context=redact_error(info.context) if info.context else None,
    )


def redact_exception(error: BaseException) -> None:
    """Hides the secrets in an exception and its causes, wherever they are printed."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        current.args = tuple(redact(arg) if isinstance(arg, str) else arg for arg in current.args)
        current = current.__cause__ or current.__context__


def print_exc() -> None:
    """Like ``traceback.print_exc``, with secrets hidden."""
    sys.stderr.write(redact(traceback.format_exc()))
    sys.stderr.flush()


class Redacting(logging.Filter):
    """Hides secrets in log records, exceptions included."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), None
        if record.exc_info:
            text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
            record.exc_text, record.exc_info = redact(text), None
        return True
