"""The executor: launch and terminate instances, only while the lease is held, and never twice.

Before it launches, the executor announces the count and the client token in the lease.  If it crashes or EC2's response
is lost, the next holder of the lease repeats the request with the same token: EC2 either responds as before or launches
now.  The announcement also lists the instances of earlier launches that EC2 does not describe yet.  So the number of
instances is known before more are requested.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from aws.ec2_fleet_launch import Launch
from controller.rollout.state_machine import Plan
from controller.scaling.instance_tracker import InstanceTracker, State, TrackedInstance, select_for_termination
from controller.scaling.launch_backoff import LaunchBackoff
from controller.scaling.observer import FleetSnapshot
from core.errors import CloudError, DecodeError
from core.releases import Release
from core.versioned_json import Count, Seconds, decode_record, encode_record, record

log = logging.getLogger(__name__)

# EC2 keeps client tokens for longer, but long before this time DescribeInstances lists whatever was launched.
ANNOUNCEMENT_SECONDS = 3600.0


class Machines(Protocol):
    """The methods used of `aws.fleet.Fleet`."""

    def launch(self, count: int, client_token: str, release: Release) -> Launch: ...
    def name(self, instance_ids: Sequence[str], taken: Sequence[str]) -> dict[str, str]: ...
    def terminate(self, instance_ids: Sequence[str]) -> None: ...


class Leadership(Protocol):
    """The methods used of `aws.lease.Lease`."""

    holder: str
    generation: int
    note: str

    def held(self) -> bool: ...
    def announce(self, note: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done: instances launched and terminated, and the problem that prevented more, one sentence."""

    launched: int = 0
    terminated: int = 0
    problem: str = ""


@record("an announced launch", version=None, max_bytes=32 * 1024)
@dataclass(frozen=True, slots=True)
class _Announcement:
    """A launch that is about to be requested, and the releases of launched instances that EC2 does not describe yet."""

    count: Count
    token: str
    at: Seconds
    release: Release
    unseen: Mapping[str, Count] = field(default_factory=dict)

    def encode(self) -> str:
        return encode_record(self).decode()

    @classmethod
    def decode(cls, note: str) -> _Announcement | None:
        """The announcement in a lease's note; None if the note cannot be decoded as one."""
        try:
            return decode_record(cls, note)
        except DecodeError as error:
            log.warning("the note in the lease is ignored: %s", error)
            return None

    def check(self) -> None:
        """Check the fields after decoding.

        Raises:
            ValueError: no controller writes such an announcement.
        """
        if not self.count or not self.token:
            raise ValueError("no instances, or no token")


class Executor:
    """Launch and terminate instances until the fleet has the desired capacity.

    Args:
        clock: monotonic seconds.
        wall_clock: seconds since the epoch.
    """

    def __init__(
        self,
        fleet: Machines,
        lease: Leadership,
        tracker: InstanceTracker,
        max_size: int,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._fleet = fleet
        self._lease = lease
        self._tracker = tracker
        self._max_size = max_size
        self._clock = clock
        self._wall_clock = wall_clock
        self._backoff = LaunchBackoff()
        self._numbers = itertools.count(1)
        self._problem = ""
        self._answered_token = ""
        self._given: dict[str, str] = {}  # names of instances that EC2 does not describe yet

    def settle(self) -> bool:
        """Complete an announced launch, also that of another controller; return whether none is pending any more.

        Called before the fleet is observed, so that the instances that it launches are observed.

        Raises:
            CloudError: EC2 could not be reached, or refused the request.
        """
        if not self._lease.note:
            return True
        announced = _Announcement.decode(self._lease.note)
        if announced is None or self._wall_clock() - announced.at > ANNOUNCEMENT_SECONDS:
            self._lease.note = ""
            return True
        if announced.token == self._answered_token:
            if not self._tracker.unseen(self._clock()):
                self._lease.note = ""  # EC2 describes what was launched: the announcement is no longer needed
            return True
        if not self._lease.held():
            return False
        log.info("repeating an announced launch of %d", announced.count)
        for instance_id, release in announced.unseen.items():
            self._tracker.launched([instance_id], self._clock(), release, just_now=False)
        self._launch(announced, just_now=False)
        return True

    def act(self, change: int, snapshot: FleetSnapshot, plan: Plan) -> Outcome:
        """Terminate failed instances, then carry out the plan and the decision; the next pass repeats what failed.

        Each pass makes one launch request at most, that of the plan first: the lease holds one announcement.

        Args:
            change: instances to launch (positive) or to terminate, as the scaling policy decided.
            snapshot: the whole fleet, also the instances that the scaling policy does not count.
            plan: what a rollout launches and terminates.

        Raises:
            CloudError: a service failed midway, or the lease is lost.
        """
        terminated = self._terminate_failed(snapshot)
        terminated += self._terminate([m for m in snapshot.members if m.instance.instance_id in plan.drain])
        launched: tuple[str, ...] = ()
        if change < 0:
            terminated += self._scale_in(-change, snapshot, plan)
        if plan.launch:
            launched = self._scale_out(plan.launch, snapshot, plan.record.goal)
        elif change > 0:
            launched = self._scale_out(change, snapshot, plan.release)
        else:
            self._problem = ""
        self._name(launched, snapshot)
        return Outcome(len(launched), terminated, self._problem)

    def _terminate_failed(self, snapshot: FleetSnapshot) -> int:
        for member in snapshot.failed:
            if member.state is State.UNHEALTHY and member.heartbeat is not None:
                what = f"cannot work ({member.heartbeat.failure})"
                # Its replacement will most likely fail as well.
                self._backoff.failed(self._clock(), retryable=True)
            else:
                what = "has stopped reporting" if member.state is State.UNRESPONSIVE else "has never reported"
                what += f" for {member.quiet_seconds:.0f} s"
            log.warning("%s (%s) %s: replacing it", member.instance.instance_id, member.instance.name, what)
        return self._terminate(snapshot.failed)

    def _scale_in(self, count: int, snapshot: FleetSnapshot, plan: Plan) -> int:
        self._problem = ""
        there = snapshot.without({*plan.drain, *plan.hidden}, 0).members
        working = [member for member in there if not member.has_failed]
        return self._terminate(select_for_termination(working, count))

    def _terminate(self, members: Sequence[TrackedInstance]) -> int:
        if not members or not self._lease.held():
            return 0
        instance_ids = [member.instance.instance_id for member in members]
        self._fleet.terminate(instance_ids)
        self._tracker.terminated(instance_ids, self._clock())
        return len(instance_ids)

    def _scale_out(self, change: int, snapshot: FleetSnapshot, release: Release) -> tuple[str, ...]:
        count = min(change, self._max_size - snapshot.present)
        if count <= 0 or not self._backoff.is_over(self._clock()):
            return ()
        name = f"{self._lease.holder}/{self._lease.generation}/{next(self._numbers)}"
        token = hashlib.sha256(name.encode()).hexdigest()[:40]
        announcement = _Announcement(count, token, self._wall_clock(), release, self._tracker.unseen(self._clock()))
        self._lease.announce(announcement.encode())
        return self._launch(announcement, just_now=True).instance_ids

    def _launch(self, announced: _Announcement, *, just_now: bool) -> Launch:
        launch = self._fleet.launch(announced.count, announced.token, announced.release)
        now = self._clock()
        self._answered_token = announced.token
        self._tracker.launched(launch.instance_ids, now, announced.release.number, just_now=just_now)
        if launch.problem is None:
            self._backoff.succeeded()
            self._problem = ""
        else:
            self._backoff.failed(now, retryable=launch.problem.retryable, some=bool(launch.instance_ids))
            self._problem = launch.problem.sentence
            log.log(logging.WARNING if launch.problem.retryable else logging.ERROR, "%s", self._problem)
        return launch

    def _name(self, launched: Sequence[str], snapshot: FleetSnapshot) -> None:
        """Tag instances that have no name yet: new ones, those that EC2 did not know before, and adopted ones."""
        members = [member.instance for member in snapshot.members]
        unnamed = [*(instance.instance_id for instance in members if not instance.name), *launched]
        described = {instance.instance_id for instance in members}
        self._given = {key: name for key, name in self._given.items() if key not in described}
        if not self._tracker.unseen(self._clock()):
            self._given.clear()
        if not unnamed or not self._lease.held():
            return
        try:
            taken = [*(instance.name for instance in members), *self._given.values()]
            self._given |= self._fleet.name(unnamed, taken)
        except CloudError as error:
            log.warning("%s; a later pass names the instances", error)
