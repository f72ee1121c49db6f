"""The current limits of the scaling policy: from the settings, the schedule and measured times."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from controller.scaling.instance_tracker import InstanceTracker
from controller.scaling.observer import FleetSnapshot, mean_service_seconds
from controller.scaling.policy import Limits


class CurrentLimits:
    """Combine the settings with the schedule and with measured times.

    Args:
        base: the limits in the settings, with the times that are assumed until they are measured.
        floor: returns the fewest instances to keep at this moment.
        measure_service: whether to use the service time that workers measure once they report it.
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
        """Whether the mean service time was measured by workers."""
        return self._mean_service_seconds is not None

    def now(self, snapshot: FleetSnapshot | None) -> Limits:
        """The limits for a decision about `snapshot`.  A measured time is used until it is measured again."""
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
