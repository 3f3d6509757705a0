"""Hosts of their own, as network and process-id namespaces of this machine.

A worker on one is process 1 there, has a host name of the test's choice, and reaches the servers of
the test, which listen on 127.0.0.1, through a cable that the test can pull: neither side then hears
anything of the other, not even its end. Only root can make one.
"""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from conftest import own_binary, wait_for
from fleet import Fleet

NETWORK = "10.213.0.0/16"
TOOLS = ("unshare", "nsenter", "ip", "iptables")

_numbers = itertools.count(1)


def missing() -> str | None:
    """Why there can be no such hosts here; None where there can."""
    lacking = [tool for tool in TOOLS if shutil.which(tool) is None]
    if lacking:
        return f"not installed: {', '.join(lacking)}"
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    tried = subprocess.run(
        [
            "unshare",
            "--pid",
            "--net",
            "--uts",
            "--mount-proc",
            "--fork",
            "iptables",
            "-t",
            "nat",
            "-L",
        ],
        capture_output=True,
        text=True,
    )
    return None if tried.returncode == 0 else f"no namespaces: {tried.stderr.strip()}"


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stderr}"


@dataclass
class Host:
    """A host with a worker. It begins with :meth:`boot`, and may boot again after its end."""

    fleet: Fleet
    hostname: str
    worker: str
    ports: list[int]
    folder: Path
    arguments: list[str] = field(default_factory=list)
    number: int = field(default_factory=lambda: os.getpid() % 200 * 16 + next(_numbers))
    process: "subprocess.Popen[Any] | None" = None
    boots: int = 0

    @property
    def cable(self) -> str:
        """The interface of this machine that leads to the host."""
        return f"dtq{self.number}"

    @property
    def addresses(self) -> tuple[str, str]:
        """This machine's and the host's."""
        start = self.number * 4
        prefix = f"10.213.{start // 256 % 256}"
        return f"{prefix}.{start % 256 + 1}", f"{prefix}.{start % 256 + 2}"

    def boot(self) -> None:
        """Start the host, and the worker as its process 1; waits until it is ready."""
        self.boots += 1
        script = 'hostname "$1"; shift; read _ < "$1"; shift; exec "$@"'
        plugged = self.folder / f"{self.cable}-{self.boots}"
        os.mkfifo(plugged)
        worker = [own_binary(), "worker", "start", "--name", self.worker]
        worker += ["--python", sys.executable, "-y", str(self.fleet.folder / "worker.yaml")]
        worker += ["--runtime-dir", str(self.folder), "--log-dir", str(self.folder)]
        shell = ["sh", "-c", script, "sh", self.hostname, str(plugged)]
        namespaces = ["unshare", "--pid", "--net", "--uts", "--mount-proc", "--fork"]
        self.process = self.fleet.start(
            [*namespaces, *shell, *worker, *self.arguments], self._log_name
        )
        first = wait_for(self._children, "the host's first process")[0]
        self._plug_in(first)
        plugged.write_text("\n")
        wait_for(self._is_ready, "the host's worker", 90)

    def _is_ready(self) -> bool:
        log = self.fleet.log_of(self._log_name)
        assert self.process is not None
        assert self.process.poll() is None, log
        return f"worker {self.worker} ready" in log

    @property
    def _log_name(self) -> str:
        return f"{self.cable}-{self.boots}"

    def _children(self) -> list[int]:
        assert self.process is not None
        pid = self.process.pid
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def _plug_in(self, pid: int) -> None:
        here, there = self.addresses
        inside = ("nsenter", "-t", str(pid), "-n")
        _run(
            "ip",
            "link",
            "add",
            self.cable,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            str(pid),
        )
        _run("ip", "addr", "add", f"{here}/30", "dev", self.cable)
        _run("ip", "link", "set", self.cable, "up")
        _run(*inside, "ip", "link", "set", "lo", "up")
        _run(*inside, "ip", "addr", "add", f"{there}/30", "dev", "eth0")
        _run(*inside, "ip", "link", "set", "eth0", "up")
        # A connection to 127.0.0.1 on the host is one to 127.0.0.1 of this machine.
        Path(f"/proc/sys/net/ipv4/conf/{self.cable}/route_localnet").write_text("1")
        _run(*inside, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet")
        nat = ("iptables", "-w", "-t", "nat")
        _run(*inside, *nat, "-A", "POSTROUTING", "-o", "eth0", "-j", "MASQUERADE")
        for port in self.ports:
            target = ("-p", "tcp", "--dport", str(port), "-j", "DNAT", "--to-destination")
            _run(*inside, *nat, "-A", "OUTPUT", "-d", "127.0.0.1", *target, f"{here}:{port}")
        self._rules("-A")

    def _rules(self, what: str) -> None:
        for port in self.ports:
            match = ("-i", self.cable, "-p", "tcp", "--dport", str(port))
            target = ("-j", "DNAT", "--to-destination", f"127.0.0.1:{port}")
            _run("iptables", "-w", "-t", "nat", what, "PREROUTING", *match, *target)

    def pids(self) -> list[int]:
        """Its processes, as this machine numbers them."""
        own = os.readlink(f"/proc/{self._children()[0]}/ns/pid")
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.readlink(folder / "ns" / "pid") == own:
                    found.append(int(folder.name))
        return found

    def pull(self) -> None:
        """Pull the cable: what is sent is lost, and nobody is told."""
        _run("ip", "link", "set", self.cable, "down")

    def plug(self) -> None:
        """Put the cable back."""
        _run("ip", "link", "set", self.cable, "up")

    def stop_processes(self) -> None:
        """Stop all of its processes; its kernel still answers for their connections."""
        for pid in self.pids():
            os.kill(pid, signal.SIGSTOP)

    def freeze(self) -> None:
        """Stop all of its processes, and the network with them, as a paused machine does."""
        self.pull()
        self.stop_processes()

    def thaw(self) -> None:
        """Go on where it was."""
        self.plug()
        for pid in self.pids():
            os.kill(pid, signal.SIGCONT)

    def vanish(self) -> None:
        """End it without a word to anybody, as a power cut does."""
        self.pull()
        self.kill()

    def kill(self) -> None:
        """End all of its processes at once; its kernel closes their connections."""
        if self.process is None:
            return
        with contextlib.suppress(IndexError, ProcessLookupError, FileNotFoundError):
            os.kill(self._children()[0], signal.SIGKILL)
        self.process.wait(30)
        self.unplug()

    def unplug(self) -> None:
        """Take the cable away."""
        if Path(f"/sys/class/net/{self.cable}").exists():
            with contextlib.suppress(AssertionError):
                _run("ip", "link", "del", self.cable)
        deadline = time.monotonic() + 10
        while Path(f"/sys/class/net/{self.cable}").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        with contextlib.suppress(AssertionError):
            self._rules("-D")


def skip_without_hosts() -> None:
    """Say so where there can be no hosts."""
    why = missing()
    if why is not None:
        pytest.skip(f"hosts that vanish were not tested: {why}")
