"""Bulk runs in the simulation: photos that lie in S3, as many as the controller's planner has enqueued.

All photos are there from the start, but the planner lists and enqueues them in rounds, so that the policy sees the run
grow, and no fleet works faster than the rounds: 10 segments of 20 jobs of 150 images every 5 seconds.  S3 serves 5,500
reads a second below one prefix (S3 user guide, "Best practices design patterns"), and more after a while.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from controller.scaling.bulk_fleet import BulkWork, FleetPlan, plan_fleet
from core.bulk_estimate import ROUND_SECONDS, BulkWorkload, estimate_bulk
from core.prices import Prices
from core.settings import Settings, split_list
from simulation.assumptions import BOOT_MEAN_SECONDS
from simulation.traces import MAX_CSV_IMAGES, Times, Trace, TraceError

NAME = "bulk"
DEFAULT_IMAGES = 1_000_000
IMAGES_PER_ROUND = 10 * 20 * 150
S3_READS_PER_SECOND = 5500.0
# Larger problems are too large for the exact search of the optimum.
_EXACT_IMAGES = 500_000


@dataclass(frozen=True, slots=True)
class BulkSummary:
    """A simulated bulk run: seconds from its start to the last answer, and US dollars (None: no price is known)."""

    seconds: float
    workers_usd: float | None
    requests_usd: float | None


def bulk_trace(images: int, max_size: int) -> Trace:
    """The trace of a bulk run of so many images.

    Raises:
        TraceError: they are too many for the simulation.
    """
    if images > MAX_CSV_IMAGES:
        raise TraceError(f"--images: the simulation takes up to {MAX_CSV_IMAGES:,} images")

    def draw(rng: np.random.Generator) -> Times:
        return (np.arange(images) // IMAGES_PER_ROUND).astype(np.float64) * ROUND_SECONDS

    title = f"{images:,} photos in S3, up to {max_size:,} instances"
    return Trace(NAME, title, draw, max_size, bounded_by_work=images > _EXACT_IMAGES)


def planning_seconds(images: int) -> float:
    """The time until the planner has enqueued the last image."""
    return (images - 1) // IMAGES_PER_ROUND * ROUND_SECONDS if images else 0.0


def plan_bulk(
    images: int,
    max_size: int,
    settings: Settings,
    prices: Prices,
    finish_within_seconds: float | None,
    at_most_usd: float | None,
) -> FleetPlan:
    """Choose the fleet for a bulk run by the formula of `controller.scaling.bulk_fleet`.

    Raises:
        BulkFleetError: no fleet meets the deadline and the budget.
        TraceError: a budget is given, and no price of the instance type is known.
    """
    run = _workload(images, max_size, settings)
    found, hourly = estimate_bulk(run, prices), usd_per_hour(settings, prices)
    if hourly is None and at_most_usd is not None:
        raise TraceError("--at-most-usd: no price of this instance type is known: set EIC_INSTANCE_USD_PER_HOUR")
    requests_usd = 0.0 if found is None else found.requests_usd
    work = BulkWork(
        images,
        1 / settings.mean_service_seconds,
        BOOT_MEAN_SECONDS,
        hourly or 0.0,
        requests_usd / images if images else 0.0,
        max_size,
        min(S3_READS_PER_SECOND, IMAGES_PER_ROUND / ROUND_SECONDS),
        settings.boot_payback,
    )
    return plan_fleet(work, finish_within_seconds, at_most_usd)


def summarize(
    images: int, peak: int, drain_seconds: float, instance_seconds: float, settings: Settings, prices: Prices
) -> BulkSummary:
    """The time and the cost of a simulated run, from its measurements."""
    found, hourly = estimate_bulk(_workload(images, max(1, peak), settings), prices), usd_per_hour(settings, prices)
    return BulkSummary(
        planning_seconds(images) + drain_seconds,
        None if hourly is None else instance_seconds / 3600 * hourly,
        None if found is None else found.requests_usd,
    )


def usd_per_hour(settings: Settings, prices: Prices) -> float | None:
    """The price of an instance with its address and disk; None where it is not known."""
    return settings.instance_usd_per_hour or prices.worker_usd_per_hour(split_list(settings.instance_types))


def _workload(images: int, instances: int, settings: Settings) -> BulkWorkload:
    rate = 1 / settings.mean_service_seconds
    return BulkWorkload(images, instances, split_list(settings.instance_types)[0], rate, BOOT_MEAN_SECONDS)
