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
from controller.rollout.state_machine import Plan, failure_of, is_proven
from controller.scaling.instance_tracker import InstanceTracker, State, TrackedInstance, select_for_termination
from controller.scaling.launch_backoff import LaunchBackoff
from controller.scaling.observer import FleetSnapshot
from core.errors import CloudError, DecodeError
from core.fleet_status import LaunchTrouble
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
    """What was done.

    Attributes:
        launched, terminated: numbers of instances.
        replaced: why instances that do not work were terminated, one sentence; they are part of `terminated`.
        problem: what prevented more launches, one sentence.
        trouble: launches that have failed in a row.
    """

    launched: int = 0
    terminated: int = 0
    replaced: str = ""
    problem: str = ""
    trouble: LaunchTrouble | None = None


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
        self._working: frozenset[str] = frozenset()
        self._failing: frozenset[str] = frozenset()
        self._answered_token = ""
        self._given: dict[str, str] = {}  # names of instances that EC2 does not describe yet

    def settle(self) -> bool:
        """Complete an announced launch, also that of another controller; return whether none is pending any more.

        Called before the fleet is observed, so that the instances that it launches are observed.  While launches pause,
        the request is not repeated.

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
        if not self._lease.held() or self._clock() < self._backoff.refusals.not_before:
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
        self._judge_starts(snapshot)
        failed = self._terminate(snapshot.failed)
        complaints = [_complaint(member) for member in snapshot.failed] if failed else []
        for complaint in complaints:
            log.warning("terminated %s", complaint)
        drained = self._terminate([m for m in snapshot.members if m.instance.instance_id in plan.drain])
        surplus = self._scale_in(-change, snapshot, plan) if change < 0 else 0
        launched: tuple[str, ...] = ()
        release = plan.record.goal if plan.launch else plan.release
        if plan.launch or change > 0:
            launched = self._scale_out(plan.launch or change, snapshot, release)
        else:
            self._problem = ""
        self._name(launched, snapshot)
        trouble = self.trouble(release.number)
        return Outcome(len(launched), failed + drained + surplus, _summary(complaints), self._problem, trouble)

    def _judge_starts(self, snapshot: FleetSnapshot) -> None:
        """Count instances that have failed before they worked; where a new one works, forget the failures before."""
        now = self._clock()
        for ended in snapshot.ended_early:
            sentence = f"{ended.name or ended.instance_id} ended before its worker reported; its log has the reason"
            log.warning("%s", sentence)
            self._backoff.start_failed(now, ended.release, sentence)
        # One that has worked and has stopped reporting says nothing about the next.
        failing = {m.instance.instance_id: m for m in snapshot.failed if m.state is not State.UNRESPONSIVE}
        for instance_id in sorted(failing.keys() - self._failing):
            member = failing[instance_id]
            cause = f"{member.instance.name or instance_id}: {failure_of(member)}"
            self._backoff.start_failed(now, member.instance.release, cause)
        working = {m.instance.instance_id: m.instance.release for m in snapshot.members if is_proven(m)}
        for instance_id in working.keys() - self._working:
            self._backoff.works(working[instance_id])
        self._working, self._failing = frozenset(working), frozenset(failing)

    def trouble(self, release: int) -> LaunchTrouble | None:
        """The failures in a row that concern the next launch: those of starts, else of requests."""
        starts, refusals = self._backoff.failed_starts(release), self._backoff.refusals
        failures = starts if starts.count else refusals
        if not failures.count:
            return None
        what = "instance" if failures is starts else "launch request"
        wait_seconds = max(starts.not_before, refusals.not_before) - self._clock()
        next_at = round(self._wall_clock() + max(0.0, wait_seconds), 1)
        return LaunchTrouble(what, failures.count, failures.reason, next_at)

    def _hold_reason(self, release: int) -> str:
        """Why fewer instances are launched than are needed, one sentence."""
        starts = self._backoff.failed_starts(release)
        if not starts.count:
            return self._backoff.refusals.reason
        return "launches are slowed down, since the last ones have failed"

    def _scale_in(self, count: int, snapshot: FleetSnapshot, plan: Plan) -> int:
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
        possible = min(change, self._max_size - snapshot.present)
        booting = snapshot.booting_of(release.number)
        count = min(possible, self._backoff.most(self._clock(), release.number, booting))
        self._problem = self._hold_reason(release.number) if count < possible else ""
        if count <= 0:
            return ()
        name = f"{self._lease.holder}/{self._lease.generation}/{next(self._numbers)}"
        token = hashlib.sha256(name.encode()).hexdigest()[:40]
        announcement = _Announcement(count, token, self._wall_clock(), release, self._tracker.unseen(self._clock()))
        self._lease.announce(announcement.encode())
        return self._launch(announcement, just_now=True).instance_ids

    def _launch(self, announced: _Announcement, *, just_now: bool) -> Launch:
        try:
            launch = self._fleet.launch(announced.count, announced.token, announced.release)
        except CloudError as error:
            self._backoff.refused(self._clock(), str(error), retryable=True)
            raise
        now = self._clock()
        self._answered_token = announced.token
        self._tracker.launched(launch.instance_ids, now, announced.release.number, just_now=just_now)
        if (problem := launch.problem) is None:
            self._backoff.granted()
        else:
            some = bool(launch.instance_ids)
            self._backoff.refused(now, problem.sentence, retryable=problem.retryable, some=some)
            self._problem = problem.sentence
            log.log(logging.WARNING if problem.retryable else logging.ERROR, "%s", self._problem)
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


def _complaint(member: TrackedInstance) -> str:
    """The name of an instance that has failed, and why."""
    name = member.instance.name or member.instance.instance_id
    if member.state is State.UNHEALTHY and member.heartbeat is not None:
        return f"{name}, which cannot work: {member.heartbeat.failure}"
    never = "has never reported in" if member.state is State.BOOT_TIMEOUT else "has not reported for"
    return f"{name}, which {never} {member.quiet_seconds:.0f} s"


def _summary(complaints: Sequence[str]) -> str:
    if not complaints:
        return ""
    others = f"; {len(complaints) - 1} more failed" if len(complaints) > 1 else ""
    return f"terminated {complaints[0]}{others}"
