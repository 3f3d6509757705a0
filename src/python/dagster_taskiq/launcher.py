"""``TaskiqRunLauncher``: sends whole runs to the workers behind an SQS queue."""

import logging
import math
import time
from collections.abc import Mapping
from typing import Any

from dagster import DagsterRun, DagsterRunStatus, MetadataValue
from dagster._config.config_schema import UserConfigSchema
from dagster._core.events import EngineEventData
from dagster._core.launcher.base import (
    CheckRunHealthResult,
    LaunchRunContext,
    ResumeRunContext,
    RunLauncher,
    WorkerStatus,
)
from dagster._grpc.types import ExecuteRunArgs, ResumeRunArgs
from dagster._serdes import ConfigurableClass, ConfigurableClassData, pack_value
from typing_extensions import Self

from _dagster_taskiq_host import claims
from _dagster_taskiq_host.redaction import redact
from dagster_taskiq import message, registry, run_owner
from dagster_taskiq.config import queue_config_fields, resolve
from dagster_taskiq.errors import ConfigurationError
from dagster_taskiq.routing import Router
from dagster_taskiq.sqs import Outgoing, Sender, deduplication_id, group_id
from dagster_taskiq.tags import (
    DAGSTER_TASKIQ_TASK_ID_TAG,
    TASK_EXECUTE_RUN,
    TASK_RESUME_RUN,
)

_logger = logging.getLogger("dagster_taskiq")

#: Minimum silence of a run's owner, in seconds, before the run counts as lost: by then its message
#: has been delivered to another worker many times over.
_LOST_AFTER = 900.0

#: Seconds for which the workers' reports are used again.
_SAME_LOOK = 5.0

_NOT_YET_STARTED = {
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
}


class TaskiqRunLauncher(RunLauncher, ConfigurableClass):
    """Launches runs on workers, reached through Amazon SQS (or a compatible broker).

    Runs travel on the queue ``<base>-runs``; where that does not exist, on the base queue. Every
    configuration key is optional; without a queue in the configuration and in
    ``DAGSTER_TASKIQ_SQS_QUEUE_URL``, the broker that ``dagster-taskiq-tui`` starts on this machine
    is used.
    """

    def __init__(
        self,
        queue_url: str | None = None,
        region_name: str | None = None,
        endpoint_url: str | None = None,
        default_queue: str | None = None,
        config_source: Mapping[str, Any] | None = None,
        queues: Mapping[str, str] | None = None,
        priority_bands: list[Mapping[str, Any]] | None = None,
        inst_data: ConfigurableClassData | None = None,
    ):
        self._inst_data = inst_data
        self._workers_read: list[registry.Worker] = []
        self._workers_read_at = -math.inf
        #: As given in dagster.yaml, for :func:`dagster_taskiq.config.resolve`.
        self.config: dict[str, Any] = {
            "queue_url": queue_url,
            "region_name": region_name,
            "endpoint_url": endpoint_url,
            "default_queue": default_queue,
            "config_source": config_source,
            "queues": queues,
            "priority_bands": priority_bands,
        }
        self._sender: Sender | None = None
        super().__init__()

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """The reference to this class in dagster.yaml, if there is one."""
        return self._inst_data

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """The keys under ``run_launcher.config`` in dagster.yaml."""
        return queue_config_fields()

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]
    ) -> Self:
        """Build the launcher from dagster.yaml."""
        return cls(inst_data=inst_data, **config_value)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Send the run.

        Raises:
            DagsterTaskiqError: it could not be sent; Dagster marks the run as failed with it.

        """
        run = context.dagster_run
        args = ExecuteRunArgs(
            job_origin=_origin(run),
            run_id=run.run_id,
            instance_ref=self._instance.get_ref(),
            set_exit_code_on_failure=True,
        )
        self._send(run, TASK_EXECUTE_RUN, {"execute_job_args_packed": pack_value(args)}, 0)

    def dispose(self) -> None:
        """Close the connection; the next launch opens a new one."""
        self._sender = None

    @property
    def supports_resume_run(self) -> bool:
        """A run whose worker was lost can be resumed by another one."""
        return True

    def resume_run(self, context: ResumeRunContext) -> None:
        """Send a run again, to resume it where its lost worker stopped.

        Raises:
            DagsterTaskiqError: it could not be sent.

        """
        run = context.dagster_run
        args = ResumeRunArgs(
            job_origin=_origin(run),
            run_id=run.run_id,
            instance_ref=self._instance.get_ref(),
            set_exit_code_on_failure=True,
        )
        kwargs = {"resume_job_args_packed": pack_value(args)}
        self._send(run, TASK_RESUME_RUN, kwargs, context.resume_attempt_number or 1)

    def terminate(self, run_id: str) -> bool:
        """Cancel a run; False if there is nothing to cancel.

        A run that has not started is cancelled at once, and its message is then dropped by the
        worker that receives it. A started one becomes CANCELING, which its workers notice.
        """
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        if run.status != DagsterRunStatus.CANCELING:
            self._instance.report_run_canceling(run)
        if self._has_ended(run_id):
            found = self._instance.get_run_by_id(run_id)
            return found is not None and found.status == DagsterRunStatus.CANCELED
        if run.status in _NOT_YET_STARTED:
            self._cancel_unstarted(run_id)
        return True

    def _has_ended(self, run_id: str) -> bool:
        """Whether a run ended after a request to cancel; restores the status of its end then."""
        try:
            from _dagster_taskiq_host import run_end
        except ImportError:
            # Within a worker that is older than this package, the worker's own modules come first.
            return False
        return run_end.restore(self._instance, run_id)

    def _cancel_unstarted(self, run_id: str) -> None:
        """End a run that no worker has begun: only the holder of its claim ends it."""
        claim = claims.claim(self._instance, run_id, None, 1)
        try:
            is_ours = claim.acquire()
        except Exception as error:
            # Perhaps this is not a worker's host, or it is another user's process. Then a worker
            # that begins the run at this moment may end it too.
            _logger.warning("cannot take the claim of run %s: %s", run_id, redact(str(error)))
            is_ours = True
        if not is_ours:
            return
        try:
            run = self._instance.get_run_by_id(run_id)
            if run is not None and run.status == DagsterRunStatus.CANCELING:
                self._instance.report_run_canceled(run, "The run was cancelled before it started.")
        finally:
            claim.release()

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Dagster's run monitoring may ask for the health of a run's worker."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Health of a run's worker, from the workers' reports.

        Anything but RUNNING makes Dagster resume or fail the run, although a message in SQS is
        delivered again by itself. So a run counts as lost only if no worker has taken it over from
        a long silent one while others are alive.
        """
        health = self._health(run, self._workers())
        if health.status == WorkerStatus.FAILED:
            # A worker may have taken it over since the reports were read.
            self._workers_read_at = -math.inf
            health = self._health(run, self._workers())
        return health

    def _health(self, run: DagsterRun, found: list[registry.Worker]) -> CheckRunHealthResult:
        owners = [worker for worker in found if worker.holds(run.run_id, None)]
        if not owners:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "No worker has reported this run.")
        owner = min(owners, key=lambda worker: worker.age)
        text = (
            f"Worker {owner.id} on {owner.host or 'unknown host'} reported {owner.age:.0f} s ago."
        )
        others_alive = any(worker.is_alive for worker in found)
        if owner.age > _LOST_AFTER and others_alive:
            return CheckRunHealthResult(WorkerStatus.FAILED, text, run_worker_id=owner.id)
        return CheckRunHealthResult(WorkerStatus.RUNNING, text, run_worker_id=owner.id)

    def _workers(self) -> list[registry.Worker]:
        """The workers' reports, read once while run monitoring goes through all runs."""
        now = time.monotonic()
        if now - self._workers_read_at >= _SAME_LOOK:
            self._workers_read = registry.workers(self._instance)
            self._workers_read_at = now
        return self._workers_read

    def get_run_worker_debug_info(
        self,
        run: DagsterRun,
        include_container_logs: bool | None = True,
    ) -> str | None:
        """Lines on the location of the run, for Dagster's log."""
        lines = [
            f"Task id: {run.tags.get(DAGSTER_TASKIQ_TASK_ID_TAG, 'unknown')}",
            f"Status: {run.status.value}",
        ]
        found = registry.workers(self._instance)
        workers = {(worker.id, worker.incarnation): worker for worker in found}
        place = run_owner.last_announcement(self._instance, run.run_id)
        if place is None:
            alive = sum(worker.is_alive for worker in found)
            lines.append(f"No worker has said that it runs the run; workers alive: {alive}.")
        else:
            owner = workers.get((place.worker, place.incarnation))
            lines += [
                f"Queue: {place.queue}",
                f"Message: {place.message_id}, received {place.receive_count} times",
                f"Worker: {place.worker}",
                f"Host: {place.host}",
                f"Pid: {place.pid} (worker: {place.worker_pid})",
                f"Last heartbeat: {f'{owner.age:.0f} s ago' if owner else 'none is left'}",
            ]
        end = run_owner.written_end(self._instance, run.run_id)
        if end is not None:
            lines.append(f"End: {end}")
        return "\n".join(lines)

    def _send(self, run: DagsterRun, task: str, kwargs: Mapping[str, Any], attempt: int) -> None:
        if self._sender is None:
            settings = resolve(self.config)
            self._sender = Sender(settings)
            self._settings = settings
        router = Router(self._settings, self._sender.base_url, run.tags)
        route = router.run()
        task_id = message.new_task_id()
        body = message.encode(
            task_id,
            task,
            message.labels(
                priority=route.priority,
                queue=route.queue,
                run_id=run.run_id,
                attempt=attempt + 1,
                job=run.job_name,
            ),
            kwargs,
        )
        # Before sending: a worker may start the run before this process gets to its next line.
        self._instance.add_run_tags(run.run_id, {DAGSTER_TASKIQ_TASK_ID_TAG: task_id})
        outcome = self._sender.send(
            [
                Outgoing(
                    key=f"run {run.run_id}",
                    task_id=task_id,
                    body=body,
                    url=route.url,
                    fallback_url=route.fallback_url,
                    group=group_id(run.run_id),
                    deduplication=deduplication_id(run.run_id, task, attempt),
                )
            ]
        )
        for error in outcome.failed.values():
            raise error
        url = redact(next(iter(outcome.sent.values())))
        for warning in route.warnings:
            self._instance.report_engine_event(warning, run, cls=self.__class__)
        self._instance.report_engine_event(
            f"Sent the run to {url}.",
            run,
            EngineEventData(
                {"task id": MetadataValue.text(task_id), "url": MetadataValue.text(url)}
            ),
            cls=self.__class__,
        )


def _origin(run: DagsterRun) -> Any:
    if run.job_code_origin is None:
        raise ConfigurationError(
            f"Run {run.run_id} does not say where its job is defined, so no worker can load it;"
            " launch it from a code location or with `dagster job launch`."
        )
    return run.job_code_origin
