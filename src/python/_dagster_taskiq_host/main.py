"""Entry points: ``step`` and ``instance-agent`` exchange frames with the worker on standard input,
``warm`` with a step host.

Called as ``python -c <bootstrap> <folder of this package> <folder of dagster_taskiq> …``.
"""

import os
import signal
import socket
import sys
from importlib import metadata

from . import PROTOCOL, linux
from .frames import Channel, Frame

BOOTSTRAP = (
    "import sys; sys.path[0] = sys.argv[1]; from _dagster_taskiq_host.main import main; main()"
)
"""``-c`` puts the working directory first on the path; this package's folder takes its place."""


EXIT = 10
"""Maximum seconds for exit handlers and threads of user code when a step host ends."""


def main() -> None:
    """Dispatches on the third argument."""
    host_folder, library_folder, mode, *rest = sys.argv[1:]
    # Last on the path: packages that the user installed take precedence over those of the binary.
    sys.path.append(library_folder)
    bootstrap = [sys.executable, "-c", BOOTSTRAP, host_folder, library_folder]
    # User code that looks at its arguments finds a bare interpreter.
    sys.argv = [sys.argv[0]]
    if mode == "warm":
        _warm(int(rest[0]))
    elif mode == "instance-agent":
        _instance_agent(int(rest[0]))
    else:
        _step(int(rest[0]), bootstrap)


def _socket() -> socket.socket:
    """Takes the socket from standard input and puts ``/dev/null`` there instead."""
    own = os.dup(0)
    os.set_inheritable(own, False)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - open for the life of the process
    return socket.socket(fileno=own)


def _hello(channel: Channel) -> None:
    from .diagnostics import installed_library
    from .tested import installed_warning

    channel.send(
        {
            "kind": "hello",
            "protocol": PROTOCOL,
            "pid": os.getpid(),
            "python": sys.version.split()[0],
            "dagster": metadata.version("dagster"),
            "dagster_warning": installed_warning(),
            "dagster_taskiq": installed_library(),
        }
    )


def _step(parent: int, bootstrap: list[str]) -> None:
    # While user code is loaded there are no children, so the kernel may end this process at once.
    linux.die_with_parent(parent, signal.SIGKILL)
    linux.become_subreaper()
    channel = Channel(_socket())
    descriptors = linux.raise_descriptor_limit()
    from .step_host import StepHost

    _hello(channel)
    StepHost(channel, bootstrap, descriptors).run()
    # Exit handlers of user code run here, once: they remove what was created while it was loaded.
    # They may not keep the process.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(EXIT)
    sys.exit(0)


def _instance_agent(parent: int) -> None:
    linux.die_with_parent(parent, signal.SIGKILL)
    channel = Channel(_socket())
    try:
        import dagster  # noqa: F401
    except ImportError as error:
        channel.send({"kind": "load_error", "reason": f"{sys.executable} has no dagster: {error}"})
        return
    from . import instance_agent
    from .instances import InstanceUnusable, open_instance

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _hello(channel)
    request, *more = _first(channel)
    try:
        instance = open_instance(request["instance_ref"])
    except InstanceUnusable as error:
        channel.send({"kind": "load_error", "reason": str(error)})
        return
    channel.send({"kind": "ready", "load_ms": 0, "isolation": "", "why": ""})
    instance_agent.serve(channel, instance, more)


def _first(channel: Channel) -> list[Frame]:
    """Reads the first frames: what to load, and any frame that followed."""
    import select

    while True:
        select.select([channel], [], [])
        frames = channel.receive()
        if frames:
            return frames


def _warm(parent: int) -> None:
    linux.die_with_parent(parent, signal.SIGKILL)
    sock = _socket()
    from .warm import serve

    sys.exit(serve(sock))
