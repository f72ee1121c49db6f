"""The policy's limits at a moment: the settings, with what has been measured and what the schedule says in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from controller.scaling.instance_tracker import InstanceTracker
from controller.scaling.observer import FleetSnapshot, mean_service_seconds
from controller.scaling.policy import Limits


class CurrentLimits:
    """Puts limits together.

    Args:
        base: from the settings, with what is assumed while nothing is measured.
        floor: the fewest instances to keep at this moment.
        measure_service: take the workers' own service time once they report it.
    """

    def __init__(
        self, base: Limits, tracker: InstanceTracker, floor: Callable[[], int], *, measure_service: bool
    ) -> None:
        self._base = base
        self._tracker = tracker
        self._floor = floor
        self._measure_service = measure_service
        self._mean_service_seconds: float | None = None

    @property
    def service_measured(self) -> bool:
        """Whether the mean service time is one that workers measured."""
        return self._mean_service_seconds is not None

    def now(self, snapshot: FleetSnapshot | None) -> Limits:
        """The limits for a decision about `snapshot`.  What was measured once holds until it is measured again."""
        if self._measure_service and snapshot is not None:
            measured = mean_service_seconds(snapshot.members)
            self._mean_service_seconds = measured or self._mean_service_seconds
        expected_boot_seconds = self._tracker.expected_boot_seconds
        if expected_boot_seconds is None:
            expected_boot_seconds = self._base.expected_boot_seconds
        return dataclasses.replace(
            self._base,
            min_size=min(self._floor(), self._base.max_size),
            mean_service_seconds=self._mean_service_seconds or self._base.mean_service_seconds,
            expected_boot_seconds=expected_boot_seconds,
        )
