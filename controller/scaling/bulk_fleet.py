"""The fleet for a bulk run: how many instances finish it by a deadline or within a budget.  Pure: no I/O, no clock.

A run's images wait from the start, so that time and cost follow from the number of instances `n` alone.  With `N`
images, a boot of `B` seconds and `r` images a second of each instance, but no more than `R` of all together:

    seconds(n) = B + N / min(n × r, R)
    usd(n) = n × max(seconds(n), 60) × price of a second + N × what an image costs besides

More instances are never slower and never cheaper: each costs its boot, and EC2 bills a minute at least (EC2 user guide,
"On-Demand Instances").  So the deadline asks for the fewest that meet it, and the budget for the most that it pays.

While a run goes on, its deadline is a floor as well: `least_for_deadlines` counts anew what is left, so that the fleet
grows where the policy alone would keep fewer, or instances were lost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from controller.scaling.policy import Limits
from core.errors import ElasticError

MIN_BILLED_SECONDS = 60.0


class BulkFleetError(ElasticError):
    """No fleet meets the deadline and the budget; the message says what is possible."""


@dataclass(frozen=True, slots=True)
class BulkWork:
    """A bulk run, and the instances that it can have.

    Attributes:
        images: how many are not answered.
        images_per_second: that one instance answers.
        boot_seconds: from a launch to the first image.
        usd_per_hour: the price of an instance with its address and disk.
        usd_per_image: what an image costs besides: its requests.
        max_size: the most instances.
        max_images_per_second: what the run takes in at most, whatever the number of instances: the rate at which jobs
            are enqueued, and at which S3 serves one prefix.
        boot_payback: as in `controller.scaling.policy.Limits`, for a run without deadline and budget.
    """

    images: int
    images_per_second: float
    boot_seconds: float
    usd_per_hour: float
    usd_per_image: float = 0.0
    max_size: int = 15
    max_images_per_second: float = math.inf
    boot_payback: float = 3.5

    def seconds(self, instances: int) -> float:
        """How long the run takes; infinite without instances."""
        if not self.images:
            return 0.0
        rate = min(instances * self.images_per_second, self.max_images_per_second)
        if rate <= 0:
            return math.inf
        return self.boot_seconds + self.images / rate

    def usd(self, instances: int) -> float:
        """What the run costs."""
        if not self.images:
            return 0.0
        billed_seconds = max(MIN_BILLED_SECONDS, self.seconds(instances))
        return instances * billed_seconds * self.usd_per_hour / 3600 + self.images * self.usd_per_image


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """The number of instances for a run, how long it takes with them and costs, and why there are so many.

    `ceiling` is the most that its deadline may ask for later: what the budget pays.
    """

    instances: int
    seconds: float
    usd: float
    reason: str
    ceiling: int = 0


def plan_fleet(
    work: BulkWork, finish_within_seconds: float | None = None, at_most_usd: float | None = None
) -> FleetPlan:
    """Choose the number of instances for a run.

    * With a deadline: the fewest that finish in time, which cost the least, also where the budget would pay more.
    * With a budget alone: the most that it pays and that make the run faster.
    * With neither: as many as are expected to work `boot_payback` times as long as they boot, as for other images.

    Raises:
        BulkFleetError: no number of instances finishes in time, costs so little, or does both.
    """
    if not work.images:
        return FleetPlan(0, 0.0, 0.0, "no image waits")
    useful = _first(work.max_size, lambda count: count * work.images_per_second >= work.max_images_per_second)
    most = work.max_size if useful is None else useful
    if most < 1:
        raise BulkFleetError("the maximum of instances is 0")
    if finish_within_seconds is not None:
        return _by_deadline(work, most, finish_within_seconds, at_most_usd)
    if at_most_usd is not None:
        return _by_budget(work, most, at_most_usd)
    payback_seconds = work.boot_payback * work.boot_seconds
    paid = work.images / work.images_per_second / payback_seconds if payback_seconds else math.inf
    count = max(1, math.floor(min(most, paid)))
    return _plan(work, count, f"each works {work.boot_payback:g} times as long as it boots, or longer")


@dataclass(frozen=True, slots=True)
class Deadline:
    """A bulk run with a deadline.

    Attributes:
        images: how many are not answered.
        seconds_left: until the deadline; negative after it.
        ceiling: the most instances that the deadline may ask for; 0: as many as the fleet may have.
    """

    images: int
    seconds_left: float
    ceiling: int = 0


def least_for_deadlines(deadlines: Iterable[Deadline], limits: Limits, capacity: int) -> int:
    """The fewest instances that finish all runs in time: the floor of the fleet, 0 where no image is left.

    The runs share the fleet, so that their numbers add up.  What is there works from now on, what is launched after its
    boot.  Where no launch can help any more, because a boot takes longer than is left, what is there is kept.

    Args:
        limits: of the whole fleet: rate and boot time of an instance, and the most instances.
        capacity: the instances that are running or booting.
    """
    free, least = max(0, capacity), 0
    for deadline in sorted(deadlines, key=lambda deadline: deadline.seconds_left):
        if deadline.images <= 0:
            continue
        needed = min(_in_time(deadline, limits, free), deadline.ceiling or limits.max_size)
        least, free = least + needed, max(0, free - needed)
    return min(least, limits.max_size)


def _in_time(deadline: Deadline, limits: Limits, there: int) -> int:
    """The fewest instances for one run, of which up to `there` need no boot."""
    work = deadline.images * limits.mean_service_seconds
    left, after_boot = deadline.seconds_left, deadline.seconds_left - limits.expected_boot_seconds
    if work <= there * left:
        return math.ceil(work / left)
    if after_boot <= 0:
        return there
    missing = (work - there * left) / after_boot
    return there + math.ceil(min(missing, limits.max_size))


def within_plan(limits: Limits, interactive: int, most: int | None, least: int = 0) -> Limits:
    """The limits of the whole fleet while images of bulk runs wait that may have `most` instances, and need `least`.

    There are more than `most` only where the other images alone need more, or a deadline does.

    Args:
        interactive: how many images of the backlog are of no bulk run.
        most: None: as many as the fleet may have.
        least: as `least_for_deadlines` counts it.
    """
    max_size = limits.max_size
    if most is not None:
        alone = math.ceil(interactive / limits.acceptable_backlog_per_instance)
        max_size = min(limits.max_size, max(limits.min_size, most, alone, least))
    return replace(limits, max_size=max_size, min_size=max(limits.min_size, min(least, max_size)))


def plan_sentence(images: int, plan: FleetPlan) -> str:
    """The fleet for a bulk run by the formula, in a sentence."""
    return (
        f"By the formula, {images:,} images take {format_duration(plan.seconds)} and {_usd(plan.usd)} with "
        f"{_instances(plan.instances).replace('one', '1')}: {plan.reason}."
    )


def _by_deadline(work: BulkWork, most: int, within_seconds: float, at_most_usd: float | None) -> FleetPlan:
    count = _first(most, lambda count: work.seconds(count) <= within_seconds)
    if count is None:
        fastest = work.seconds(most)
        raise BulkFleetError(
            f"{work.images:,} images cannot be finished in {format_duration(within_seconds)}: "
            f"{_instances(most)}, the most that can be used, need {format_duration(fastest)}"
        )
    if at_most_usd is not None and work.usd(count) > at_most_usd:
        raise BulkFleetError(
            f"{work.images:,} images in {format_duration(within_seconds)} cost {_usd(work.usd(count))} with "
            f"{_instances(count)}, the fewest in time: more than {_usd(at_most_usd)}"
        )
    plan = _plan(work, count, f"the fewest that finish in {format_duration(within_seconds)}")
    if at_most_usd is None:
        return replace(plan, ceiling=most)
    too_many = _first(most, lambda count: work.usd(count) > at_most_usd)
    return replace(plan, ceiling=most if too_many is None else too_many - 1)


def _by_budget(work: BulkWork, most: int, at_most_usd: float) -> FleetPlan:
    if work.usd(1) > at_most_usd:
        raise BulkFleetError(
            f"{work.images:,} images cost {_usd(work.usd(1))} with one instance: more than {_usd(at_most_usd)}"
        )
    too_many = _first(most, lambda count: work.usd(count) > at_most_usd)
    count = most if too_many is None else too_many - 1
    return _plan(work, count, f"the most that {_usd(at_most_usd)} pay, or that can be used")


def _plan(work: BulkWork, count: int, reason: str) -> FleetPlan:
    return FleetPlan(count, work.seconds(count), work.usd(count), reason)


def _first(most: int, is_enough: Callable[[int], bool]) -> int | None:
    """The first number from 1 to `most` for which a condition holds that holds for all later ones, too."""
    if most < 1 or not is_enough(most):
        return None
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle + 1, high)
    return low


def _instances(count: int) -> str:
    return "one instance" if count == 1 else f"{count:,} instances"


def format_duration(seconds: float) -> str:
    """Format a time for people: in seconds, minutes or hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _usd(usd: float) -> str:
    return f"${usd:,.2f}"
