"""Notices that the user's code has changed on disk since it was imported."""

import os
import sys
import sysconfig
import time

PERIOD = 1.0
"""Seconds between looks: a burst of steps must not stat hundreds of files each."""


class Sources:
    """The files of the currently loaded modules, without Python's and installed packages."""

    def __init__(self) -> None:
        self._files: dict[str, float] = {}
        self._looked = time.monotonic()
        installed = tuple({path + os.sep for path in sysconfig.get_paths().values()})
        for module in list(sys.modules.values()):
            file = getattr(module, "__file__", None)
            if not file or file.startswith(installed) or __package__ in file:
                continue
            modified = _modified(file)
            if modified is not None:
                self._files[file] = modified

    def changed(self) -> list[str]:
        """Returns the files that have another modification time now, or are gone."""
        now = time.monotonic()
        if now - self._looked < PERIOD:
            return []
        self._looked = now
        return [file for file, before in self._files.items() if _modified(file) != before]


def _modified(file: str) -> float | None:
    try:
        return os.stat(file).st_mtime
    except OSError:
        return None
