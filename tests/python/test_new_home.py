"""A new ``DAGSTER_HOME`` on SQLite, which all processes of a worker open at once, and one that does
not open.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from _dagster_taskiq_host.instances import InstanceUnusable, open_instance

OPEN = """
import sys
from _dagster_taskiq_host.instances import open_instance

print("there", flush=True)
sys.stdin.readline()
open_instance(None).get_runs_count()
"""


def test_processes_that_open_a_new_home_together_leave_it_usable(tmp_path: Path) -> None:
    """Without a lock this failed each time: Dagster's own creation of databases has none."""
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN],
            env={**os.environ, "DAGSTER_HOME": str(tmp_path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(5)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60)[1] for process in processes]
    ends = [process.returncode for process in processes]
    assert ends == [0] * len(ends), said


def test_a_home_that_does_not_open_says_the_reason_beneath_dagsters_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster's is "Couldn't import module", and "too many retries" where a password is wrong."""
    storage = "{module: dagster_of_years_ago, class: Storage}"
    (tmp_path / "dagster.yaml").write_text(f"run_storage: {storage}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with pytest.raises(InstanceUnusable, match=r"\(ModuleNotFoundError: No module named 'dagster_"):
        open_instance(None)
