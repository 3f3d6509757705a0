"""The executor's side of the queue: what it sends, and how it takes what workers write."""

import time

import pytest
from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus, MetadataValue
from dagster._core.errors import DagsterResourceFunctionError
from dagster._core.events import EngineEventData
from dagster._core.execution.plan.objects import StepRetryData, StepSuccessData
from dagster._grpc.types import ExecuteStepArgs
from dagster._serdes import unpack_value
from dagster._utils.error import SerializableErrorInfo

from conftest import Background, Queue, counted, execute, job_named, put_worker, wait_for
from dagster_taskiq import watchdog
from dagster_taskiq.run_owner import OWNER_KEY

LOST = StepRetryData(
    error=SerializableErrorInfo("host gone\n", [], "dagster_taskiq.WorkerLost"),
    seconds_to_wait=None,
)


def failure_text(instance: DagsterInstance, run_id: str) -> str:
    """The run failure's own words."""
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.RUN_FAILURE):
        data = entry.get_dagster_event().job_failure_data
        return f"{entry.get_dagster_event().message} {data.error.message if data.error else ''}"
    return ""


def test_a_step_travels_as_a_taskiq_message_with_labels(
    instance: DagsterInstance, queue: Queue
) -> None:
    run = Background("chain_job", instance, queue)
    before = int(time.time() * 1000) - 60_000
    message = run.message()
    assert set(message) == {"task_id", "task_name", "labels", "labels_types", "args", "kwargs"}
    assert message["task_name"] == "execute_plan"
    assert message["args"] == []
    assert len(message["task_id"]) == 32
    labels = message["labels"]
    assert int(labels.pop("sent_at")) > before
    assert labels == {
        "dtq": "1",
        "priority": "5",
        "queue": queue.name,
        "run_id": run.run.run_id,
        "step_key": "one",
        "attempt": "1",
        "user_attempt": "1",
        "job": "chain_job",
    }
    assert message["labels_types"]["priority"] == 2
    assert message["labels_types"]["dtq"] == 3
    assert set(message["kwargs"]) == {"execute_step_args_packed", "executable_dict"}
    args = unpack_value(message["kwargs"]["execute_step_args_packed"], ExecuteStepArgs)
    assert args.step_keys_to_execute == ["one"]
    assert args.job_origin == job_named("chain_job").get_python_origin()
    assert message["kwargs"]["executable_dict"] == job_named("chain_job").to_dict()
    run.instance.report_run_canceling(run.run)
    assert run.finish().status == DagsterRunStatus.CANCELED


def test_an_attempt_lost_with_its_worker_does_not_count_towards_the_retry_policy(
    instance: DagsterInstance, queue: Queue
) -> None:
    run = Background("lost_job", instance, queue)
    first = run.message()
    run.report(DagsterEventType.STEP_UP_FOR_RETRY, first["labels"]["step_key"], LOST)
    second = run.message()
    assert (second["labels"]["attempt"], second["labels"]["user_attempt"]) == ("2", "1")
    run.work(second)
    third = run.message()
    assert (third["labels"]["attempt"], third["labels"]["user_attempt"]) == ("3", "2")
    run.work(third)
    assert run.finish().status == DagsterRunStatus.SUCCESS


def test_a_step_given_up_from_outside_fails_where_retries_are_disabled(
    instance: DagsterInstance, queue: Queue
) -> None:
    config = {"execution": {"config": {"retries": {"disabled": {}}}}}
    run = Background("lost_job", instance, queue, run_config=config)
    run.report(DagsterEventType.STEP_UP_FOR_RETRY, run.message()["labels"]["step_key"], LOST)
    assert run.finish().status == DagsterRunStatus.FAILURE
    assert "Steps failed: ['later']" in failure_text(instance, run.run.run_id)


def test_an_end_that_is_written_twice_changes_nothing(
    instance: DagsterInstance, queue: Queue
) -> None:
    run = Background("chain_job", instance, queue)
    run.work(run.message())
    again = StepSuccessData(duration_ms=1.0)
    run.report(DagsterEventType.STEP_SUCCESS, "one", again)
    run.report(DagsterEventType.STEP_UP_FOR_RETRY, "one", LOST)
    run.work(run.message())
    run.work(run.message())
    assert run.finish().status == DagsterRunStatus.SUCCESS
    assert counted(instance, run.run.run_id, "STEP_WORKER_STARTING")["one"] == 1


def test_a_failed_resource_ends_its_step_when_nobody_else_does(
    instance: DagsterInstance, queue: Queue
) -> None:
    run = Background("broken_resource_job", instance, queue)
    message = run.message()
    with pytest.raises(DagsterResourceFunctionError):
        run.work(message)
    assert run.finish().status == DagsterRunStatus.FAILURE
    assert counted(instance, run.run.run_id, "STEP_FAILURE") == {"needy": 1}


def test_a_cancelled_run_ends_as_cancelled_while_its_steps_are_in_flight(
    instance: DagsterInstance, queue: Queue
) -> None:
    run = Background("chain_job", instance, queue)
    run.message()
    assert instance.run_launcher.terminate(run.run.run_id)
    assert run.finish().status == DagsterRunStatus.CANCELED
    # By the executor itself, and not because something went wrong in it.
    said = [entry.message for entry in instance.all_logs(run.run.run_id)]
    interrupted = "Run interrupted; steps in flight: ['one']. Their workers stop them."
    assert any(interrupted in text for text in said), said


def test_ready_steps_are_sent_by_priority_and_a_bad_one_is_warned_of(
    instance: DagsterInstance, queue: Queue
) -> None:
    config = {"execution": {"config": {"max_concurrent": 1}}}
    tags = {"dagster-taskiq/run_priority": "10"}
    run = Background("priority_job", instance, queue, run_config=config, tags=tags)
    order = []
    for _ in range(4):
        message = run.message()
        order.append((message["labels"]["step_key"], message["labels"]["priority"]))
        run.work(message)
    assert run.finish().is_success
    assert order[0] == ("priority_9", "19")
    assert order[3] == ("priority_1", "11")
    assert {("priority_5", "15"), ("priority_high", "15")} == set(order[1:3])
    warnings = [
        e.message for e in instance.all_logs(run.run.run_id) if "not an integer" in e.message
    ]
    assert len(warnings) == 1


def test_bands_have_queues_and_a_missing_one_is_replaced_by_the_base_with_one_warning(
    instance: DagsterInstance, queue: Queue
) -> None:
    high = queue.beside("high")
    bands = [{"name": "high", "min": 8}, {"name": "normal", "min": 3}, {"name": "low"}]
    config = {"execution": {"config": {"priority_bands": bands}}}
    run = Background("priority_job", instance, queue, run_config=config)
    wait_for(lambda: queue.depth() == 3 and high.depth() == 1, "four messages in two queues")
    messages = [m["decoded"] for m in [*high.receive(), *queue.receive()]]
    assert messages[0]["labels"]["step_key"] == "priority_9"
    for message in messages:
        run.work(message)
    assert run.finish().is_success
    notices = [
        e.message for e in instance.all_logs(run.run.run_id) if "does not exist" in e.message
    ]
    assert len(notices) == 1
    assert f"{queue.name}-low" in notices[0]


def test_a_step_goes_to_the_named_queue_of_its_tag_and_an_unknown_name_to_the_base(
    instance: DagsterInstance, queue: Queue
) -> None:
    other = queue.beside("gpu")
    config = {"execution": {"config": {"queues": {"gpu": other.url}}}}
    run = Background("queue_job", instance, queue, run_config=config)
    wait_for(lambda: queue.depth() == 1 and other.depth() == 1, "a message in each queue")
    for message in [*other.receive(), *queue.receive()]:
        run.work(message["decoded"])
    assert run.finish().is_success
    assert any("'nowhere' is not in" in e.message for e in instance.all_logs(run.run.run_id))


def test_a_fifo_queue_gets_a_group_per_step_and_an_id_per_attempt(
    sqs, instance: DagsterInstance, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = sqs.create_queue(QueueName=f"{queue.name}.fifo", Attributes={"FifoQueue": "true"})
    fifo = Queue(sqs, made["QueueUrl"])
    monkeypatch.setenv("DAGSTER_TASKIQ_SQS_QUEUE_URL", fifo.url)
    run = Background("chain_job", instance, fifo)
    raw = wait_for(lambda: fifo.receive(1), "a message")[0]
    assert raw["Attributes"]["MessageGroupId"] == f"{run.run.run_id}/one"
    assert len(raw["Attributes"]["MessageDeduplicationId"]) == 64
    for message in (raw["decoded"], None, None):
        run.work(message or run.message())
    assert run.finish().is_success


def test_a_queue_that_no_live_worker_serves_is_said_once(
    instance: DagsterInstance, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "_INTERVAL", 0.2)
    monkeypatch.setattr(watchdog, "_SILENCE_SECONDS", 0.5)
    run = Background("chain_job", instance, queue)

    def said() -> list[str]:
        logs = instance.all_logs(run.run.run_id)
        return [e.message for e in logs if "no live worker has reported" in e.message]

    wait_for(said, "the sentence")
    for _ in range(3):
        run.work(run.message())
    assert run.finish().is_success
    assert len(said()) == 1


def test_a_step_whose_message_is_gone_is_sent_again(
    instance: DagsterInstance, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "_INTERVAL", 0.2)
    monkeypatch.setattr(watchdog, "_SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(watchdog, "_RESEND_AFTER", 1.0)
    run = Background("chain_job", instance, queue)
    lost = run.message()
    again = run.message()
    assert again["labels"]["step_key"] == lost["labels"]["step_key"]
    assert again["labels"]["attempt"] == lost["labels"]["attempt"] == "1"
    monkeypatch.setattr(watchdog, "_RESEND_AFTER", 900.0)
    for message in (again, None, None):
        run.work(message or run.message())
    assert run.finish().is_success


def test_many_lost_messages_are_sent_again_in_one_go_and_a_backlog_is_left_alone(
    instance: DagsterInstance, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "_INTERVAL", 0.2)
    monkeypatch.setattr(watchdog, "_SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(watchdog, "_RESEND_AFTER", 0.5)
    run = Background("priority_job", instance, queue)
    wait_for(lambda: queue.depth() == 4, "four messages")
    # Long after the time in which they would have been sent again, and then again.
    time.sleep(3)
    assert queue.depth() == 4
    queue.client.purge_queue(QueueUrl=queue.url)
    wait_for(lambda: queue.depth() == 4, "the four messages again")
    monkeypatch.setattr(watchdog, "_RESEND_AFTER", 900.0)
    for message in [run.message() for _ in range(4)]:
        run.work(message)
    assert run.finish().is_success
    said = [e.message for e in instance.all_logs(run.run.run_id) if "Sending again" in e.message]
    assert len(said) == 1
    assert said[0].startswith("Sending again 4 step(s) that no worker has started")


def test_a_begun_step_that_no_live_worker_lists_is_sent_again(
    instance: DagsterInstance, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its message is gone: nobody will receive it and find that its worker is lost."""
    monkeypatch.setattr(watchdog, "_BEGUN_INTERVAL", 0.2)
    run = Background("chain_job", instance, queue)
    put_worker(instance, "a", 0.0, run.run.run_id, "one")
    run.message()
    announced = EngineEventData({OWNER_KEY: MetadataValue.text("a")})
    instance.report_engine_event("Worker a runs it.", run.run, announced, step_key="one")
    run.report(DagsterEventType.STEP_START, "one", None)
    for _ in range(10):
        # Looked at more often than it takes looks.
        time.sleep(0.2)
        assert queue.depth() == 0
    put_worker(instance, "a", 100.0, run.run.run_id, "one")
    time.sleep(1)
    assert queue.depth() == 0, "there is nobody to send it to"
    put_worker(instance, "b", 0.0, None)
    again = run.message()
    assert (again["labels"]["step_key"], again["labels"]["attempt"]) == ("one", "1")
    for message in (again, None, None):
        run.work(message or run.message())
    assert run.finish().is_success
    said = [e.message for e in instance.all_logs(run.run.run_id) if "Sending again" in e.message]
    assert len(said) == 1
    assert said[0].startswith("Sending again 1 step(s) that no live worker has any more")


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"endpoint_url": "http://127.0.0.1:9"}, "nothing answered at"),
        ({"queue_url": "no-such-queue"}, "the queue no-such-queue does not exist"),
        ({"max_concurrent": 0}, "max_concurrent is 0"),
        (
            {"tag_concurrency_limits": [{"key": "database", "limit": 0}]},
            "tag_concurrency_limits has the limit 0 for database",
        ),
    ],
)
def test_what_keeps_steps_from_being_sent_ends_the_run_with_a_sentence(
    config: dict[str, object], sentence: str, instance: DagsterInstance, queue: Queue
) -> None:
    run = execute("chain_job", instance, {"execution": {"config": config}}, raise_on_error=False)
    assert run.status == DagsterRunStatus.FAILURE
    assert sentence in failure_text(instance, run.run_id)


def test_nothing_configured_and_no_broker_says_what_to_start(
    instance: DagsterInstance, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_TASKIQ_SQS_QUEUE_URL")
    monkeypatch.setenv("DAGSTER_TASKIQ_SQS_ENDPOINT_URL", "http://127.0.0.1:9")
    run = execute("chain_job", instance, raise_on_error=False)
    text = failure_text(instance, run.run_id)
    assert "start dagster-taskiq-tui, or set DAGSTER_TASKIQ_SQS_QUEUE_URL" in text
