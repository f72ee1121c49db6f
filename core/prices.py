"""AWS's prices: the table in ``prices.toml``, and what an hour and an image cost by it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

TABLE_FILE = Path(__file__).with_name("prices.toml")
# The mean month, as AWS's calculator has it; a month of stored data has 30 days.
HOURS_A_MONTH = 730
DAYS_A_MONTH = 30


@dataclass(frozen=True, slots=True)
class Prices:
    """A price table, in US dollars.

    Attributes:
        date: when the figures were last looked up.
        instances: an hour of an instance, by type.
        of: the other prices, by name.
        stack, idle_hour, image: what the stack, an idle hour and an image use.
        simple: what the simple deployment and its idle hour use.
        bulk: what the estimate of a bulk run assumes.
        packed_image: requests of an image where results are stored in packs (`results_per_object`).
    """

    region: str
    date: date
    instances: Mapping[str, float]
    of: Mapping[str, float]
    stack: Mapping[str, Any]
    idle_hour: Mapping[str, float]
    image: Mapping[str, float]
    simple: Mapping[str, Any]
    packed_image: Mapping[str, float] = field(default_factory=dict)
    bulk: Mapping[str, Any] = field(default_factory=dict)

    def in_packs(self) -> Prices:
        """This table for workers that store results in packs."""
        return replace(self, image={**self.image, **self.packed_image})

    def worker_usd_per_hour(self, instance_types: Sequence[str]) -> float | None:
        """An hour of a worker with its address and disk; None if no price of the first type is known."""
        instance = self.instances.get(instance_types[0]) if instance_types else None
        return None if instance is None else instance + self.of["address_hour"] + self._disk_usd_per_hour

    def spot_worker_usd_per_hour(self, instance_type: str) -> float:
        """An hour of a worker of a known type as a spot instance, with its address and disk."""
        spot: float = self.instances[instance_type] * self.bulk["spot_share"]
        return spot + self.of["address_hour"] + self._disk_usd_per_hour

    @property
    def standing(self) -> dict[str, float]:
        """What each part of the stack costs in an hour, also without workers and images."""
        of, stack, idle = self.of, self.stack, self.idle_hour
        web, controller = (self.instances[stack[f"{tier}_instance_type"]] for tier in ("web", "controller"))
        return {
            "load balancer": of["load_balancer_hour"],
            "its addresses": stack["load_balancer_addresses"] * of["address_hour"],
            "web tier": web + of["address_hour"],
            "controller": controller + of["address_hour"],
            "disks": 2 * self._disk_usd_per_hour,
            "S3, writing and listing": idle["s3_writes"] * of["s3_write"],
            "SQS": idle["sqs_requests"] * of["sqs_request"],
            "CloudWatch: metrics": stack["metrics"] * of["metric_month"] / HOURS_A_MONTH
            + idle["metric_requests"] * of["metric_request"],
            "CloudWatch: alarms, a dashboard": (
                stack["alarms"] * of["alarm_month"] + stack["dashboards"] * of["dashboard_month"]
            )
            / HOURS_A_MONTH,
        }

    @property
    def simple_standing(self) -> dict[str, float]:
        """What each part of the simple deployment costs in an hour, also without workers and images."""
        of, simple = self.of, self.simple
        return {
            "web tier and controller": self.instances[simple["instance_type"]] + of["address_hour"],
            "its disk": self._disk_usd_per_hour,
            "S3, writing and listing": simple["s3_writes"] * of["s3_write"],
            "S3, reading": simple["s3_reads"] * of["s3_read"],
            "SQS": simple["sqs_requests"] * of["sqs_request"],
        }

    def standing_of(self, stack: str) -> dict[str, float]:
        """`standing` of the stack, or of the simple deployment (``simple``)."""
        return self.simple_standing if stack == "simple" else self.standing

    @property
    def standing_usd_per_hour(self) -> float:
        """The sum of `standing`."""
        return sum(self.standing.values())

    @property
    def per_image(self) -> dict[str, float]:
        """What an image costs apart from the worker's time: requests, its storage and its way in."""
        of, image = self.of, self.image
        return {
            "S3, writing": image["s3_writes"] * of["s3_write"],
            "S3, listing": image["s3_lists"] * of["s3_write"],
            "S3, reading": image["s3_reads"] * of["s3_read"],
            "SQS": image["sqs_requests"] * of["sqs_request"],
            "photos kept": image["photo_gb"] * of["s3_gb_month"] * image["photo_days"] / DAYS_A_MONTH,
            "load balancer, photos in": image["photo_gb"] * of["load_balancer_capacity_unit_hour"],
        }

    @property
    def usd_per_image(self) -> float:
        """The sum of `per_image`."""
        return sum(self.per_image.values())

    @property
    def _disk_usd_per_hour(self) -> float:
        disk: float = self.stack["disk_gb"] * self.of["disk_gb_month"] / HOURS_A_MONTH
        return disk


@cache
def load_prices() -> Prices:
    """Read the price table that comes with the program."""
    with TABLE_FILE.open("rb") as file:
        table = tomllib.load(file)
    instances, others = (
        {name: entry["usd"] for name, entry in table[part].items()} for part in ("instances", "prices")
    )
    parts = (table[part] for part in ("stack", "idle_hour", "image", "simple", "packed_image", "bulk"))
    return Prices(table["region"], table["date"], instances, others, *parts)
