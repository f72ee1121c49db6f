"""The state machine of a rollout: from the record and the fleet's instances to a plan with its reason.  Pure.

The *target* is the release that is rolled out.  The *goal* is the release that all instances shall have in the end: the
target or, while a rollout is taken back, the release before.  An instance is *proven* once its worker has published a
heartbeat with the instance's own release, which it does only after its smoke test.

First, a *canary* is launched: one instance of the target in addition to the fleet.  When it is proven, the others
follow: for each proven instance of the goal, one of another release is drained.  New instances are launched in addition
to the fleet as far as the maximum allows; at the maximum, a few instances are drained first to make room.  If too many
instances of the target fail, or none is proven for too long, the fleet returns to the release before in the same way.
The record is the only state, so that any controller can continue from it.

docs/adr/0012-a-release-is-an-instance.md says why it is done like this.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from controller.scaling.instance_tracker import State, TrackedInstance, select_for_termination
from core.releases import FIRST, Phase, Release, ReleaseRecord

# A rollout has failed when this many instances of its target have failed.
MAX_FAILED = 3
# A fleet at its maximum first drains one instance in this many, to make room for those of the goal.
_STEP_SHARE = 5


@dataclass(frozen=True, slots=True)
class Fleet:
    """The input of a plan.

    Attributes:
        members: all instances that EC2 describes.
        unseen: the releases of instances that were launched and are not described yet.
        desired: the capacity that the scaling policy decided on last.
        max_size: the most instances that may exist at any moment.
        progress_seconds: a rollout in which no instance is proven for this long has failed.
    """

    members: Sequence[TrackedInstance]
    unseen: tuple[int, ...]
    desired: int
    max_size: int
    progress_seconds: float

    @property
    def present(self) -> int:
        """The number of instances that exist, described or not."""
        return len(self.members) + len(self.unseen)

    @property
    def is_full(self) -> bool:
        """Whether the fleet is at its maximum, even without the failed instances, which are being terminated."""
        return self.present - sum(member.has_failed for member in self.members) >= self.max_size


@dataclass(frozen=True, slots=True)
class Plan:
    """The next step of a rollout.

    Attributes:
        record: the record to store before the plan is carried out.
        drain: instances to terminate: replaced ones, or those of a release that is taken back.
        launch: the number of instances of the goal to launch; while it is 0, the scaling policy may launch.
        release: the release of instances that the scaling policy launches.
        hidden: members that the scaling policy does not count, since they replace others that it counts.
        hidden_unseen: the number of `Fleet.unseen` that it does not count for the same reason.
        reason: one sentence; empty while there is nothing to do.
        held: why rollouts are held, one sentence; empty while they are not.
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
    """Decide the next step of a rollout; called at every pass, also while no rollout is under way.

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
    """Why an instance does not work as the release that it was launched as, one sentence; empty if nothing is wrong."""
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
    """Return the record with the state of the target's instances; a failed target is taken back."""
    target = record.target
    if record.phase is not Phase.ROLLING or target is None:
        return record
    mine = {m.instance.instance_id: m for m in fleet.members if m.instance.release == target.number}
    causes = {key: cause for key, member in mine.items() if (cause := failure_of(member))}
    if not record.proven:
        # The controller never terminates a canary: one that is gone has failed.
        causes |= {key: "it ended before its worker reported the release" for key in record.trying if key not in mine}
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
        why = f"no new worker reported the release within {fleet.progress_seconds:.0f} s"
        return judged.returning("failed", why, now)
    if why:
        return dataclasses.replace(judged, reason=summary)
    return judged


def _canary(record: ReleaseRecord, fleet: Fleet) -> Plan:
    """Plan the launch of one instance of the target in addition to the fleet."""
    goal = record.goal
    mine, wrong = _usable(fleet, goal.number, same=True), _wrong(fleet, goal.number)
    hidden = frozenset(member.instance.instance_id for member in (*mine, *wrong))
    unseen = fleet.unseen.count(goal.number)
    plan = Plan(record, _ids(wrong), release=record.current, hidden=hidden, hidden_unseen=unseen)
    if mine or unseen:
        return dataclasses.replace(plan, reason=f"{goal.title}: waiting until the worker of a first instance reports")
    if fleet.present < fleet.max_size:
        return dataclasses.replace(plan, launch=1, reason=f"{goal.title}: launching a first instance")
    if not fleet.is_full or wrong:
        return dataclasses.replace(plan, reason=f"{goal.title}: waiting until a failed instance has been terminated")
    drain = _ids(select_for_termination(_usable(fleet, goal.number, same=False), 1))
    return dataclasses.replace(plan, drain=drain, reason=f"{goal.title}: terminating one instance to make room")


def _replacement(record: ReleaseRecord, fleet: Fleet, now: float) -> Plan:
    """Plan the replacement of the other instances, one for each proven instance of the goal."""
    goal = record.goal
    mine, others = _usable(fleet, goal.number, same=True), _usable(fleet, goal.number, same=False)
    serving = [member for member in mine if is_proven(member)]
    booting = [member for member in mine if not is_proven(member)]
    unseen = fleet.unseen.count(goal.number)
    wrong = _wrong(fleet, goal.number)
    if not others and len(fleet.unseen) == unseen:
        return Plan(record.settled(now), _ids(wrong), release=goal)

    # Instances of a release that is taken back are terminated before their worker begins to work.
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
        f"{goal.title}: {_progress(len(serving), coming + launch, rest)}",
    )


def _progress(running: int, booting: int, others: int) -> str:
    """How far the replacement is, such as ``2 running, 1 booting, 1 instance of another release left``."""
    left = "1 instance of another release" if others == 1 else f"{others} instances of other releases"
    counts = {f"{running} running": running, f"{booting} booting": booting, f"{left} left": others}
    return ", ".join(text for text, count in counts.items() if count) or "terminating the last of other releases"


def _usable(fleet: Fleet, number: int, *, same: bool) -> list[TrackedInstance]:
    """The members of a release, or of all other releases, without failed ones.

    A member of the release itself is also left out if its worker reports a failure or another release.
    """
    return [
        m
        for m in fleet.members
        if (m.instance.release == number) is same and not m.has_failed and not (same and failure_of(m))
    ]


def _wrong(fleet: Fleet, number: int) -> list[TrackedInstance]:
    """The members launched as a release whose worker reports a failure or another release."""
    return [m for m in fleet.members if m.instance.release == number and not m.has_failed and failure_of(m)]


def _unproven_first(others: Sequence[TrackedInstance], unproven: Sequence[TrackedInstance]) -> list[TrackedInstance]:
    rest = [member for member in others if member not in unproven]
    return [*unproven, *select_for_termination(rest, len(rest))]


def _oldest_first(members: Iterable[TrackedInstance]) -> list[TrackedInstance]:
    return sorted(members, key=lambda member: (member.instance.launched_at, member.instance.instance_id))


def _ids(members: Iterable[TrackedInstance]) -> tuple[str, ...]:
    return tuple(member.instance.instance_id for member in members)
