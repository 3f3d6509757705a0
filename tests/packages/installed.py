"""What an installed package must do, run with the Python that it is installed in.

``installed.py [PROGRAM]``: PROGRAM is another binary than the one beside this Python. It serves the
embedded broker and a worker, and a run of a small project goes through both.
"""

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from dagster import DagsterInstance, execute_job, job, op, reconstructable

import _dagster_taskiq_host
import dagster_taskiq
from dagster_taskiq import taskiq_executor

BIN = Path(sys.executable).parent
DAGSTER_YAML = """\
telemetry: {enabled: false}
run_launcher: {module: dagster_taskiq, class: TaskiqRunLauncher}
"""


@op
def one() -> int:
    return 1


@op
def add_one(number: int) -> int:
    return number + 1


@job(executor_def=taskiq_executor)
def small() -> None:
    add_one(add_one(one()))


def output(*command: "str | Path") -> str:
    """Standard output of a command that succeeds."""
    words = [str(word) for word in command]
    return subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, timeout=120).stdout


@contextmanager
def running(announcement: str, *command: "str | Path") -> Iterator[str]:
    """A process, from its announcement to the end of the block; gives what follows in that line."""
    words = [str(word) for word in command]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if announcement in line:
                break
        else:
            raise SystemExit(f"{words} ended without {announcement!r}:\n{''.join(said)}")
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield line.partition(announcement)[2].strip()
    finally:
        process.terminate()
        process.wait(60)


def check_versions(program: Path) -> None:
    """The distribution, the package and the programs have one version."""
    version = metadata.version("dagster-taskiq-tui")
    assert dagster_taskiq.__version__ == version
    for package in (dagster_taskiq, _dagster_taskiq_host):
        assert Path(package.__file__ or "").is_relative_to(sys.prefix), package
    for name in (BIN / "dagster-taskiq-tui", BIN / "dagster-taskiq", program):
        assert output(name, "--version").split() == ["dagster-taskiq-tui", version], name


def check_run(program: Path, folder: Path) -> None:
    """A run's steps are executed by a worker, and doctor finds nothing that fails."""
    home = folder / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(DAGSTER_YAML)
    broker = [program, "broker", "serve", "--listen", "127.0.0.1:0"]
    broker += ["--data-dir", folder / "broker"]
    os.environ.update(
        DAGSTER_HOME=str(home),
        AWS_ACCESS_KEY_ID="test",
        AWS_SECRET_ACCESS_KEY="test",
        AWS_DEFAULT_REGION="us-east-1",
        XDG_STATE_HOME=str(folder / "state"),
        XDG_RUNTIME_DIR=str(folder),
    )
    worker = [program, "worker", "start", "--slots", "1", "--python", sys.executable]
    with running("endpoint: ", *broker) as endpoint:
        os.environ["DAGSTER_TASKIQ_SQS_ENDPOINT_URL"] = endpoint
        os.environ["DAGSTER_TASKIQ_SQS_QUEUE_URL"] = f"{endpoint}/000000000000/tasks"
        output(program, "queue", "create")
        with (
            running(" ready: ", *worker),
            DagsterInstance.get() as instance,
            execute_job(reconstructable(small), instance) as result,
        ):
            assert result.success
            assert result.output_for_node("add_one_2") == 3
            print(output(program, "doctor", "--python", sys.executable))


def main() -> None:
    program = Path(sys.argv[1]) if len(sys.argv) > 1 else BIN / "dagster-taskiq-tui"
    check_versions(program)
    with tempfile.TemporaryDirectory() as folder:
        check_run(program, Path(folder))
    print(f"installed and working: {program}")


if __name__ == "__main__":
    main()
