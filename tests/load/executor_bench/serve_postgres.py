"""Serves PostgreSQL from a new folder until standard input ends.

Called with the folder and the names of the databases to make; prints the server's pid and port.
"""

import json
import signal
import sys
from pathlib import Path

import psycopg2

from postgres import Postgres


def main() -> None:
    # The end of standard input is what ends the server; a signal comes with it.
    signal.signal(signal.SIGTERM, lambda *_: None)
    server = Postgres.start(Path(sys.argv[1]))
    try:
        connection = psycopg2.connect(
            host="127.0.0.1", port=server.port, user="test", dbname="postgres"
        )
        connection.autocommit = True
        with connection.cursor() as cursor:
            for name in sys.argv[2:]:
                cursor.execute(f"CREATE DATABASE {name}")
        connection.close()
        process = server.process
        assert process is not None
        print(json.dumps({"pid": process.pid, "port": server.port}), flush=True)
        sys.stdin.read()
    finally:
        server.stop()


if __name__ == "__main__":
    main()
