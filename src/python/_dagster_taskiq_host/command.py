"""The command ``dagster-taskiq``: the program ``dagster-taskiq-tui`` under its older name.

It is installed by ``wheel/scripts/dagster-taskiq``, as a wheel that has a program cannot have entry
points. It is here and not in ``dagster_taskiq``, whose import imports Dagster.
"""

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

PROGRAM = "dagster-taskiq-tui"
VARIABLE = "DAGSTER_TASKIQ_TUI"
"""Names the program where it is neither beside this command nor on PATH."""


def main() -> str:
    """Become the program, with the same arguments: signals and exit codes are the program's.

    Returns:
        Why there is no program to become.

    """
    program = find_program()
    if program is None:
        return (
            f"{PROGRAM} is neither beside dagster-taskiq nor on PATH: install the package"
            f" {PROGRAM}, or name the program in {VARIABLE}"
        )
    try:
        os.execv(program, ["dagster-taskiq", *sys.argv[1:]])
    except OSError as error:
        return (
            f"cannot run {program}: {error.strerror}; check {VARIABLE} or install {PROGRAM} again"
        )


def find_program() -> str | None:
    """The program's path: the variable's, beside this command, or on ``PATH``."""
    named = os.environ.get(VARIABLE)
    if named:
        return named
    return next((str(path) for path in _beside() if os.access(path, os.X_OK)), None) or (
        shutil.which(PROGRAM)
    )


def _beside() -> Iterator[Path]:
    yield Path(sys.argv[0]).resolve().parent / PROGRAM
    yield Path(sysconfig.get_path("scripts")) / PROGRAM
