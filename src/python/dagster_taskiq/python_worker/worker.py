"""The worker: it runs the broker's messages, reports itself, and detects cancelled runs."""

import asyncio
import logging
import os
import socket
import uuid
from typing import Any

from dagster_taskiq.errors import DagsterTaskiqError
from dagster_taskiq.python_worker.broker import SqsBroker
from dagster_taskiq.python_worker.deliveries import Delivery
from dagster_taskiq.python_worker.hosts import HostUnusable, InstanceAgent, StepHost
from dagster_taskiq.python_worker.settlement import Rules, Settlement, back_off
from dagster_taskiq.version import __version__

_LOG = logging.getLogger("dagster_taskiq")

_HEARTBEAT_SECONDS = 5.0
_STATUS_SECONDS = 1.5
_GRACE_SECONDS = 10.0


class Worker:
    """Runs tasks under the delivery rules, and is part of the deployment's registry of workers."""

    def __init__(self, broker: SqsBroker):
        self._broker = broker
        self._identity = {
            "id": f"{socket.gethostname()}-{os.getpid()}",
            "hostname": socket.gethostname(),
            "pid": str(os.getpid()),
            "incarnation": uuid.uuid4().hex,
        }
        self._canceled: set[str] = set()
        self._failed_before: set[str] = set()
        self._loops: list[asyncio.Task[None]] = []

    async def startup(self, _state: Any) -> None:
        """Start the instance agent.

        Raises:
            HostUnusable: Dagster's instance cannot be opened.

        """
        self._instance_agent, self._steps = InstanceAgent(), StepHost()
        self._rules = Rules(self._steps, self._instance_agent, self._broker.visibility_timeout)
        await self._instance_agent.link()
        self._loops = [
            asyncio.create_task(self._repeat(_HEARTBEAT_SECONDS, self._beat)),
            asyncio.create_task(self._repeat(_STATUS_SECONDS, self._look_for_cancelled_runs)),
        ]

    async def shutdown(self, _state: Any) -> None:
        """End running tasks: the next worker finds them lost, and retries them."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await self._steps.close()
        try:
            await asyncio.wait_for(self._beat("stopped"), _HEARTBEAT_SECONDS)
        except (HostUnusable, asyncio.TimeoutError) as error:
            _LOG.warning("The last heartbeat was not written: %s", error)
        await self._instance_agent.close()

    async def perform(self, task_id: str) -> str:
        """Execute a task of the broker, and settle its message; returns the outcome."""
        delivery = self._broker.held(task_id)
        if delivery is None:
            raise RuntimeError(f"Task {task_id} did not come through this broker.")
        try:
            settlement = await self._rules.run(delivery, self._identity)
            settlement = await self._answer(delivery, settlement)
        except Exception as error:
            _LOG.exception("Task %s is given back.", task_id)
            pause = back_off(delivery.receive_count)
            settlement = Settlement("hide", f"{type(error).__name__}: {error}", pause)
        finally:
            self._canceled.discard(task_id)
        if settlement.kind == "delete":
            await self._broker.delete(delivery)
        elif settlement.kind == "hide":
            await self._broker.hide(delivery, settlement.seconds)
        else:
            await self._broker.dead_letter(delivery, settlement.reason)
        return settlement.reason

    async def _answer(self, delivery: Delivery, settlement: Settlement) -> Settlement:
        """Store the result for a sender that waits for one, before the message is deleted."""
        if delivery.is_ours or settlement.kind == "hide":
            return settlement
        try:
            result = await self._rules.result(delivery, settlement)
            if not await self._broker.put_result(delivery, result):
                _LOG.warning(
                    "Task %s was not sent by this package, and its sender may wait for a result:"
                    " set DAGSTER_TASKIQ_S3_BUCKET_NAME to the bucket it reads results from.",
                    delivery.task_id,
                )
        except (DagsterTaskiqError, HostUnusable) as error:
            _LOG.error("%s The message is tried again later.", error)
            return Settlement("hide", str(error), back_off(delivery.receive_count))
        return settlement

    async def _repeat(self, seconds: float, what: Any) -> None:
        while True:
            try:
                await what()
            except HostUnusable as error:
                _LOG.warning("%s", error)
            except Exception:
                # Without these loops it looks dead, or steps of cancelled runs continue.
                _LOG.exception("Trying again in %.1f s.", seconds)
            await asyncio.sleep(seconds)

    async def _beat(self, state: str = "running") -> None:
        held = [(delivery, *delivery.place) for delivery in self._broker.deliveries]
        body = {
            "pid": os.getpid(),
            "incarnation": self._identity["incarnation"],
            "state": state,
            "slots": self._broker.slots,
            "queues": self._broker.queues,
            "version": __version__,
            "in_flight": [
                {
                    "task_id": delivery.task_id,
                    "run_id": run_id,
                    "step_key": step_key,
                    "receive_count": delivery.receive_count,
                }
                for delivery, run_id, step_key in held
            ],
        }
        await self._instance_agent.request("heartbeat", worker=self._identity["id"], body=body)

    async def _look_for_cancelled_runs(self) -> None:
        """Interrupt tasks of runs that are being cancelled, were cancelled or failed."""
        tasks = {
            delivery.task_id: delivery.place[0]
            for delivery in self._broker.deliveries
            if delivery.task_id not in self._canceled
        }
        if not tasks:
            return
        run_ids = sorted({run_id for run_id in tasks.values() if run_id})
        ending = await self._instance_agent.request("ending_runs", run_ids=run_ids)
        # A run's own process writes FAILURE shortly before it ends: it is checked once more.
        failed = {run_id for run_id, status in ending.items() if status == "FAILURE"}
        fresh, self._failed_before = failed - self._failed_before, failed
        for task_id, run_id in tasks.items():
            if run_id in ending and run_id not in fresh:
                _LOG.info("Task %s is interrupted: its run is %s.", task_id, ending[run_id])
                self._canceled.add(task_id)
                self._steps.cancel(task_id, _GRACE_SECONDS)
