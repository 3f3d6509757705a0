"""How a host decides whether the process that has loaded the code may be forked."""

import inspect
import socket
import threading
from pathlib import Path

import pytest

from step_host import fresh_home, step_host


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory):
    """A TCP and a Unix server that take connections."""
    path = tmp_path_factory.mktemp("peer") / "peer.sock"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))
        unix.listen()
        yield tcp.getsockname()[1], path


def test_code_with_numpy_pandas_and_pyarrow_is_forked_and_computes(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    home = fresh_home(tmp_path / "home")
    with step_host(home, "scientific.py", isolation="auto") as host:
        assert (host.ready["isolation"], host.ready["kind"]) == ("fork", "ready"), host.ready
        tasks = [host.start("computes") for _ in range(3)]
        ended = [host.finish(task) for task in tasks]
        assert [end.status for end in ended] == ["STEP_SUCCESS"] * 3
        assert len({end.pid for end in ended}) == 3
        assert host.value("computes") == [80000.0, 4.0, 499500.0]


@pytest.mark.parametrize(
    ("leaves", "mode", "named"),
    [
        ("thread", "reuse", "the thread 'prices' of the module leaving"),
        ("timer", "reuse", "the thread 'Thread-"),
        ("busy executor", "reuse", "the thread 'ThreadPoolExecutor-0_0'"),
        ("connection", "reuse", "the connection to 127.0.0.1:{port} (leaving.CLIENT)"),
        ("unix connection", "reuse", "the connection to {socket} (leaving.CLIENT)"),
        ("database", "reuse", "own.db, which is open"),
        ("listener", "fork", ""),
        ("thread that ends", "fork", ""),
        ("thread that is started again", "fork", ""),
        ("a library of another version", "fork", ""),
    ],
)
def test_what_must_not_be_shared_is_named_and_the_rest_is_forked(
    leaves: str, mode: str, named: str, tmp_path: Path, peers, monkeypatch
) -> None:
    port, path = peers
    monkeypatch.setenv("DTQ_TEST_LEAVES", leaves)
    monkeypatch.setenv("DTQ_TEST_PORT", str(port))
    monkeypatch.setenv("DTQ_TEST_SOCKET", str(path))
    home = fresh_home(tmp_path / "home")
    with step_host(home, "leaving.py", isolation="auto", max_steps=10) as host:
        assert host.ready["isolation"] == mode, host.ready
        assert named.format(port=port, socket=path) in host.ready["why"], host.ready
        if leaves == "thread":
            assert host.value("pid") == host.value("pid")


def test_a_mode_that_is_configured_is_taken_and_what_speaks_against_it_is_said(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("DTQ_TEST_LEAVES", "thread")
    home = fresh_home(tmp_path / "home")
    with step_host(home, "leaving.py", isolation="fork") as host:
        assert host.ready["isolation"] == "fork"
        assert host.ready["why"].startswith("configured, although loading the code left the thread")
        assert host.value("pid") != host.value("pid")


def test_the_names_of_cpython_that_are_not_public_are_there() -> None:
    import asyncio
    import atexit
    import multiprocessing.forkserver
    import multiprocessing.process
    import multiprocessing.util
    import random
    import weakref
    from concurrent.futures import ThreadPoolExecutor, thread

    for owner, names in (
        (atexit, "_clear _run_exitfuncs"),
        (weakref.finalize, "_registry _registered_with_atexit _exitfunc"),
        (multiprocessing.util, "_exit_function _finalizer_registry _run_after_forkers"),
        (multiprocessing.process, "_children"),
        (multiprocessing.forkserver, "_forkserver"),
        (thread, "_threads_queues"),
        (threading, "_shutdown"),
        (random, "_inst"),
    ):
        assert not [name for name in names.split() if not hasattr(owner, name)], owner
    server = multiprocessing.forkserver._forkserver
    assert {"_forkserver_address", "_forkserver_alive_fd", "_forkserver_pid"} <= set(vars(server))
    with ThreadPoolExecutor(1) as executor:
        parts = {"_shutdown_lock", "_work_queue", "_idle_semaphore", "_threads"}
        assert parts <= set(vars(executor))
        assert isinstance(executor._idle_semaphore._value, int)
    loop = asyncio.new_event_loop()
    assert {"_selector", "_ssock", "_csock", "_internal_fds"} <= set(vars(loop))
    assert "_internal_fds += 1" in inspect.getsource(type(loop)._make_self_pipe)
    loop.close()
