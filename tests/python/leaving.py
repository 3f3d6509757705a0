"""Definitions that leave something behind when they are loaded: what ``DTQ_TEST_LEAVES`` names."""

import os
import socket
import sqlite3
import sys
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dagster import Definitions

from isolation_shape import check_of, checks

LEAVES = os.environ["DTQ_TEST_LEAVES"]


def watch_prices() -> None:
    while True:
        time.sleep(0.05)


if LEAVES == "thread":
    threading.Thread(target=watch_prices, name="prices", daemon=True).start()
elif LEAVES == "timer":
    TIMER = threading.Timer(3600, watch_prices)
    TIMER.daemon = True
    TIMER.start()
elif LEAVES == "busy executor":
    EXECUTOR = ThreadPoolExecutor(1)
    GATE = threading.Event()
    EXECUTOR.submit(GATE.wait, 3)
elif LEAVES == "connection":
    CLIENT = socket.create_connection(("127.0.0.1", int(os.environ["DTQ_TEST_PORT"])))
elif LEAVES == "unix connection":
    CLIENT = socket.socket(socket.AF_UNIX)
    CLIENT.connect(os.environ["DTQ_TEST_SOCKET"])
elif LEAVES == "database":
    DATABASE = sqlite3.connect(Path(os.environ["DAGSTER_HOME"]) / "own.db")
    DATABASE.execute("CREATE TABLE IF NOT EXISTS t (x)")
elif LEAVES == "listener":
    LISTENER = socket.create_server(("127.0.0.1", 0))
elif LEAVES == "thread that ends":
    threading.Thread(target=time.sleep, args=(0.1,)).start()
elif LEAVES == "a library of another version":
    for name in ("dagster_taskiq", "dagster_taskiq.executor"):
        sys.modules[name] = types.ModuleType(name)


class Restarted:
    """A worker thread that its library starts again in a forked child, as OpenTelemetry does."""

    def __init__(self) -> None:
        self.start()
        os.register_at_fork(after_in_child=self.start)

    def start(self) -> None:
        threading.Thread(target=watch_prices, name="exporter", daemon=True).start()


if LEAVES == "thread that is started again":
    RESTARTED = Restarted()


@check_of
def pid() -> int:
    return os.getpid()


defs = Definitions(jobs=[checks])
