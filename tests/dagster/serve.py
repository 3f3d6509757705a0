"""Run a Dagster webserver until standard input ends, then remove what it wrote.

The test process holds the other end of standard input, so that the webserver ends with it,
however it ends.
"""

import os
import shutil
import signal
import subprocess
import sys


def main() -> int:
    """Serve the definitions file (argument 1) on a port (argument 2) from a home (argument 3)."""
    definitions, port, home = sys.argv[1:4]
    address = ["--host", "127.0.0.1", "--port", port]
    server = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "dagster_webserver",
            "--python-file",
            definitions,
            *address,
        ],
        env={**os.environ, "DAGSTER_HOME": home, "DAGSTER_DISABLE_TELEMETRY": "1"},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    sys.stdin.read()
    for sign, patience in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
        try:
            os.killpg(server.pid, sign)
            server.wait(patience)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
    shutil.rmtree(home, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
