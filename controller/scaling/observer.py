"""Observing: the queue, the fleet and the workers' reports, put together into what the policy decides about."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from aws.fleet import Instance
from aws.queue import Backlog
from controller.scaling.heartbeat_reader import HeartbeatReader
from controller.scaling.instance_tracker import InstanceTracker, State, TrackedInstance
from controller.scaling.policy import Observation


class Queue(Protocol):
    """What is asked of `aws.queue.JobQueue`."""

    def backlog(self) -> Backlog: ...


class Describer(Protocol):
    """What is asked of `aws.fleet.Fleet`."""

    def describe(self) -> list[Instance]: ...
    def ended(self, instance_ids: Sequence[str]) -> set[str]: ...


@dataclass(frozen=True, slots=True)
class FleetSnapshot:
    """Everything seen in one pass.

    `unseen` is instances that were launched but are not described yet, `unseen_releases` the release of each,
    `answered` how many images workers report to have answered.
    """

    backlog: Backlog
    members: tuple[TrackedInstance, ...]
    unseen: int
    answered: int = 0
    age_seconds: float = 0.0
    unseen_releases: tuple[int, ...] = ()

    def without(self, instance_ids: Collection[str], unseen: int) -> FleetSnapshot:
        """What the scaling policy sees: not these instances, and so many of `unseen` less."""
        members = tuple(member for member in self.members if member.instance.instance_id not in instance_ids)
        return dataclasses.replace(self, members=members, unseen=self.unseen - unseen)

    @property
    def booting(self) -> int:
        """Instances whose worker is expected to report soon."""
        return self.unseen + self._count(State.BOOTING)

    @property
    def running(self) -> int:
        """Instances whose worker reports."""
        return self._count(State.RUNNING)

    @property
    def present(self) -> int:
        """All instances that exist, working or not: what the maximum is about."""
        return len(self.members) + self.unseen

    @property
    def failed(self) -> list[TrackedInstance]:
        """Those to be replaced."""
        return [member for member in self.members if member.has_failed]

    @property
    def observation(self) -> Observation:
        """The policy's input.  Failed instances are no capacity."""
        busy = sum(member.state is State.RUNNING and not member.is_idle for member in self.members)
        ages = [member.quiet_seconds for member in self.members if member.state is State.BOOTING]
        return Observation(
            visible=self.backlog.visible,
            in_flight=self.backlog.in_flight,
            booting=self.booting,
            running=self.running,
            busy=busy,
            age_seconds=self.age_seconds,
            answered=self.answered,
            booting_ages=(*ages, *[0.0] * self.unseen),
        )

    @property
    def images_per_second(self) -> float:
        """What all workers together answered, over the last report of each."""
        return sum(m.heartbeat.images_per_second for m in self.members if m.heartbeat and m.state is State.RUNNING)

    @property
    def oldest_job_age_seconds(self) -> float | None:
        """The longest that a job had waited which a worker received lately; None where none was, or none is left."""
        ages = [m.heartbeat.oldest_job_age_seconds for m in self.members if m.heartbeat]
        known = [age for age in ages if age is not None]
        return max(known) if known and self.backlog.total else None

    def _count(self, state: State) -> int:
        return sum(member.state is state for member in self.members)


class Observer:
    """Looks at everything once.

    Args:
        clock: monotonic seconds.
    """

    def __init__(
        self,
        jobs: Queue,
        fleet: Describer,
        reports: HeartbeatReader,
        tracker: InstanceTracker,
        clock: Callable[[], float],
    ) -> None:
        self._jobs = jobs
        self._fleet = fleet
        self._reports = reports
        self._tracker = tracker
        self._clock = clock

    def observe(self) -> FleetSnapshot:
        """What there is now.

        Raises:
            CloudError: something could not be seen; half a sighting is none.
        """
        started = self._clock()
        backlog, instances = self._jobs.backlog(), self._fleet.describe()
        present = [instance.instance_id for instance in instances]
        somebody_boots = any(instance_id not in self._reports.latest for instance_id in present)
        self._reports.refresh(present, eager=somebody_boots)
        now = self._clock()
        members = self._tracker.update(instances, self._reports.latest, self._reports.looked_at, now)
        if unseen := self._tracker.unseen(now):
            # Not described yet, or not any more: who ended before anybody looked must not be waited for.
            self._tracker.ended(self._fleet.ended(unseen))
        releases = self._tracker.unseen_releases(now)
        return FleetSnapshot(
            backlog, tuple(members), len(releases), self._reports.answered, now - started, unseen_releases=releases
        )


def mean_service_seconds(members: Sequence[TrackedInstance]) -> float | None:
    """What the workers measured, each weighted by what it answers; None while none has."""
    measured = [
        (member.heartbeat.mean_service_seconds, member.heartbeat.images_per_second)
        for member in members
        if member.heartbeat is not None and member.heartbeat.mean_service_seconds is not None
    ]
    weight = sum(rate for _, rate in measured)
    return sum(seconds * rate for seconds, rate in measured) / weight if weight > 0 else None
