"""What the tests' database servers have in common."""

import os
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

#: Database servers do not run as root; there, this user runs them.
UNPRIVILEGED = "nobody"


class NoServer(Exception):
    """No binaries were found; the text says which were looked for."""


@dataclass
class Server(ABC):
    """A server that can be stopped, killed and started again on the same port and data."""

    #: The signal that ends it in good order, and the one after which it has to recover.
    STOP: ClassVar[signal.Signals]
    CRASH: ClassVar[signal.Signals]

    folder: Path
    binary: Path
    port: int
    process: "subprocess.Popen[Any] | None" = None

    @property
    @abstractmethod
    def url(self) -> str:
        """SQLAlchemy's URL of the server's database."""

    @property
    @abstractmethod
    def dagster_storage(self) -> str:
        """The part of dagster.yaml that puts Dagster's storage into the server's database."""

    @abstractmethod
    def command(self) -> list[Any]:
        """What serves it."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it takes connections."""

    def serve(self) -> None:
        """Start the server and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **as_unprivileged(),
            )
        deadline = time.monotonic() + 90
        while not self.answers():
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.05)

    def stop(self, how: signal.Signals | None = None) -> None:
        """End the server, in good order unless another signal is named."""
        if self.process is not None:
            self.process.send_signal(how or self.STOP)
            self.process.wait(60)
            self.process = None

    def run(self, command: list[Any]) -> None:
        """Run one of the server's tools to its end."""
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            timeout=180,
            **as_unprivileged(),
        )
        assert done.returncode == 0, done.stdout


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
