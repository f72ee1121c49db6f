"""The number of instances for a bulk run that is to be finished in time, or within a budget."""

from __future__ import annotations

from controller.bulk.planner import SEGMENTS_PER_ROUND
from controller.scaling.bulk_fleet import BulkWork, FleetPlan, plan_fleet
from core.bulk_estimate import BulkWorkload, estimate_bulk
from core.bulk_run import JOBS_PER_SEGMENT
from core.errors import ArgumentError
from core.fleet_status import FleetStatus
from core.prices import Prices
from core.settings import Settings, split_list

# S3 user guide, "Best practices design patterns": of one prefix, and more after a while.
_S3_READS_PER_SECOND = 5500.0


def plan_run(
    images: int,
    images_per_job: int,
    settings: Settings,
    status: FleetStatus | None,
    prices: Prices,
    finish_within_seconds: float | None,
    at_most_usd: float | None,
    max_instances: int = 0,
) -> FleetPlan:
    """Choose the fleet for a bulk run.

    Args:
        max_instances: no more than these; 0: as many as the fleet may have.
        status: the fleet's, whose measured times and limits go before those of the settings; None where there is none.

    Raises:
        BulkFleetError: no fleet meets the deadline and the budget.
        ArgumentError: there is a budget, and no price of the instance type is known.
    """
    types = split_list(settings.instance_types)
    source = settings if status is None else status
    known = None if status is None else status.instance_usd_per_hour
    usd_per_hour = known or settings.instance_usd_per_hour or prices.worker_usd_per_hour(types)
    if not usd_per_hour and at_most_usd is not None:
        raise ArgumentError("--at-most-usd: no price of this instance type is known: set EIC_INSTANCE_USD_PER_HOUR")
    rate, boot_seconds = 1 / source.mean_service_seconds, source.expected_boot_seconds
    # The planner enqueues so many in each of its rounds.
    jobs_per_second = SEGMENTS_PER_ROUND * JOBS_PER_SEGMENT / settings.bulk_interval_seconds
    most = min(source.max_size, max_instances or source.max_size)
    workload = BulkWorkload(images, most, types[0] if types else "", rate, boot_seconds, images_per_job)
    estimate = estimate_bulk(workload, prices)
    work = BulkWork(
        images,
        rate,
        boot_seconds,
        usd_per_hour or 0.0,
        estimate.requests_usd / images if estimate and images else 0.0,
        most,
        min(_S3_READS_PER_SECOND, jobs_per_second * images_per_job),
        settings.boot_payback,
    )
    return plan_fleet(work, finish_within_seconds, at_most_usd)
