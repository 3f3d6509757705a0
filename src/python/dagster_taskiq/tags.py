"""Tag names users put on ops, jobs and runs, and the labels that travel in a message."""

#: Priority of a step, an integer; higher runs first. Set on ops.
DAGSTER_TASKIQ_PRIORITY_TAG = "dagster-taskiq/priority"
#: Added to the priority of every step of a run, an integer. Set on jobs and runs.
DAGSTER_TASKIQ_RUN_PRIORITY_TAG = "dagster-taskiq/run_priority"
#: Name of a queue from the configuration's ``queues``. Set on ops, jobs and runs.
DAGSTER_TASKIQ_QUEUE_TAG = "dagster-taskiq/queue"
#: Process isolation of a step: one of ``ISOLATION_MODES``. Set on ops, jobs and runs.
DAGSTER_TASKIQ_ISOLATION_TAG = "dagster-taskiq/isolation"
#: Id of the Taskiq message that carries the run. Set on runs by the launcher.
DAGSTER_TASKIQ_TASK_ID_TAG = "dagster-taskiq/task_id"

#: Default priority of a step.
DEFAULT_STEP_PRIORITY = 5
#: Default priority of a run.
DEFAULT_RUN_PRIORITY = 0

#: The worker's own setting; a forked child; a process that runs one step after the other; a process
#: for this step alone.
ISOLATION_MODES = ("auto", "fork", "reuse", "fresh")

#: Value of the label ``dtq``. A message without that label comes from another sender, which waits
#: for a Taskiq result; ours is followed in the event log.
PROTOCOL_VERSION = "1"

TASK_EXECUTE_STEP = "execute_plan"
TASK_EXECUTE_RUN = "execute_job"
TASK_RESUME_RUN = "resume_job"

#: ``cls_name`` of the error in a STEP_UP_FOR_RETRY event that was written because a worker was
#: lost, not because the step failed. Such an attempt does not count towards its RetryPolicy.
WORKER_LOST = "dagster_taskiq.WorkerLost"
#: Logging tag of a step's event: the attempt, from 1 and lost ones included, that it belongs to.
ATTEMPT_TAG = "dagster-taskiq/attempt"
