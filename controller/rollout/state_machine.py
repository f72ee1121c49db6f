"""A rollout as a state machine: the record, the fleet and the reports in, one plan with its reason out.  Pure.

A *canary* comes first: one instance of the target beside the fleet.  Once its worker has reported that release, which
it does only after its smoke test, the rest follows: for each worker of the goal that has proven itself one of the
others drains.  New instances come on top of the fleet as far as the maximum allows; at the maximum, a few places at a
time are cleared first.  If too many of the target fail, or none proves itself for too long, the same happens in the
other direction.  The record is the only state, so that any controller can continue from it.

docs/adr/0012-a-release-is-an-instance.md says why it is done like this.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from controller.scaling.instance_tracker import State, TrackedInstance, select_for_termination
from core.releases import FIRST, Phase, Release, ReleaseRecord

# So many instances of a release may fail before it is taken for bad.
MAX_FAILED = 3
# The share of the maximum whose places are cleared at a time where the fleet is at its maximum.
_STEP_SHARE = 5


@dataclass(frozen=True, slots=True)
class Fleet:
    """What a plan is made of.

    Attributes:
        members: all that EC2 describes.
        unseen: the releases of instances that were launched and are not described yet.
        desired: how many instances the scaling policy wanted last.
        max_size: the most that there may be at any moment.
        progress_seconds: a rollout in which no worker proves itself for so long has failed.
    """

    members: Sequence[TrackedInstance]
    unseen: tuple[int, ...]
    desired: int
    max_size: int
    progress_seconds: float

    @property
    def present(self) -> int:
        """Everything that exists."""
        return len(self.members) + len(self.unseen)

    @property
    def is_full(self) -> bool:
        """Whether there is no place, nor one that a failed instance is about to leave."""
        return self.present - sum(member.has_failed for member in self.members) >= self.max_size


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done.

    Attributes:
        record: what is to be stored before anything is done.
        drain: instances to terminate: others have taken their place, or they are of a release that is taken back.
        launch: instances of the goal to launch, beside what the scaling policy orders.
        release: what the scaling policy's own orders are launched as.
        hidden: members that the scaling policy is not to count, since they will take others' places.
        hidden_unseen: so many of `Fleet.unseen` likewise.
        reason: one sentence; empty while there is nothing to do.
        held: why no rollout goes on, one sentence; empty where rollouts may.
    """

    record: ReleaseRecord
    drain: tuple[str, ...] = ()
    launch: int = 0
    release: Release = FIRST
    hidden: frozenset[str] = frozenset()
    hidden_unseen: int = 0
    reason: str = ""
    held: str = ""


def plan(record: ReleaseRecord, fleet: Fleet, now: float) -> Plan:
    """Decides the next step; to be asked at every pass, also while no rollout is under way.

    Args:
        now: seconds since the epoch.
    """
    record = _judged(record, fleet, now)
    if record.phase is Phase.ROLLING and not record.proven:
        return _canary(record, fleet)
    return _replacement(record, fleet, now)


def is_proven(member: TrackedInstance) -> bool:
    """Whether an instance's worker has reported that it runs the release that the instance was launched as."""
    beat = member.heartbeat
    return (
        member.state is State.RUNNING
        and beat is not None
        and not beat.failure
        and beat.release == member.instance.release
    )


def failure_of(member: TrackedInstance) -> str:
    """Why an instance cannot be what it was launched as, one sentence; empty where it can, or may."""
    beat = member.heartbeat
    if beat is not None and beat.failure:
        return beat.failure
    if member.state is State.BOOT_TIMEOUT:
        return "its worker has never reported"
    if member.state is State.UNRESPONSIVE:
        return "its worker has stopped reporting"
    if beat is not None and beat.release != member.instance.release:
        return f"its worker reports release {beat.release} instead of {member.instance.release}"
    return ""


def _judged(record: ReleaseRecord, fleet: Fleet, now: float) -> ReleaseRecord:
    """Takes in how the target's instances fare; may take the target back."""
    target = record.target
    if record.phase is not Phase.ROLLING or target is None:
        return record
    mine = {m.instance.instance_id: m for m in fleet.members if m.instance.release == target.number}
    causes = {key: cause for key, member in mine.items() if (cause := failure_of(member))}
    if not record.proven:
        # The controller never terminates a canary: one that is gone has failed.
        causes |= {key: "it ended before it had proven itself" for key in record.trying if key not in mine}
    failed = (*record.failed, *(key for key in causes if key not in record.failed))
    proven = {key for key, member in mine.items() if is_proven(member)}
    came = bool(proven & set(record.trying)) or (bool(proven) and not record.proven)
    judged = dataclasses.replace(
        record,
        proven=record.proven or bool(proven),
        trying=tuple(sorted(mine.keys() - proven - set(failed))),
        failed=failed,
        progress_at=now if came else record.progress_at,
    )
    why = next((cause for key, cause in causes.items() if key not in record.failed), "")
    summary = f"{len(failed)} {'instance' if len(failed) == 1 else 'instances'} failed, the last: {why}"
    if len(failed) >= MAX_FAILED:
        return judged.returning("failed", summary, now)
    if now - judged.progress_at > fleet.progress_seconds:
        why = f"no worker proved itself within {fleet.progress_seconds:.0f} s"
        return judged.returning("failed", why, now)
    if why:
        return dataclasses.replace(judged, reason=summary)
    return judged


def _canary(record: ReleaseRecord, fleet: Fleet) -> Plan:
    """One instance of the target beside what there is."""
    goal = record.goal
    mine, wrong = _usable(fleet, goal.number, same=True), _wrong(fleet, goal.number)
    hidden = frozenset(member.instance.instance_id for member in (*mine, *wrong))
    unseen = fleet.unseen.count(goal.number)
    plan = Plan(record, _ids(wrong), release=record.current, hidden=hidden, hidden_unseen=unseen)
    if mine or unseen:
        return dataclasses.replace(plan, reason=f"{goal.title}: a first instance is to prove itself")
    if fleet.present < fleet.max_size:
        return dataclasses.replace(plan, launch=1, reason=f"{goal.title}: launching a first instance")
    if not fleet.is_full or wrong:
        return dataclasses.replace(plan, reason=f"{goal.title}: waiting for the place of one that failed")
    drain = _ids(select_for_termination(_usable(fleet, goal.number, same=False), 1))
    return dataclasses.replace(plan, drain=drain, reason=f"{goal.title}: clearing a place for a first instance")


def _replacement(record: ReleaseRecord, fleet: Fleet, now: float) -> Plan:
    """For each proven worker of the goal one of the others goes."""
    goal = record.goal
    mine, others = _usable(fleet, goal.number, same=True), _usable(fleet, goal.number, same=False)
    serving = [member for member in mine if is_proven(member)]
    booting = [member for member in mine if not is_proven(member)]
    unseen = fleet.unseen.count(goal.number)
    wrong = _wrong(fleet, goal.number)
    if not others and len(fleet.unseen) == unseen:
        return Plan(record.settled(now), _ids(wrong), release=goal)

    # What is taken back and does not work yet need not begin to.
    unproven = [] if record.phase is Phase.ROLLING else [member for member in others if member.state is State.BOOTING]
    keep = max(0, fleet.desired - len(serving))
    excess = max(len(unproven), len(others) - keep)
    drained = _unproven_first(others, unproven)[:excess]
    rest = len(others) - len(drained)
    free = fleet.max_size - fleet.present
    coming = len(booting) + unseen
    if rest and not drained and not wrong and not coming and fleet.is_full:
        drained = select_for_termination(others, max(1, fleet.max_size // _STEP_SHARE))
        rest = len(others) - len(drained)
    launch = max(0, min(rest - coming, free))
    hidden = [member.instance.instance_id for member in _oldest_first(booting)][:rest]
    return Plan(
        record,
        _ids((*wrong, *drained)),
        launch,
        goal,
        frozenset(hidden),
        min(unseen, rest - len(hidden)),
        f"{goal.title}: {len(serving)} work, {coming + launch} are coming, {rest} others are left",
    )


def _usable(fleet: Fleet, number: int, *, same: bool) -> list[TrackedInstance]:
    """Members of a release, or of all others, but those that have failed: the former cannot be what they are to be."""
    return [
        m
        for m in fleet.members
        if (m.instance.release == number) is same and not m.has_failed and not (same and failure_of(m))
    ]


def _wrong(fleet: Fleet, number: int) -> list[TrackedInstance]:
    """Members of a release that work, but not as that release."""
    return [m for m in fleet.members if m.instance.release == number and not m.has_failed and failure_of(m)]


def _unproven_first(others: Sequence[TrackedInstance], unproven: Sequence[TrackedInstance]) -> list[TrackedInstance]:
    rest = [member for member in others if member not in unproven]
    return [*unproven, *select_for_termination(rest, len(rest))]


def _oldest_first(members: Iterable[TrackedInstance]) -> list[TrackedInstance]:
    return sorted(members, key=lambda member: (member.instance.launched_at, member.instance.instance_id))


def _ids(members: Iterable[TrackedInstance]) -> tuple[str, ...]:
    return tuple(member.instance.instance_id for member in members)
