"""Definitions that do at import what real code does, and checks of what a step then finds."""

import asyncio
import atexit
import contextvars
import gc
import locale
import logging
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
import weakref
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dagster import Definitions
from dagster._core.execution.plan.step import ExecutionStep

from _dagster_taskiq_host import memo
from isolation_shape import CHECKS, check_of, checks

try:
    import numpy as np
except ImportError:  # the checks that need it are not made then
    np = None  # type: ignore[assignment]

HERE = Path(os.environ["DAGSTER_HOME"])

TEMPORARY = tempfile.TemporaryDirectory()
FOLDER = tempfile.mkdtemp()
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


class Held:
    """Something with a finalizer."""


HELD = Held()
FINALIZED = HERE / f"finalized-{os.getpid()}"
weakref.finalize(HELD, FINALIZED.touch)
EXECUTOR = ThreadPoolExecutor(2)
EXECUTOR.submit(int).result()
RANDOM = random.Random()
SEEDED = random.Random(42)
if np is not None:
    NUMPY = np.random.default_rng()
    NUMPY_SEEDED = np.random.default_rng(42)
LOOP = asyncio.new_event_loop()
LOOP.run_until_complete(asyncio.sleep(0))
QUEUE: Any = multiprocessing.Queue()
BUFFERED = (HERE / f"buffered-{os.getpid()}").open("w")
BUFFERED.write("header\n")
SIGNALS: list[int] = []

PLANNED: list[int] = []
"""The processes that have made the plan of a whole job."""
_build_plan = memo._build_plan


def _counted(*args: Any, **kwargs: Any) -> Any:
    PLANNED.append(os.getpid())
    return _build_plan(*args, **kwargs)


memo._build_plan = _counted


def note_signal(signum: int, _: object) -> None:
    SIGNALS.append(signum)


signal.signal(signal.SIGUSR1, note_signal)


class Tee:
    """A stream with little more than ``write``, as tools put in the place of standard output."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        return self.stream.write(text)


COPY = os.fdopen(os.dup(1), "w", buffering=1)
logging.getLogger("old stream").addHandler(logging.StreamHandler(sys.stdout))
sys.stdout = Tee(sys.stdout)  # type: ignore[assignment]


@check_of
def pid() -> int:
    return os.getpid()


@check_of
def makes_a_plan_of_its_own() -> bool:
    return os.getpid() in PLANNED


@check_of
def looks_at_the_plan_when_it_collects() -> bool:
    return any(type(found) is ExecutionStep for found in gc.get_objects())


@check_of
def temporary_folders_are_there() -> list[bool]:
    return [Path(TEMPORARY.name).is_dir(), Path(FOLDER).is_dir(), not FINALIZED.exists()]


@check_of
def register_exit_handlers(name: str) -> bool:
    atexit.register((HERE / f"{name}-atexit").touch)
    held = Held()
    weakref.finalize(held, (HERE / f"{name}-finalize").touch)
    globals()[name] = held
    return True


@check_of
def executor_of_the_module() -> int:
    return sum(EXECUTOR.map(len, ["a", "bc"], timeout=30))


@check_of
def executor_that_is_left_open() -> int:
    globals()["left"] = executor = ThreadPoolExecutor(1)
    return executor.submit(len, "abc").result(30)


@check_of
def drawn() -> dict[str, float]:
    found = {"random": random.random(), "own": RANDOM.random(), "seeded": SEEDED.random()}
    if np is not None:
        found |= {
            "numpy": np.random.random(),
            "numpy own": NUMPY.random(),
            "numpy seeded": NUMPY_SEEDED.random(),
        }
    return found


@check_of
def seeds() -> bool:
    random.seed(1)
    if np is not None:
        np.random.seed(1)
    return True


@check_of
def prints() -> bool:
    print("by print")
    COPY.write("by a copy\n")
    logging.getLogger("old stream").warning("by a handler")
    subprocess.run(["echo", "by a program"], check=True)
    return True


@check_of
def loop_of_the_module() -> str:
    async def both() -> str:
        text = await asyncio.to_thread(str.upper, "loop")
        await asyncio.sleep(0.01)
        return text

    return LOOP.run_until_complete(both())


@check_of
def handlers_of_the_module() -> list[int]:
    os.kill(os.getpid(), signal.SIGUSR1)
    found = list(SIGNALS)
    SIGNALS.clear()
    return found


@check_of
def starts_processes(method: str) -> list[int]:
    context = multiprocessing.get_context(method)
    with context.Pool(1) as pool:
        found = pool.map(abs, [-1, -2])
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        found += [executor.submit(abs, -3).result(60)]
    process = context.Process(target=abs, args=(-1,))
    process.start()
    process.join()
    return [*found, process.exitcode, subprocess.run(["true"], check=False).returncode]


@check_of
def queue_of_the_module() -> str:
    QUEUE.put("through")
    return QUEUE.get(timeout=30)


@check_of
def writes_the_buffered_file() -> str:
    BUFFERED.write("line\n")
    BUFFERED.flush()
    return BUFFERED.name


@check_of
def leaves_a_file_open(name: str) -> bool:
    globals()["open file"] = file = (HERE / name).open("w")
    file.write("written\n")
    return True


def state() -> dict[str, Any]:
    umask = os.umask(0)
    os.umask(umask)
    return {
        "folder": os.getcwd(),
        "variable": os.environ.get("LEAKED"),
        "path": "/leaked" in sys.path,
        "arguments": len(sys.argv),
        "umask": umask,
        "usr1": signal.getsignal(signal.SIGUSR1) is note_signal,
        "locale": locale.setlocale(locale.LC_ALL),
        "filters": len(warnings.filters),
        "recursion": sys.getrecursionlimit(),
        "level": logging.root.level,
        "handlers": len(logging.root.handlers),
        "context": CONTEXT.get(),
        "temporary": tempfile.gettempdir(),
        "alarm": signal.getitimer(signal.ITIMER_REAL)[0],
        "stdout": type(sys.stdout).__name__,
        "loop": has_loop(),
    }


CONTEXT = contextvars.ContextVar("CONTEXT", default="as loaded")


def has_loop() -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            asyncio.get_event_loop()
        except RuntimeError:
            return False
    return True


@check_of
def surroundings() -> dict[str, Any]:
    return state()


@check_of
def changes_everything() -> bool:
    before = state()
    os.chdir("/")
    os.environ["LEAKED"] = "yes"
    sys.path.append("/leaked")
    sys.argv.append("leaked")
    os.umask(0o007)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    names = [locale.setlocale(locale.LC_ALL), "C.UTF-8", "C"]
    locale.setlocale(locale.LC_ALL, next(name for name in names[1:] if name != names[0]))
    warnings.simplefilter("error")
    sys.setrecursionlimit(sys.getrecursionlimit() + 500)
    logging.root.setLevel(logging.DEBUG)
    logging.root.addHandler(logging.NullHandler())
    CONTEXT.set("changed")
    tempfile.tempdir = "/"
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 1000)
    sys.stdout = sys.__stdout__
    asyncio.run(asyncio.sleep(0))
    after = state()
    assert not [name for name in before if before[name] == after[name]], (before, after)
    return True


@check_of
def leaves_a_thread() -> int:
    gate = threading.Event()
    threading.Thread(target=gate.wait, args=(5,), name="left behind").start()
    return os.getpid()


@check_of
def leaves_a_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    globals()["process"] = process
    return process.pid


@check_of
def holds_memory() -> int:
    globals()["memory"] = b"x" * (256 * 1024 * 1024)
    return os.getpid()


@check_of
def descriptor_limit() -> int:
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


@check_of
def fails_with_a_bad_name() -> None:
    raise ValueError(f"no such file: {os.fsdecode(b'caf' + bytes([0xE9]))}")


@check_of
def fails_at_length() -> None:
    raise ValueError("x" * 1_000_000)


@check_of
def waits(name: str) -> int:
    (HERE / f"{name}-{os.getpid()}").touch()
    while not (HERE / "go").exists():
        time.sleep(0.02)
    return os.getpid()


assert set(CHECKS) >= {"pid", "surroundings"}
defs = Definitions(jobs=[checks])
