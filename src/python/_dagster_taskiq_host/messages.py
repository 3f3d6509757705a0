"""The content of a Taskiq message's ``kwargs``. Unpacking is Dagster's own (``dagster._serdes``).

A message is data, and its sender may be hostile: names of files in Dagster's storage (run ids, step
keys, the outputs of earlier steps) are checked here before they are used.
"""

import base64
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from dagster._core.instance import InstanceRef
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._grpc.types import ExecuteRunArgs, ExecuteStepArgs, ResumeRunArgs
from dagster._serdes import unpack_value

from .code_origin import Policy, shown

EXECUTE_PLAN = "execute_plan"
EXECUTE_JOB = "execute_job"
RESUME_JOB = "resume_job"

_PACKED = {
    EXECUTE_PLAN: ("execute_step_args_packed", ExecuteStepArgs),
    EXECUTE_JOB: ("execute_job_args_packed", ExecuteRunArgs),
    RESUME_JOB: ("resume_job_args_packed", ResumeRunArgs),
}


_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")
"""Pattern of run ids. Dagster's are UUIDs; one run's events are in a database file of this name."""

_LONGEST_NAME = 2048
"""Maximum number of characters of a step key or output name."""

_LARGEST_STATE = 64 * 1024 * 1024
"""Maximum size in bytes of a known state that was sent compressed. 5,000 outputs to collect make
0.6 MB.
"""

_UNSAFE = re.compile(r"[/\\\x00-\x1f\x7f]|^\.\.?$")
"""Parts of a path that would lead out of a folder."""


class Undecodable(Exception):
    """The message lacks what its task name requires."""


@dataclass(frozen=True)
class Task:
    """One message, unpacked, with the worker's data on its delivery."""

    kind: str
    args: Any
    attempt: int
    """Total attempt of the step, from 1. Runs have none and carry 1."""
    receive_count: int
    message_id: str
    queue: str
    worker: dict[str, str]
    lost: dict[str, Any]
    """Policy for a lost worker: ``{"policy": "retry" | "fail", "max": 2}``."""
    max_deliveries: int
    """Maximum number of executions without an end; 0: no limit."""
    policy: Policy = field(default_factory=Policy)
    """Policy for code that may be loaded."""
    reload: bool = False
    """Whether code that lacks something the run needs is loaded again first."""

    @property
    def run_id(self) -> str:
        return self.args.run_id

    @property
    def is_step(self) -> bool:
        return self.kind == EXECUTE_PLAN

    @property
    def step_key(self) -> str | None:
        if not self.is_step:
            return None
        keys = self.args.step_keys_to_execute
        return keys[0] if keys else None

    @property
    def may_be_poison(self) -> bool:
        """Returns whether it was received often enough for its executions to be worth counting."""
        return 0 < self.max_deliveries < self.receive_count

    @property
    def instance_ref(self) -> InstanceRef | None:
        return self.args.instance_ref

    @property
    def job_origin(self) -> JobPythonOrigin:
        """The code that the message names; only compared."""
        return self.args.job_origin

    @property
    def retries_disabled(self) -> bool:
        return bool(self.is_step and self.args.retry_mode and self.args.retry_mode.disabled)


def unpack(frame: dict[str, Any]) -> Task:
    """Reads a ``step`` or ``run`` frame."""
    kind = frame["task"]
    name, expected = _PACKED[kind]
    try:
        packed = expanded(frame["kwargs"][name])
        args: Any = unpack_value(packed, as_type=expected)
    except Exception as error:
        raise Undecodable(shown(f"{kind}: {name} cannot be read: {error}")) from error
    _check_names(kind, args, packed)
    if kind == EXECUTE_PLAN and len(args.step_keys_to_execute or []) != 1:
        raise Undecodable("execute_plan: the message must name exactly one step")
    attempt = frame["attempt"]
    if kind == EXECUTE_PLAN and attempt == 0:
        previous = args.known_state.previous_retry_attempts if args.known_state else {}
        attempt = previous.get(args.step_keys_to_execute[0], 0) + 1
    return Task(
        kind=kind,
        args=args,
        attempt=attempt or 1,
        receive_count=frame["receive_count"],
        message_id=frame["message_id"],
        queue=frame["queue"],
        worker=frame["worker"],
        lost=frame["lost"],
        max_deliveries=frame["max_deliveries"],
        policy=Policy.read(frame),
        reload=frame.get("reload", False),
    )


def expanded(packed: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments with a readable known state: a large one is sent compressed."""
    state = packed.get("known_state")
    if not isinstance(state, dict) or set(state) != {"zlib"}:
        return packed
    expander = zlib.decompressobj()
    text = expander.decompress(base64.b64decode(state["zlib"], validate=True), _LARGEST_STATE)
    if not expander.eof:
        raise ValueError(f"its known state is cut short, or larger than {_LARGEST_STATE} bytes")
    return {**packed, "known_state": json.loads(text)}


def _check_names(kind: str, args: Any, packed: dict[str, Any]) -> None:
    """Refuses names that would lead out of the folders of their run."""
    if not _RUN_ID.fullmatch(args.run_id):
        raise Undecodable(f"{kind}: {args.run_id[:100]!r} is not a run id")
    if kind != EXECUTE_PLAN:
        return
    for text in [*(args.step_keys_to_execute or []), *_texts(packed.get("known_state"))]:
        if len(text) > _LONGEST_NAME or _UNSAFE.search(text):
            raise Undecodable(f"{kind}: {text[:100]!r} is not the name of a step or output")


def _texts(packed: Any) -> Iterator[str]:
    """Yields every text in a packed value, keys included, except the versions that users give
    outputs.
    """
    pending = [packed]
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            pending += value
        elif isinstance(value, dict):
            pending += value
            pending += [item for key, item in value.items() if key != "version"]


def unpack_origin(packed: Any) -> RepositoryPythonOrigin:
    """Returns the code location of a ``load`` frame; its executable is never run."""
    return unpack_value(packed, as_type=RepositoryPythonOrigin)
