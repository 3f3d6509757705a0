"""Definitions whose import starts a thread, as some client libraries do."""

import threading

from jobs import defs  # noqa: F401 - what the code pointer names

threading.Thread(target=threading.Event().wait, name="poller", daemon=True).start()
