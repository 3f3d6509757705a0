"""A control group with a memory limit, version 1 or 2, made and removed by a test."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path


class NoCgroup(Exception):
    """No control group with a memory limit can be made here; the text says what was tried."""


@dataclass(frozen=True)
class MemoryGroup:
    """The group's folder; processes join it by their pid, and their children with them."""

    folder: Path

    def join(self, pid: int) -> None:
        """Move a process into the group."""
        (self.folder / "cgroup.procs").write_text(str(pid))

    def kills(self) -> int:
        """How many processes of the group the kernel has killed for want of memory."""
        for name in ("memory.events", "memory.oom_control"):
            path = self.folder / name
            if path.exists():
                found = dict(line.split() for line in path.read_text().splitlines())
                return int(found.get("oom_kill", 0))
        return 0


@contextmanager
def memory_limit(size: int) -> Iterator[MemoryGroup]:
    """A group whose processes together get ``size`` bytes.

    Raises:
        NoCgroup: neither version's hierarchy is there and writable.

    """
    name = f"dagster-taskiq-test-{os.getpid()}"
    tried = []
    for parent, limit in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
        (Path("/sys/fs/cgroup") / _own_group(), "memory.max"),
    ):
        folder = parent / name
        try:
            if limit == "memory.max":
                if not (parent / "cgroup.subtree_control").exists():
                    continue
                with suppress(OSError):
                    (parent / "cgroup.subtree_control").write_text("+memory")
            folder.mkdir()
            (folder / limit).write_text(str(size))
        except OSError as error:
            tried.append(f"{folder}: {error.strerror}")
            with suppress(OSError):
                folder.rmdir()
            continue
        with suppress(OSError):
            # With swap the limit would only make things slow.
            (folder / "memory.swap.max").write_text("0")
        try:
            yield MemoryGroup(folder)
        finally:
            _remove(folder, parent)
        return
    raise NoCgroup("; ".join(tried) or "there is no /sys/fs/cgroup with a memory controller")


def _own_group() -> str:
    """This process's group in the version 2 hierarchy, relative to its root."""
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::"):
                return line[3:].strip().lstrip("/")
    return ""


def _remove(folder: Path, parent: Path) -> None:
    for pid in (folder / "cgroup.procs").read_text().split():
        with suppress(OSError):
            (parent / "cgroup.procs").write_text(pid)
    folder.rmdir()
