"""A real MySQL-compatible server on a free port of this machine, ended with the tests.

The binaries are those of Debian's ``mariadb-server`` or of MySQL itself, wherever they are
installed; nothing is started that the tests do not own.
"""

import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from servers import UNPRIVILEGED, NoServer, as_unprivileged, free_port, open_to

#: Servers are not on everybody's PATH.
_PLACES = os.pathsep.join(
    [os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/usr/libexec"]
)


def _find(*names: str) -> str | None:
    return next((found for name in names if (found := shutil.which(name, path=_PLACES))), None)


@dataclass
class MySql:
    """A server that can be killed and started again on the same port and data."""

    CRASH: ClassVar = signal.SIGKILL

    folder: Path
    binary: str
    port: int
    process: "subprocess.Popen[Any] | None" = None

    @classmethod
    def start(cls, folder: Path) -> "MySql":
        """Make a data folder in a new folder and serve it.

        Raises:
            NoServer: no server is installed.

        """
        binary = _find("mariadbd", "mysqld")
        if binary is None:
            raise NoServer("neither mariadbd nor mysqld is installed (apt install mariadb-server)")
        folder.mkdir()
        server = cls(folder, binary, free_port())
        open_to(UNPRIVILEGED, folder)
        server._initialize()
        server.serve()
        server._run_sql("CREATE DATABASE IF NOT EXISTS dagster")
        return server

    @property
    def url(self) -> str:
        """SQLAlchemy's URL of the server's database."""
        return f"mysql+mysqlconnector://root@127.0.0.1:{self.port}/dagster"

    @property
    def dagster_storage(self) -> str:
        """The part of dagster.yaml that puts Dagster's storage into the server's database."""
        return f"storage: {{mysql: {{mysql_url: '{self.url}'}}}}\n"

    def serve(self) -> None:
        """Start the server and wait until it answers."""
        settings = [
            "--no-defaults",
            f"--datadir={self.folder / 'data'}",
            f"--socket={self.folder / 's'}",
            f"--pid-file={self.folder / 'pid'}",
            "--bind-address=127.0.0.1",
            f"--port={self.port}",
            # Whoever runs it may log in: it listens on this machine alone, for the tests' time.
            "--skip-grant-tables",
            "--skip-networking=0",
            # Written at each commit, which outlives a killed server, but not synced to the disk.
            "--innodb-flush-log-at-trx-commit=2",
        ]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.binary, *settings],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **as_unprivileged(),
            )
        deadline = time.monotonic() + 90
        while not self._answers():
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.1)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the server; SIGKILL is a crash."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(60)
            self.process = None

    def _initialize(self) -> None:
        data = self.folder / "data"
        install = _find("mariadb-install-db", "mysql_install_db")
        if "mariadb" in self.binary and install:
            command = [install, "--no-defaults", f"--datadir={data}", "--skip-test-db"]
            command += ["--auth-root-authentication-method=normal"]
        else:
            command = [self.binary, "--no-defaults", f"--datadir={data}", "--initialize-insecure"]
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

    def _connection(self) -> Any:
        import mysql.connector

        return mysql.connector.connect(host="127.0.0.1", port=self.port, user="root")

    def _run_sql(self, statement: str) -> None:
        connection = self._connection()
        connection.cursor().execute(statement)
        connection.close()

    def _answers(self) -> bool:
        import mysql.connector

        try:
            self._connection().close()
        except mysql.connector.Error:
            return False
        return True
