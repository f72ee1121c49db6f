"""What a fleet costs on AWS, estimated from its status and the price table.  Pure."""

from __future__ import annotations

from dataclasses import dataclass

from core.fleet_status import FleetStatus
from core.prices import Prices


@dataclass(frozen=True, slots=True)
class Cost:
    """One kind of cost, in US dollars; None where it is not known.

    `usd_per_hour` is at this moment's size and rate, `usd_per_1000_images` the mean since the counts began.
    """

    usd_per_hour: float | None
    usd_per_1000_images: float | None

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            _sum(self.usd_per_hour, other.usd_per_hour), _sum(self.usd_per_1000_images, other.usd_per_1000_images)
        )


@dataclass(frozen=True, slots=True)
class FleetCosts:
    """The costs of a fleet by the prices of `date` (ISO 8601) in `region`.

    `compute` is the instances' time, `requests` what each image costs besides (requests, storage, transfer), and
    `standing` what the stack costs also without any image.
    """

    region: str
    date: str
    compute: Cost
    requests: Cost
    standing: Cost
    total: Cost


def fleet_costs(status: FleetStatus, prices: Prices) -> FleetCosts:
    """Estimate the costs of the fleet with this status."""
    hours = max(0.0, status.at - status.since) / 3600
    images_per_second = 0.0 if status.latest is None else status.latest.images_per_second
    rate = status.instance_usd_per_hour
    compute = Cost(None if rate is None else rate * len(status.instances), status.cost_per_1000_images_usd)
    requests = Cost(prices.usd_per_image * images_per_second * 3600, prices.usd_per_image * 1000)
    standing_usd = sum(prices.standing_of(status.stack).values())
    standing = Cost(standing_usd, standing_usd * hours / status.answered * 1000 if status.answered else None)
    total = compute + requests + standing
    return FleetCosts(prices.region, prices.date.isoformat(), compute, requests, standing, total)


def format_usd(usd: float | None) -> str:
    """Format an amount for people, with about three digits; static/fleet.js has the same form."""
    if usd is None:
        return "–"
    return f"${usd:,.{4 if usd < 0.1 else 3 if usd < 1 else 2}f}"


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other
