"""What of a message the Python side takes, its sender being hostile."""

import base64
import json
import os
import random
import zlib
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance
from dagster._core.code_pointer import CustomPointer, FileCodePointer, ModuleCodePointer
from dagster._core.execution.plan.state import KnownExecutionState
from dagster._core.execution.retries import RetryMode
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._grpc.types import ExecuteStepArgs
from dagster._serdes import pack_value

from _dagster_taskiq_host import code_origin, messages
from dagster_taskiq.python_worker.deliveries import Delivery, NotATask, reason_of, s3_object

HOSTILE = ["", "..", "../x", "/etc/x", "a/b", "a\\b", "a\x00b", "\x1b[31ma", "a\nb", "x" * 3000]


def frame(**changes: Any) -> dict[str, Any]:
    """A step's frame."""
    with DagsterInstance.ephemeral() as instance:
        origin = RepositoryPythonOrigin("python", FileCodePointer("/srv/jobs.py", "defs", "/srv"))
        args = ExecuteStepArgs(
            job_origin=JobPythonOrigin("job", origin),
            run_id="240c49eb-7926-48fc-be19-7cc7531b215e",
            step_keys_to_execute=["graph.op[a_1]"],
            instance_ref=None if instance.is_ephemeral else instance.get_ref(),
            retry_mode=RetryMode.DEFERRED,
            known_state=KnownExecutionState(dynamic_mappings={"fan": {"result": ["a_1"]}}),
        )
    return {
        "kind": "step",
        "id": "eb96854107aa4b3197362d2eff2b6d3a",
        "task": "execute_plan",
        "kwargs": {"execute_step_args_packed": {**pack_value(args), **changes}},
        "attempt": 1,
        "receive_count": 1,
        "message_id": "m",
        "queue": "q",
        "worker": {},
        "lost": {},
        "max_deliveries": 10,
        "policy": {"allow_locations": [], "trusts_message": False},
    }


def test_a_message_of_our_own_executor_is_taken() -> None:
    task = messages.unpack(frame())
    assert (task.step_key, task.attempt) == ("graph.op[a_1]", 1)


def compressed(text: str) -> dict[str, str]:
    return {"zlib": base64.b64encode(zlib.compress(text.encode())).decode()}


def test_a_state_that_travelled_compressed_is_read() -> None:
    task = messages.unpack(frame(known_state=compressed(json.dumps(frame_state()))))
    assert task.args.known_state == messages.unpack(frame()).args.known_state


def test_a_compressed_state_may_hold_no_more_than_another(monkeypatch: pytest.MonkeyPatch) -> None:
    outside = {**frame_state(), "dynamic_mappings": {"fan": {"result": ["../x"]}}}
    whole = compressed(json.dumps(frame_state()))
    cut = {"zlib": whole["zlib"][:-8]}
    for state in (compressed(json.dumps(outside)), compressed("[]"), cut, {"zlib": 7}):
        with pytest.raises(messages.Undecodable):
            messages.unpack(frame(known_state=state))
    monkeypatch.setattr(messages, "_LARGEST_STATE", 50)
    with pytest.raises(messages.Undecodable, match="larger than 50 bytes"):
        messages.unpack(frame(known_state=whole))


def frame_state() -> dict[str, Any]:
    return frame()["kwargs"]["execute_step_args_packed"]["known_state"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_lead_out_of_a_run_s_folder_are_refused(name: str) -> None:
    for changes in (
        {"pipeline_run_id": name},
        {"step_keys_to_execute": [name]} if name else {"pipeline_run_id": "."},
        {"known_state": {**frame_state(), "dynamic_mappings": {"fan": {"result": [name or ".."]}}}},
        {"known_state": {**frame_state(), "dynamic_mappings": {name or "..": {"result": ["a"]}}}},
    ):
        with pytest.raises(messages.Undecodable):
            messages.unpack(frame(**changes))


def test_whatever_is_put_in_place_of_a_value_no_hostile_name_comes_through() -> None:
    chance = random.Random(7)
    taken = 0
    for _ in range(400):
        job = json.loads(json.dumps(frame()))
        holder, key = chance.choice(list(places(job["kwargs"])))
        others = [None, -1, 1e300, [], {}, [[]], {"__set__": ["../x"]}]
        holder[key] = chance.choice([*HOSTILE, *others])
        try:
            task = messages.unpack(job)
        except (messages.Undecodable, KeyError):
            continue
        taken += 1
        known = json.dumps(job["kwargs"]["execute_step_args_packed"].get("known_state"))
        for text in (task.run_id, task.step_key or "", known):
            assert ".." not in text
            assert "/" not in text
    assert taken > 20, "the changes were not all refused for another reason"


def places(value: Any) -> Any:
    """Every place of a JSON value as its holder and its key."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in list(items):
        yield value, key
        if isinstance(item, (dict, list)):
            yield from places(item)


def test_allow_locations_names_modules_and_files_and_no_way_around_them(tmp_path: Path) -> None:
    allowed = code_origin.is_allowed

    def file(name: str, folder: str | None = None) -> FileCodePointer:
        return FileCodePointer(name, "defs", folder)

    def module(name: str) -> ModuleCodePointer:
        return ModuleCodePointer(name, "defs", None)

    assert allowed(module("anything"), [])
    assert allowed(module("etl.defs"), ["etl.*"])
    assert not allowed(module("etl"), ["etl.*"])
    assert not allowed(module("etlx.defs"), ["etl.*"])
    assert allowed(file("/srv/etl/a.py"), ["/srv/etl/*.py"])
    assert not allowed(file("/srv/etl/b/a.py"), ["/srv/etl/*.py"])
    assert allowed(file("/srv/etl/b/a.py"), ["/srv/etl/**"])
    assert allowed(file("a.py", "/srv/etl"), ["/srv/etl/a.py"])
    for way_around in ("/srv/etl/../evil.py", "/srv/etlx/a.py", "/srv/etl/a.pyc", "../a.py"):
        assert not allowed(file(way_around, "/srv/etl"), ["/srv/etl/**/*.py", "/srv/etl/*.py"])
    shell = CustomPointer(module("os"), ["id"], [])
    assert not allowed(shell, ["*", "/**"])

    (tmp_path / "release-1").mkdir()
    (tmp_path / "release-1" / "jobs.py").touch()
    os.symlink(tmp_path / "release-1", tmp_path / "current")
    assert allowed(file(f"{tmp_path}/current/jobs.py"), [f"{tmp_path}/current/*.py"])
    # Through a link, ".." leads elsewhere than it reads.
    (tmp_path / "good").mkdir()
    os.symlink(tmp_path / "release-1", tmp_path / "good" / "link")
    assert not allowed(file(f"{tmp_path}/good/link/../jobs.py"), [f"{tmp_path}/good/*.py"])


def test_a_task_id_that_is_no_uuid_and_a_body_that_is_no_message_are_refused() -> None:
    def decode(text: str) -> Delivery:
        delivery = Delivery("u", "h", "m", 1, text, {}, None)
        delivery.decode(text)
        return delivery

    good = {"task_id": "eb96854107aa4b3197362d2eff2b6d3a", "task_name": "n"}
    assert decode(json.dumps(good)).task_id == good["task_id"]
    for task_id in ("results/x", "", 5, None, good["task_id"] + "/x"):
        with pytest.raises(NotATask):
            decode(json.dumps({**good, "task_id": task_id}))
    for text in ("", "[]", "5", "[" * 100_000, '"a secret"', "cos\nsystem\n(S'id'\ntR."):
        with pytest.raises(NotATask) as refused:
            decode(text)
        assert "secret" not in str(refused.value)
    huge = {**good, "labels": {"attempt": "9" * 5000}}
    assert decode(json.dumps(huge)).attempt == 0


def test_a_body_in_s3_lies_in_the_configured_bucket() -> None:
    body = json.dumps({"s3_bucket": "ours", "s3_key": "a/b"})
    assert s3_object(body, None) == s3_object(body, "ours") == ("ours", "a/b")
    with pytest.raises(NotATask, match="this worker reads from other alone"):
        s3_object(body, "other")
    for bucket in ("", "evil.example/x#", "a@b", "..", "x\ny"):
        with pytest.raises(NotATask):
            s3_object(json.dumps({"s3_bucket": bucket, "s3_key": "k"}), None)


def test_a_reason_is_one_short_line_that_sqs_takes() -> None:
    assert reason_of("\x1b[31mError:\x1b[0m no\n  such\tfile\x00") == "Error: no such file"
    assert reason_of("\x07 \n") == "no reason was given"
    assert reason_of("caf\udce9")
    long = reason_of("é" * 5000)
    assert len(long.encode()) <= 1024
    assert long.endswith("…")
