"""The work of a process on one task, from its message to its outcome."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from dagster import DagsterInstance
from dagster._utils.hosted_user_process import recon_repository_from_origin
from dagster._utils.interrupts import capture_interrupts

from . import connections, memo, outcomes, rehearsal, storage_away
from .compute_logs import use_direct_logs
from .frames import encode
from .inheritance import Inheritance
from .messages import Task, Undecodable, unpack, unpack_origin
from .outcomes import Notify, Outcome
from .redaction import print_exc
from .runs import run_run
from .steps import run_step

EXIT_RAISED = 1

Body = Callable[[DagsterInstance, Task, Notify], Outcome]


def load(instance: DagsterInstance, origin: Any) -> None:
    """Loads the code of a ``load`` frame, with the variables that Dagster's code servers set.

    Settings for a single location of the workspace are set with its runs, because only they name
    the location. Without an origin no code is kept loaded, and each task loads its own.
    """
    if origin is not None:
        instance.inject_env_vars(None)
        recon_repository_from_origin(unpack_origin(origin)).get_definition()


def perform(
    instance: DagsterInstance, frame: dict[str, Any], notify: Notify, inheritance: Inheritance
) -> int:
    """Runs the task of a ``step`` or ``run`` frame.

    Returns the exit code. The outcome is sent before: user code at exit can no longer change it.
    """
    connections.keep(instance)
    rehearsal.prepare(instance)
    storage_away.be_patient(instance)
    memo.install()
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:  # user code may have replaced it by any object
        reconfigure(line_buffering=True)
    with _as_it_was(instance), _as_it_was(instance.compute_log_manager):
        use_direct_logs(
            instance,
            lambda stream, path: notify({"kind": "log_file", stream: path}),
            inheritance.redirect,
        )
        try:
            task = unpack(frame)
        except Undecodable as error:
            notify({"kind": "outcome", **outcomes.unrunnable(str(error))})
            return 0
        body = run_step if task.is_step else run_run
        # As in ``dagster api``: interrupts are raised where Dagster is prepared for them.
        with capture_interrupts():
            outcome = _perform(body, instance, task, notify)
    notify({"kind": "outcome", **outcome})
    return EXIT_RAISED if outcome["outcome"] == "raised" else 0


def _perform(body: Body, instance: DagsterInstance, task: Task, notify: Notify) -> Outcome:
    """Runs the task; an outage of the storage ends neither step nor run."""
    begun = False

    def note(item: dict[str, Any]) -> None:
        nonlocal begun
        begun = begun or item["kind"] == "begun"
        notify(item)

    try:
        outcome = body(instance, task, note)
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        if begun and storage_away.gave_up() is None:
            raise
        print_exc()
        return outcomes.interrupted(reason) if begun else outcomes.not_started(reason)
    why = storage_away.gave_up()
    if outcome["outcome"] == "raised" and why is not None:
        # A run is resumed, a step is reported lost: neither has failed.
        return outcomes.interrupted(f"Dagster's storage did not answer: {why}")
    return outcome


@contextlib.contextmanager
def _as_it_was(target: Any) -> Iterator[None]:
    """Restores attributes of an object that were set for one task: the next in this process has its
    own.
    """
    before = dict(vars(target))
    try:
        yield
    finally:
        for name in vars(target).keys() - before.keys():
            delattr(target, name)


def to_pipe(fd: int) -> Notify:
    """Writes lines of JSON. The host reads all the time, so this cannot wait for long."""

    def notify(item: dict[str, Any]) -> None:
        data = encode(item) + b"\n"
        while data:
            data = data[os.write(fd, data) :]

    return notify
