"""What the stack on AWS would cost for given images, by the price table.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from core.prices import Prices

SECONDS_AN_HOUR = 3600
_BYTES_A_GB = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Workload:
    """What is to be estimated.

    Attributes:
        images: how many are uploaded and answered.
        hours: how long the stack exists.
        instance_type: of the workers.
        images_per_second: that one worker answers.
        image_bytes: an image's size.
        keep_days: how long photos are kept.
        stack: ``full``, or ``simple``, which has no load balancer.
    """

    images: int
    hours: float
    instance_type: str
    images_per_second: float
    image_bytes: int
    keep_days: float
    stack: str = "full"

    @property
    def worker_hours(self) -> float:
        """The time that workers need for the images, without boots and idle time."""
        return self.images / self.images_per_second / SECONDS_AN_HOUR


@dataclass(frozen=True, slots=True)
class Estimate:
    """US dollars by item: what the stack costs while it exists, the workers' time, and what images cost besides."""

    standing: Mapping[str, float]
    workers_usd: float
    images: Mapping[str, float]

    @property
    def standing_usd(self) -> float:
        """The sum of `standing`."""
        return sum(self.standing.values())

    @property
    def images_usd(self) -> float:
        """The sum of `images`."""
        return sum(self.images.values())

    @property
    def total_usd(self) -> float:
        """The sum of everything."""
        return self.standing_usd + self.workers_usd + self.images_usd


def estimate(workload: Workload, prices: Prices) -> Estimate | None:
    """Estimate the costs of a workload; None if the table has no price of the instance type."""
    worker_usd_per_hour = prices.worker_usd_per_hour([workload.instance_type])
    if worker_usd_per_hour is None:
        return None
    photos = {"photo_gb": workload.image_bytes / _BYTES_A_GB, "photo_days": workload.keep_days}
    per_image = replace(prices, image={**prices.image, **photos}).per_image
    return Estimate(
        standing={name: usd * workload.hours for name, usd in prices.standing_of(workload.stack).items()},
        workers_usd=worker_usd_per_hour * workload.worker_hours,
        images={
            name: usd * workload.images
            for name, usd in per_image.items()
            if workload.stack == "full" or "load balancer" not in name
        },
    )
