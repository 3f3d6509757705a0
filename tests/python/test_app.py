"""The Taskiq broker, as `taskiq worker` and a program's own loop use it."""

import asyncio
import json

import pytest
from dagster import DagsterRunStatus
from taskiq import AckableMessage, BrokerMessage

from conftest import DagsterInstance, Queue, counted, create_run, wait_for
from dagster_taskiq.python_worker.broker import SqsBroker

ID = "eb96854107aa4b3197362d2eff2b6d3a"


def test_what_is_kicked_is_listened_to_and_gone_once_acknowledged(queue: Queue) -> None:
    body = json.dumps({"task_id": ID, "task_name": "n", "labels": {}, "args": [], "kwargs": {}})

    async def use() -> AckableMessage:
        broker = SqsBroker(max_steps=2, max_runs=1)
        await broker.startup()
        try:
            message = BrokerMessage(task_id=ID, task_name="n", message=body.encode(), labels={})
            await broker.kick(message)
            async for received in broker.listen():
                await received.ack()
                return received
            raise AssertionError("nothing was received")
        finally:
            await broker.shutdown()

    assert asyncio.run(use()).data == body.encode()
    assert queue.depth() == 0


def test_what_is_not_acknowledged_is_given_back_at_shutdown(queue: Queue) -> None:
    body = json.dumps({"task_id": ID, "task_name": "n"})
    queue.client.send_message(QueueUrl=queue.url, MessageBody=body)

    async def use() -> None:
        broker = SqsBroker(max_steps=2, max_runs=1)
        await broker.startup()
        async for _ in broker.listen():
            break
        await broker.shutdown()

    asyncio.run(use())
    assert len(queue.receive()) == 1


@pytest.mark.parametrize("name", ["crash_job", "broken_resource_job"])
def test_a_step_whose_process_ends_early_fails(
    name: str, shared: tuple[DagsterInstance, Queue]
) -> None:
    instance, _ = shared
    run = create_run(name, instance)
    instance.launch_run(run.run_id, None)

    def has_failed() -> bool:
        found = instance.get_run_by_id(run.run_id)
        return found is not None and found.status == DagsterRunStatus.FAILURE

    wait_for(has_failed, "the run's failure")
    assert sum(counted(instance, run.run_id, "STEP_FAILURE").values()) == 1
    if name == "crash_job":
        text = str(instance.all_logs(run.run_id))
        assert "exit code 3" in text
