"""A real MySQL-compatible server on a free port of this machine, ended with the tests.

The binaries are those of Debian's ``mariadb-server`` or of MySQL itself, wherever they are
installed; nothing is started that the tests do not own.
"""

import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servers import UNPRIVILEGED, NoServer, Server, free_port, open_to

#: Servers are not on everybody's PATH.
_PLACES = os.pathsep.join(
    [os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/usr/libexec"]
)


def _find(*names: str) -> str | None:
    return next((found for name in names if (found := shutil.which(name, path=_PLACES))), None)


@dataclass
class MySql(Server):
    """MariaDB or MySQL; ``binary`` is the server's."""

    STOP = signal.SIGTERM
    CRASH = signal.SIGKILL

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
        server = cls(folder, Path(binary), free_port())
        open_to(UNPRIVILEGED, folder)
        server.run(server._initialization())
        server.serve()
        server._run_sql("CREATE DATABASE IF NOT EXISTS dagster")
        return server

    @property
    def url(self) -> str:
        return f"mysql+mysqlconnector://root@127.0.0.1:{self.port}/dagster"

    @property
    def dagster_storage(self) -> str:
        return f"storage: {{mysql: {{mysql_url: '{self.url}'}}}}\n"

    def command(self) -> list[Any]:
        return [
            self.binary,
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

    def answers(self) -> bool:
        import mysql.connector

        try:
            self._connection().close()
        except mysql.connector.Error:
            return False
        return True

    def _initialization(self) -> list[Any]:
        data = f"--datadir={self.folder / 'data'}"
        install = _find("mariadb-install-db", "mysql_install_db")
        if "mariadb" in self.binary.name and install:
            command = [install, "--no-defaults", data, "--skip-test-db"]
            return [*command, "--auth-root-authentication-method=normal"]
        return [self.binary, "--no-defaults", data, "--initialize-insecure"]

    def _connection(self) -> Any:
        import mysql.connector

        return mysql.connector.connect(host="127.0.0.1", port=self.port, user="root")

    def _run_sql(self, statement: str) -> None:
        connection = self._connection()
        connection.cursor().execute(statement)
        connection.close()
