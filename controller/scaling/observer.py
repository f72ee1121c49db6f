"""The observer: combine the queue's counts, the fleet and the workers' heartbeats into a snapshot."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from aws.fleet import Instance
from aws.queue import Backlog
from controller.scaling.bulk_fleet import Deadline
from controller.scaling.heartbeat_reader import HeartbeatReader
from controller.scaling.instance_tracker import EndedInstance, InstanceTracker, State, TrackedInstance
from controller.scaling.policy import Observation


class Queue(Protocol):
    """The methods used of `aws.queue.JobQueue`."""

    def backlog(self) -> Backlog: ...


class Describer(Protocol):
    """The methods used of `aws.fleet.Fleet`."""

    def describe(self) -> list[Instance]: ...
    def ended(self, instance_ids: Sequence[str]) -> set[str]: ...


@dataclass(frozen=True, slots=True)
class FleetSnapshot:
    """The queue and the fleet as observed in one pass.

    `unseen` is the number of instances that were launched but are not described yet, `unseen_releases` the release of
    each, `answered` the number of images that workers report as answered, `age_seconds` how long observing took,
    `ended_early` the instances that have ended before their worker reported, since the snapshot before.
    `bulk_images` is how many of the backlog are images of bulk runs, and `bulk_max_instances` the most instances that
    they may have (None: there is no such limit), `bulk_deadlines` those of the runs with one.
    """

    backlog: Backlog
    members: tuple[TrackedInstance, ...]
    unseen: int
    answered: int = 0
    age_seconds: float = 0.0
    unseen_releases: tuple[int, ...] = ()
    ended_early: tuple[EndedInstance, ...] = ()
    bulk_images: int = 0
    bulk_max_instances: int | None = None
    bulk_deadlines: tuple[Deadline, ...] = ()

    def without(self, instance_ids: Collection[str], unseen: int) -> FleetSnapshot:
        """The snapshot without these instances, and with `unseen` fewer that are not described yet."""
        members = tuple(member for member in self.members if member.instance.instance_id not in instance_ids)
        return dataclasses.replace(self, members=members, unseen=self.unseen - unseen)

    @property
    def booting(self) -> int:
        """Instances whose worker has not published a heartbeat yet."""
        return self.unseen + self._count(State.BOOTING)

    def booting_of(self, release: int) -> int:
        """Those of `booting` that have this release."""
        there = [m.instance.release for m in self.members if m.state is State.BOOTING]
        return (*there, *self.unseen_releases).count(release)

    @property
    def running(self) -> int:
        """Instances whose worker publishes heartbeats."""
        return self._count(State.RUNNING)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is under way: no job, and no instance, working or not."""
        return not self.backlog.total and not self.present

    @property
    def present(self) -> int:
        """All instances that exist, working or not; the maximum size limits this number."""
        return len(self.members) + self.unseen

    @property
    def failed(self) -> list[TrackedInstance]:
        """The instances to be replaced."""
        return [member for member in self.members if member.has_failed]

    @property
    def observation(self) -> Observation:
        """The input of the scaling policy.  Failed instances do not count as capacity."""
        running = [member for member in self.members if member.state is State.RUNNING]
        busy = [member for member in running if not member.is_idle]
        return Observation(
            visible=self.backlog.visible,
            in_flight=self.backlog.in_flight,
            booting=self.booting,
            running=self.running,
            busy=len(busy),
            age_seconds=self.age_seconds,
            answered=self.answered,
            unreported_seconds=math.fsum(member.unreported_seconds for member in busy),
            idle_since=min((member.idle_since for member in running), default=-math.inf),
        )

    @property
    def images_per_second(self) -> float:
        """The rate at which all workers answer, summed from the last heartbeat of each."""
        return sum(m.heartbeat.images_per_second for m in self.members if m.heartbeat and m.state is State.RUNNING)

    @property
    def oldest_job_age_seconds(self) -> float | None:
        """The longest time that a recently received job had waited; None without such a job, or without a backlog."""
        ages = [m.heartbeat.oldest_job_age_seconds for m in self.members if m.heartbeat]
        known = [age for age in ages if age is not None]
        return max(known) if known and self.backlog.total else None

    def _count(self, state: State) -> int:
        return sum(member.state is state for member in self.members)


class Observer:
    """Observe the queue and the fleet once per pass.

    Args:
        clock: monotonic seconds.
        bulk_images: returns how many images of bulk runs wait, which count as jobs that wait.
        bulk_max_instances: returns the most instances that they may have; None: there is no such limit.
        bulk_deadlines: returns the runs that have a deadline.
    """

    def __init__(
        self,
        jobs: Queue,
        fleet: Describer,
        reports: HeartbeatReader,
        tracker: InstanceTracker,
        clock: Callable[[], float],
        bulk_images: Callable[[], int] = lambda: 0,
        bulk_max_instances: Callable[[], int | None] = lambda: None,
        bulk_deadlines: Callable[[], tuple[Deadline, ...]] = tuple,
    ) -> None:
        self._jobs = jobs
        self._fleet = fleet
        self._reports = reports
        self._tracker = tracker
        self._clock = clock
        self._bulk_images = bulk_images
        self._bulk_max_instances = bulk_max_instances
        self._bulk_deadlines = bulk_deadlines

    def observe(self, *, awaits_idle: bool = False) -> FleetSnapshot:
        """Return a snapshot of the queue and the fleet.

        Args:
            awaits_idle: list the heartbeats although they were listed just before, since busy workers are expected to
                become idle.

        Raises:
            CloudError: a part could not be observed; there are no partial snapshots.
        """
        started = self._clock()
        jobs, instances = self._jobs.backlog(), self._fleet.describe()
        bulk_images, bulk_max_instances = self._bulk_images(), self._bulk_max_instances()
        backlog = Backlog(jobs.visible + bulk_images, jobs.in_flight)
        present = [instance.instance_id for instance in instances]
        first_heartbeat_due = any(instance_id not in self._reports.latest for instance_id in present)
        self._reports.refresh(present, eager=first_heartbeat_due or awaits_idle)
        now = self._clock()
        members = self._tracker.update(instances, self._reports.latest, self._reports.looked_at, now)
        if unseen := self._tracker.unseen(now):
            # Not described yet, or already terminated: the latter are no longer expected.
            self._tracker.ended(self._fleet.ended(list(unseen)))
        releases = tuple(self._tracker.unseen(now).values())
        return FleetSnapshot(
            backlog,
            tuple(members),
            len(releases),
            self._reports.answered,
            now - started,
            releases,
            self._tracker.take_ended_early(),
            bulk_images,
            bulk_max_instances,
            self._bulk_deadlines(),
        )


def mean_service_seconds(members: Sequence[TrackedInstance]) -> float | None:
    """The mean of the service times that workers report, weighted by their rates; None while none is reported."""
    measured = [
        (member.heartbeat.mean_service_seconds, member.heartbeat.images_per_second)
        for member in members
        if member.heartbeat is not None and member.heartbeat.mean_service_seconds is not None
    ]
    weight = sum(rate for _, rate in measured)
    return sum(seconds * rate for seconds, rate in measured) / weight if weight > 0 else None
