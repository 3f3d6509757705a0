"""Jobs that say secrets, as user code does by mistake.

What the user's own code writes into Dagster's log and its compute logs is the user's; what this
program shows of it is not to hold a secret.
"""

import os
import sys

from dagster import Definitions, job, op

from dagster_taskiq import taskiq_executor

# Written by a test, to have the location fail to load.
if os.path.exists(os.path.join(os.environ["DAGSTER_HOME"], "broken")):
    raise ConnectionError("cannot connect to postgresql://u:s3cr3t-import-Zz9@h/db")


@op
def good() -> None:
    print("password=s3cr3t-stdout-Zz9")
    print("amqp://u:s3cr3t-stderr-Zz9@h", file=sys.stderr)


@op
def fails() -> None:
    try:
        raise ConnectionError("postgresql://u:s3cr3t-cause-Zz9@h/db: token=s3cr3t-cause-Zz9")
    except ConnectionError as error:
        raise RuntimeError(f"no answer with {os.environ['PGPASSWORD']}") from error


@job(executor_def=taskiq_executor)
def works() -> None:
    good()


@job(executor_def=taskiq_executor)
def breaks() -> None:
    fails()


defs = Definitions(jobs=[works, breaks])
