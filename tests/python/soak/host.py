"""One host of the soak: the first process of a process-id namespace, where root runs the soak.

It keeps workers running as an init system does. Only the namespace has its
host name. Arguments: the host's name, and a JSON list with the command of each worker.
"""

import json
import os
import socket
import subprocess
import sys
import time

#: Seconds before a worker that ended is started again.
PAUSE = 0.5


def main() -> None:
    """Keep the workers until this process is killed."""
    name, commands = sys.argv[1], json.loads(sys.argv[2])
    if os.getpid() == 1:
        socket.sethostname(name)
    workers: dict[int, subprocess.Popen[bytes]] = {}
    due = [(0.0, number) for number in range(len(commands))]
    while True:
        for number, worker in list(workers.items()):
            if worker.poll() is not None:
                del workers[number]
                due.append((time.monotonic() + PAUSE, number))
        reap_orphans({worker.pid for worker in workers.values()})
        for item in [item for item in due if item[0] <= time.monotonic()]:
            due.remove(item)
            workers[item[1]] = subprocess.Popen(commands[item[1]])
        time.sleep(0.1)


def reap_orphans(workers: set[int]) -> None:
    """Take the status of ended children that are no workers: of whatever lost its own parent."""
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or found.si_pid in workers:
            return
        os.waitpid(found.si_pid, 0)


if __name__ == "__main__":
    main()
