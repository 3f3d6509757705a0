"""What a Taskiq message's ``kwargs`` ask for. Unpacking is Dagster's own (``dagster._serdes``)."""

from dataclasses import dataclass
from typing import Any

from dagster._core.instance import InstanceRef
from dagster._core.origin import RepositoryPythonOrigin
from dagster._grpc.types import ExecuteRunArgs, ExecuteStepArgs, ResumeRunArgs
from dagster._serdes import unpack_value

EXECUTE_PLAN = "execute_plan"
EXECUTE_JOB = "execute_job"
RESUME_JOB = "resume_job"

_PACKED = {
    EXECUTE_PLAN: ("execute_step_args_packed", ExecuteStepArgs),
    EXECUTE_JOB: ("execute_job_args_packed", ExecuteRunArgs),
    RESUME_JOB: ("resume_job_args_packed", ResumeRunArgs),
}


class Undecodable(Exception):
    """The message does not hold what its task name promises."""


@dataclass(frozen=True)
class Task:
    """One message, unpacked, with what the worker knows of its delivery."""

    kind: str
    args: Any
    attempt: int
    """Total attempt of the step, from 1. Runs have none and carry 1."""
    receive_count: int
    message_id: str
    queue: str
    worker: dict[str, str]
    lost: dict[str, Any]
    """What to do about a lost worker: ``{"policy": "retry" | "fail", "max": 2}``."""
    max_deliveries: int
    """Executions without an end after which it is not run again; 0: no limit."""
    reload: bool = False
    """Whether code that lacks what the run needs is loaded again first."""

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
        """Whether it was received often enough for its executions to be worth counting."""
        return 0 < self.max_deliveries < self.receive_count

    @property
    def instance_ref(self) -> InstanceRef | None:
        return self.args.instance_ref

    @property
    def retries_disabled(self) -> bool:
        return bool(self.is_step and self.args.retry_mode and self.args.retry_mode.disabled)


def unpack(frame: dict[str, Any]) -> Task:
    """Reads a ``step`` or ``run`` frame."""
    kind = frame["task"]
    name, expected = _PACKED[kind]
    try:
        args = unpack_value(frame["kwargs"][name], as_type=expected)
    except Exception as error:
        raise Undecodable(f"{kind}: {name} cannot be read: {error}") from error
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
        reload=frame.get("reload", False),
    )


def unpack_origin(packed: Any) -> RepositoryPythonOrigin:
    """The code location of a ``load`` frame; its executable is never run."""
    return unpack_value(packed, as_type=RepositoryPythonOrigin)
