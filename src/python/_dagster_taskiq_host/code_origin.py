"""Decides which code a worker loads for a run: the code that Dagster's storage names for it.

A message is data. The code, job and instance it names are compared with the run; a difference is
reported and ignored. Both kinds of worker check here before anything of a run is imported.
"""

import fnmatch
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dagster import DagsterInstance, DagsterRun
from dagster._core.code_pointer import CodePointer, CustomPointer
from dagster._core.instance import InstanceRef
from dagster._core.origin import JobPythonOrigin
from dagster._serdes import pack_value, unpack_value

from . import instances, slots

LONGEST = 500
"""Maximum number of characters of a sentence that quotes a message."""


@dataclass(frozen=True)
class Policy:
    """Policy for code in the worker's configuration."""

    allow_locations: tuple[str, ...] = ()
    """Module names and file globs that may be loaded; empty: all."""
    trusts_message: bool = False
    """Whether the instance was opened from a message (``trust_message_instance``)."""

    @staticmethod
    def read(frame: dict[str, Any]) -> "Policy":
        """Reads the policy of a frame."""
        policy = frame["policy"]
        return Policy(tuple(policy["allow_locations"]), policy["trusts_message"])


def look_up(instance: DagsterInstance, frame: dict[str, Any]) -> dict[str, Any]:
    """Looks up the code of a run for a worker that is about to load it.

    ``result`` is ``missing`` or ``refused`` (with ``reason``), ``finished`` (with ``status``), or
    ``code``: ``origin`` is then the run's packed ``RepositoryPythonOrigin``, ``location`` its
    display name, and ``difference`` the differing part of the message.
    """
    run = instance.get_run_by_id(frame["run_id"])
    ref = _unpacked(frame["instance_ref"], InstanceRef)
    if run is None:
        return {"result": "missing", "reason": no_such_run(instance, frame["run_id"], ref)}
    if run.is_finished:
        if frame["step_key"] is not None:
            slots.free_unclaimed_step(instance, run.run_id, frame["step_key"], frame["attempt"])
        return {"result": "finished", "status": run.status.value}
    named = _unpacked(frame["job_origin"], JobPythonOrigin)
    reason = refusal(run, named, Policy.read(frame))
    if reason is not None or run.job_code_origin is None:
        return {"result": "refused", "reason": reason}
    origin = run.job_code_origin.repository_origin
    return {
        "result": "code",
        "origin": pack_value(origin),
        "location": name_of(origin.code_pointer),
        "difference": difference(instance, run, named, ref),
    }


def no_such_run(instance: DagsterInstance, run_id: str, ref: InstanceRef | None) -> str:
    """Describes a missing run, and the difference of the message's instance, which is the usual
    cause.
    """
    text = f"run {run_id} does not exist in this worker's instance"
    other = instances.difference(instance, ref)
    return f"{text}: {other}" if other else text


def refusal(run: DagsterRun, named: JobPythonOrigin | None, policy: Policy) -> str | None:
    """Returns the reason why the code of a run must not be loaded; None if it may.

    Args:
        run: the run as it is in storage.
        named: the origin that the message carries.
        policy: the worker's.

    """
    own = _pointer(run.job_code_origin)
    if own is None:
        return f"run {run.run_id} names no code location"
    theirs = _pointer(named)
    # Loading such a pointer calls any function with any arguments.
    if isinstance(theirs, CustomPointer) and theirs != own:
        return shown(
            f"the message names a CustomPointer to {name_of(theirs)}, which its run does not have:"
            " no worker loads one that a message names"
        )
    if isinstance(own, CustomPointer) and policy.trusts_message:
        return shown(
            f"the instance that the message names has a CustomPointer to {name_of(own)} for run"
            f" {run.run_id}: no worker loads one that a message leads to"
        )
    if not is_allowed(own, policy.allow_locations):
        return shown(
            f"the code location {name_of(own)} of run {run.run_id} is not among this worker's"
            " allow_locations; add it there if this worker shall run it"
        )
    return None


def difference(
    instance: DagsterInstance,
    run: DagsterRun,
    named: JobPythonOrigin | None,
    ref: InstanceRef | None,
) -> str | None:
    """Returns the part of a message that differs from the storage; None if they agree."""
    found = []
    own, theirs = _pointer(run.job_code_origin), _pointer(named)
    if theirs is not None and theirs != own:
        found.append(
            f"the message names the code {_described(theirs)}, its run has {_described(own)}"
        )
    if named is not None and named.job_name != run.job_name:
        found.append(f"the message names the job {named.job_name}, its run has {run.job_name}")
    other = instances.difference(instance, ref)
    if other is not None:
        found.append(other)
    return shown(f"{'; '.join(found)}: not obeyed") if found else None


def shown(text: str) -> str:
    """Returns a sentence that quotes a message, made fit for logs: one line of bounded length."""
    return "".join(c if c.isprintable() else " " for c in text)[:LONGEST]


def name_of(pointer: CodePointer) -> str:
    """Returns the display name of a code location: its file or module, with the attribute it is
    read from.
    """
    if isinstance(pointer, CustomPointer):
        return name_of(pointer.reconstructor_pointer)
    place = getattr(pointer, "python_file", None) or getattr(pointer, "module", None)
    attribute = getattr(pointer, "fn_name", None) or getattr(pointer, "attribute", None)
    if place is None:
        return pointer.describe()
    return f"{place}:{attribute}" if attribute else str(place)


def is_allowed(pointer: CodePointer, patterns: Iterable[str]) -> bool:
    """Returns whether ``allow_locations`` names the pointer's file or module; empty allows all.

    A ``CustomPointer`` calls a function of its choice, so no list of locations covers it.
    """
    patterns = list(patterns)
    if not patterns:
        return True
    module = getattr(pointer, "module", None)
    if isinstance(module, str):
        return any(fnmatch.fnmatchcase(module, p) for p in patterns if not _is_file_glob(p))
    file = getattr(pointer, "python_file", None)
    if not isinstance(file, str):
        return False
    path = os.path.join(getattr(pointer, "working_directory", None) or os.getcwd(), file)
    # The target of a ".." depends on symbolic links, so only the resolved path is reliable.
    written = [] if ".." in path.split(os.sep) else [os.path.abspath(path)]
    names = [*written, os.path.realpath(path)]
    globs = [_file_pattern(pattern) for pattern in patterns if _is_file_glob(pattern)]
    return any(glob.fullmatch(name) for glob in globs for name in names)


def _is_file_glob(pattern: str) -> bool:
    return os.sep in pattern or pattern.endswith(".py")


def _file_pattern(pattern: str) -> "re.Pattern[str]":
    """Compiles a glob over absolute paths: ``*`` stays within a folder, ``**`` spans any number."""
    parts = os.path.abspath(os.path.expanduser(pattern)).split(os.sep)
    text = ""
    for part in parts[1:]:
        if part == "**":
            text += "(?:/[^/]+)*"
        else:
            text += "/" + "".join(_translated(character) for character in part)
    return re.compile(text)


def _translated(character: str) -> str:
    return {"*": "[^/]*", "?": "[^/]"}.get(character) or re.escape(character)


def _pointer(origin: JobPythonOrigin | None) -> CodePointer | None:
    return origin.repository_origin.code_pointer if origin is not None else None


def _described(pointer: CodePointer | None) -> str:
    if pointer is None:
        return "none"
    folder = getattr(pointer, "working_directory", None)
    return f"{name_of(pointer)} in {folder}" if folder else name_of(pointer)


def _unpacked(packed: Any, expected: type) -> Any:
    """Unpacks a value of a message; None if it is absent or invalid.

    An invalid value is refused where the message is unpacked as a whole.
    """
    if packed is None:
        return None
    try:
        return unpack_value(packed, as_type=expected)
    except Exception:
        return None
