"""Definitions whose import says in a folder that it is under way, and waits there."""

import os
import time
from pathlib import Path

from jobs import defs  # noqa: F401 - what the code pointer names

folder = Path(os.environ["DAGSTER_HOME"], "importing")
folder.mkdir(exist_ok=True)
(folder / str(os.getpid())).touch()
while not (folder / "go").exists():
    time.sleep(0.02)
