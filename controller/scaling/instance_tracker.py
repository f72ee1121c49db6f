"""The state of each instance in the fleet: pure bookkeeping over what EC2 describes and what workers report.

EC2's *running* means that a virtual machine has started, not that its worker works.  So an instance counts as booting
until its worker publishes a heartbeat, and as running from then on.  The time without a heartbeat is summed from one
listing to the next, at most `max_step_seconds` for each, so that no instance counts as failed after a time in which the
heartbeats could not be listed or no controller ran.
"""

from __future__ import annotations

import enum
import math
import statistics
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from aws.fleet import Instance
from core.heartbeat import Heartbeat

# DescribeInstances lags behind launches and terminations, commonly for seconds.
SETTLE_SECONDS = 60.0
# Boot times change with instance types and machine images, so only the latest are used to predict the next.
_BOOTS_KEPT = 20


class State(enum.StrEnum):
    """The state of an instance; values are those of the status object."""

    BOOTING = enum.auto()
    RUNNING = enum.auto()
    UNRESPONSIVE = enum.auto()  # its worker has stopped reporting
    BOOT_TIMEOUT = enum.auto()  # its worker has never reported, for too long
    UNHEALTHY = enum.auto()  # its worker reports that it cannot work


@dataclass(frozen=True, slots=True)
class Report:
    """A worker's latest heartbeat: the object's `etag`, and its content unless that could not be read yet.

    `is_read`: the content is that of `etag`, not of an earlier heartbeat.
    """

    etag: str
    heartbeat: Heartbeat | None = None
    is_read: bool = True


@dataclass(frozen=True, slots=True)
class TrackedInstance:
    """An instance and its state.

    `quiet_seconds` is since its last heartbeat or, without any, its discovery.  `unreported_seconds` is the most time
    since its worker published its last heartbeat, which is listed some time later.  `idle_since`: after this time its
    worker found the queue empty; -infinity where it has not.
    """

    instance: Instance
    state: State
    quiet_seconds: float
    heartbeat: Heartbeat | None = None
    unreported_seconds: float = 0.0
    idle_since: float = -math.inf

    @property
    def is_idle(self) -> bool:
        """Whether its worker is known to hold no job."""
        return self.heartbeat is not None and self.heartbeat.in_hand == 0

    @property
    def has_failed(self) -> bool:
        """Whether it is to be replaced."""
        return self.state in (State.UNRESPONSIVE, State.BOOT_TIMEOUT, State.UNHEALTHY)


@dataclass(frozen=True, slots=True)
class EndedInstance:
    """An instance that ended before its worker reported, and that this controller did not terminate."""

    instance_id: str
    release: int
    name: str = ""


@dataclass(slots=True)
class _Entry:
    instance: Instance
    etag: str | None = None
    quiet_seconds: float = 0.0
    not_before: float = 0.0  # its last heartbeat was published after this time


class InstanceTracker:
    """Track the fleet's instances from pass to pass.  All times are monotonic seconds.

    Args:
        boot_grace_seconds: see the setting of this name.
        heartbeat_timeout_seconds: see the setting of this name.
        max_step_seconds: the most time between two listings that counts as time without a heartbeat.
    """

    def __init__(self, boot_grace_seconds: float, heartbeat_timeout_seconds: float, max_step_seconds: float) -> None:
        self._boot_grace_seconds = boot_grace_seconds
        self._heartbeat_timeout_seconds = heartbeat_timeout_seconds
        self._max_step_seconds = max_step_seconds
        self._entries: dict[str, _Entry] = {}
        self._launched_at: dict[str, float] = {}
        self._unseen: dict[str, tuple[float, int]] = {}
        self._terminated_at: dict[str, float] = {}
        self._boots: deque[float] = deque(maxlen=_BOOTS_KEPT)
        self._looked_at: float | None = None
        self._updated_at = float("-inf")
        self._ended_early: list[EndedInstance] = []

    @property
    def expected_boot_seconds(self) -> float | None:
        """The median time from a recent launch to the first heartbeat; None where none was measured."""
        return statistics.median(self._boots) if self._boots else None

    def launched(self, instance_ids: Collection[str], now: float, release: int = 0, *, just_now: bool = True) -> None:
        """Note launched instances, which EC2 may not describe yet; measure their boot time if `just_now`."""
        for instance_id in instance_ids:
            if instance_id not in self._entries:
                self._unseen[instance_id] = now, release
            if just_now:
                self._launched_at[instance_id] = now

    def terminated(self, instance_ids: Collection[str], now: float) -> None:
        """Note terminated instances, which EC2 may still describe."""
        self._terminated_at |= dict.fromkeys(instance_ids, now)

    def unseen(self, now: float) -> dict[str, int]:
        """The instances that were launched and are not described yet, and the release of each."""
        self._unseen = {key: (at, number) for key, (at, number) in self._unseen.items() if now - at < SETTLE_SECONDS}
        return {key: number for key, (_, number) in self._unseen.items()}

    def ended(self, instance_ids: Collection[str]) -> None:
        """Note launched instances that have ended before they were described; they are no longer expected."""
        gone = [(key, release) for key, (_, release) in self._unseen.items() if key in instance_ids]
        self._ended_early += [EndedInstance(key, release) for key, release in gone if key not in self._terminated_at]
        self._unseen = {key: value for key, value in self._unseen.items() if key not in instance_ids}

    def take_ended_early(self) -> tuple[EndedInstance, ...]:
        """The instances that have ended before their worker reported, since the last call."""
        ended, self._ended_early = tuple(self._ended_early), []
        return ended

    def update(
        self, instances: Sequence[Instance], reports: Mapping[str, Report], looked_at: float, now: float
    ) -> list[TrackedInstance]:
        """Update the state of each instance from EC2's description and the reports; return them, oldest first.

        Args:
            reports: each instance's latest report.
            looked_at: when the reports were listed; the same as last time where they were not listed again.
        """
        self._terminated_at = {key: at for key, at in self._terminated_at.items() if now - at < SETTLE_SECONDS}
        present = {i.instance_id: i for i in instances if i.instance_id not in self._terminated_at}
        before = looked_at if self._looked_at is None else self._looked_at
        passed = min(looked_at - before, self._max_step_seconds)
        self._looked_at = looked_at
        if now - self._updated_at < SETTLE_SECONDS:  # otherwise another controller may have terminated them
            gone = [entry for key, entry in self._entries.items() if key not in present]
            self._ended_early += [
                EndedInstance(entry.instance.instance_id, entry.instance.release, entry.instance.name)
                for entry in gone
                if entry.etag is None and entry.instance.instance_id not in self._terminated_at
            ]
        self._updated_at = now
        known = self._entries
        self._entries = {key: known.get(key) or _Entry(instance) for key, instance in present.items()}
        self._launched_at = {k: at for k, at in self._launched_at.items() if k in present or k in self._unseen}
        for key in present:
            self._unseen.pop(key, None)
        # What was discovered just now has not been quiet since the listing before.
        return [
            self._member(instance, reports.get(key), passed if key in known else 0.0, before, now)
            for key, instance in present.items()
        ]

    def _member(
        self, instance: Instance, report: Report | None, passed: float, listed_before: float, now: float
    ) -> TrackedInstance:
        entry = self._entries[instance.instance_id]
        entry.instance = instance  # it may have been given its name
        if report is not None and report.etag != entry.etag:
            if entry.etag is None and (launched_at := self._launched_at.pop(instance.instance_id, None)) is not None:
                self._boots.append(now - launched_at)
            entry.etag, entry.quiet_seconds, entry.not_before = report.etag, 0.0, listed_before
        else:
            entry.quiet_seconds += passed
        if entry.etag is None:
            state = State.BOOT_TIMEOUT if entry.quiet_seconds >= self._boot_grace_seconds else State.BOOTING
        else:
            state = State.UNRESPONSIVE if entry.quiet_seconds >= self._heartbeat_timeout_seconds else State.RUNNING
            if report is not None and report.heartbeat is not None and report.heartbeat.failure:
                state = State.UNHEALTHY
        heartbeat = None if report is None else report.heartbeat
        is_idle = report is not None and report.is_read and heartbeat is not None and heartbeat.has_found_nothing
        idle_since = entry.not_before if is_idle else -math.inf
        return TrackedInstance(instance, state, entry.quiet_seconds, heartbeat, now - entry.not_before, idle_since)


def select_for_termination(members: Sequence[TrackedInstance], count: int) -> list[TrackedInstance]:
    """Select the instances that scale-in terminates: those without a working worker first, then idle, then busy ones.

    The first are sorted by the time since their last heartbeat, the longest first.  Of the others the youngest go
    first: their caches hold the least, and the older ones have shown that they work.
    """

    def loss(member: TrackedInstance) -> tuple[int, float, str]:
        if member.state in (State.BOOTING, State.BOOT_TIMEOUT, State.UNHEALTHY):
            return 0, -member.quiet_seconds, member.instance.instance_id
        launched_at = member.instance.launched_at.timestamp()
        return 1 if member.is_idle else 2, -launched_at, member.instance.instance_id

    return sorted(members, key=loss)[:count]
