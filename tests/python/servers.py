"""What the tests' database servers have in common."""

import os
import shutil
import socket
from pathlib import Path
from typing import Any

#: Database servers do not run as root; there, this user runs them.
UNPRIVILEGED = "nobody"


class NoServer(Exception):
    """No binaries were found; the text says which were looked for."""


def as_unprivileged() -> dict[str, Any]:
    """Arguments of ``subprocess`` for a server and its tools."""
    return {"user": UNPRIVILEGED} if os.geteuid() == 0 else {}


def open_to(user: str, folder: Path) -> None:
    """Where root runs the tests: gives a folder to the server's user, and the way to it."""
    if os.geteuid() != 0:
        return
    shutil.chown(folder, user)
    for parent in [folder, *folder.parents]:
        if parent.stat().st_uid == 0 and parent.is_relative_to("/tmp"):
            parent.chmod(parent.stat().st_mode | 0o011)
    folder.chmod(0o755)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
