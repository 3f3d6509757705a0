"""Dagster's definitions: three jobs of ops, one of assets, all with their steps on the queue.

A schedule and a sensor, both of which are off.
"""

from dagster import (
    Definitions,
    ScheduleDefinition,
    SkipReason,
    define_asset_job,
    load_assets_from_modules,
    sensor,
)

from dagster_taskiq import taskiq_executor
from demo_project import sales
from demo_project.exports import one_region, region_export
from demo_project.invoices import invoice_import
from demo_project.regions import regional_scores

#: The worker of the demo has the same bands.
executor = taskiq_executor.configured(
    {"priority_bands": [{"name": "high", "min": 8}, {"name": "normal", "min": 3}, {"name": "low"}]}
)

daily_sales = define_asset_job("daily_sales", tags={"dagster-taskiq/run_priority": "1"})


@sensor(job=daily_sales)
def new_orders() -> SkipReason:
    """Launch nothing: the shop has no new orders."""
    return SkipReason("the shop has no new orders")


defs = Definitions(
    assets=load_assets_from_modules([sales]),
    jobs=[
        daily_sales,
        regional_scores.to_job(),
        invoice_import.to_job(tags={"dagster-taskiq/run_priority": "2"}),
        region_export.to_job(config=one_region),
    ],
    schedules=[ScheduleDefinition(name="every_night", cron_schedule="0 3 * * *", job=daily_sales)],
    sensors=[new_orders],
    executor=executor,
)
