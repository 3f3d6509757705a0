"""Settings of the Celery worker; dagster_celery looks for a module of this name."""

import os

broker_url = os.environ["EXECUTOR_BENCH_REDIS"]
result_backend = broker_url
