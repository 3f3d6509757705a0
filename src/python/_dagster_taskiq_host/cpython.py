"""Everything that needs private names of CPython.

A forked child forgets what only its host may do or finish, and a process ends like an ordinary one.
``tests/python/test_contract.py`` checks that every name exists.
"""

import asyncio
import atexit
import contextlib
import logging
import os
import queue
import selectors
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import thread as executor_threads
from typing import Any

Loop = asyncio.selector_events.BaseSelectorEventLoop


def forget_exit_handlers() -> None:
    """Drops the exit handlers and finalizers registered so far: they belong to the host.

    ``multiprocessing`` does the same in the children it forks. Those that flush are kept.
    """
    atexit._clear()
    atexit.register(logging.shutdown)
    finalize: Any = weakref.finalize
    for entry in list(finalize._registry.values()):
        entry.atexit = False
    if finalize._registered_with_atexit:
        atexit.register(finalize._exitfunc)
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        atexit.register(util._exit_function)


def forget_processes() -> None:
    """Makes ``multiprocessing`` treat this process as one that has started none yet."""
    util = sys.modules.get("multiprocessing.util")
    if util is None:
        return
    util._finalizer_registry.clear()
    util._run_after_forkers()
    sys.modules["multiprocessing.process"]._children = set()
    forkserver = sys.modules.get("multiprocessing.forkserver")
    if forkserver is not None:
        server = forkserver._forkserver
        server._forkserver_address = server._forkserver_alive_fd = server._forkserver_pid = None


def revive_executor(executor: ThreadPoolExecutor) -> None:
    """Gives an executor whose threads are missing in this process new ones at its next task."""
    executor._shutdown_lock = threading.Lock()
    executor._work_queue = queue.SimpleQueue()
    executor._idle_semaphore = threading.Semaphore(0)
    executor._threads.clear()


def forget_executor_threads() -> None:
    """Drops the list of threads that are joined at the end of the process."""
    executor_threads._threads_queues.clear()


def idle_executor_threads(executors: Iterable[ThreadPoolExecutor]) -> set[threading.Thread]:
    """Returns the idle threads of executors."""
    return {
        thread
        for executor in executors
        if executor._work_queue.empty()
        and executor._idle_semaphore._value >= len(executor._threads)
        for thread in executor._threads
    }


def revive_loop(loop: Loop) -> None:
    """Gives an event loop its own selector and wake-up pipe: the kernel shares those of the host
    among all of its children.
    """
    if loop.is_closed():
        return
    loop._selector.close()
    loop._selector = selectors.DefaultSelector()
    loop._ssock.close()
    loop._csock.close()
    loop._internal_fds -= 1
    loop._make_self_pipe()


def loop_of_policy(policy: Any) -> asyncio.AbstractEventLoop | None:
    """Returns the loop that is set for this thread, without creating one."""
    local = getattr(policy, "_local", None)
    return getattr(local, "_loop", None)


def join_threads() -> None:
    """Waits for executors and threads, as a process does before its exit handlers run."""
    threading._shutdown()


def end(code: int, last: Callable[[], None]) -> None:
    """Ends a forked child like an ordinary Python process: threads, exit handlers, streams.

    ``sys.exit`` is not used: it would unwind through the host's frames.
    """
    try:
        with _reported():
            join_threads()
        with _reported():
            atexit._run_exitfuncs()
        last()
    finally:
        os._exit(code)


@contextlib.contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except BaseException:
        sys.excepthook(*sys.exc_info())


@contextlib.contextmanager
def watched_seeds(note: Callable[[Any, Any], None]) -> Iterator[None]:
    """Calls ``note`` with every ``random.Random`` seeded in the block, and with its seed."""
    import random

    original_method, original_function = random.Random.seed, random.seed

    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        note(self, a)
        original_method(self, a, version)

    def module_seed(a: Any = None, version: int = 2) -> None:
        note(random._inst, a)
        original_function(a, version)

    random.Random.seed = seed  # type: ignore[method-assign]
    random.seed = module_seed
    try:
        yield
    finally:
        random.Random.seed = original_method  # type: ignore[method-assign]
        random.seed = original_function


def shared_random() -> Any:
    """Returns the generator behind the functions of ``random``."""
    import random

    return random._inst
