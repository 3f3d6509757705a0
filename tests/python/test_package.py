"""The package as a whole."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dagster_taskiq

ROOT = Path(__file__).parent.parent.parent


def test_the_package_has_the_version_of_the_binary() -> None:
    manifest = (ROOT / "Cargo.toml").read_text()
    found = re.search(r'^version = "(.*)"$', manifest, re.MULTILINE)
    assert found is not None
    assert dagster_taskiq.__version__ == found.group(1)


def test_the_changes_begin_with_this_version_or_what_is_not_released() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text()
    found = re.search(r"^## (\S+)", changes, re.MULTILINE)
    assert found is not None
    assert found.group(1) in ("Unreleased", dagster_taskiq.__version__)


def test_the_wheel_has_the_package_that_the_python_worker_shares_with_the_binary() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    found = re.search(r"^python-packages = (.*)$", project, re.MULTILINE)
    assert found is not None
    assert json.loads(found.group(1)) == ["dagster_taskiq", "_dagster_taskiq_host"]


def test_importing_the_package_imports_neither_boto3_nor_taskiq() -> None:
    """Every process of a user's code location pays for what the package imports."""
    code = "import sys, dagster_taskiq; print({'boto3', 'taskiq'} & set(sys.modules))"
    path = str(ROOT / "src" / "python")
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "set()"


def test_executor_and_launcher_run_without_an_event_loop() -> None:
    """Those of Taskiq's own side alone have one; nothing bridges the two."""
    package = ROOT / "src" / "python" / "dagster_taskiq"
    for path in package.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            imported = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if isinstance(node, ast.Import):
                imported = [alias.name for alias in node.names]
            assert not {name.split(".")[0] for name in imported} & {"asyncio", "nest_asyncio"}, path
            assert path.name == "app.py" or not isinstance(node, ast.AsyncFunctionDef), path


@pytest.mark.parametrize(
    "path",
    ["src/python/requirements.lock", "tests/requirements.lock", "tests/requirements-older.lock"],
)
def test_a_lock_names_exact_versions_and_no_index(path: str) -> None:
    for line in (ROOT / path).read_text().splitlines():
        assert re.match(r"^[a-z0-9-]+==[^ ]+( ; .*)?$", line), line
