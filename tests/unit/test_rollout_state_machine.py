"""The rollout's state machine: a table of situations, and whole rollouts with instances that behave as they like."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from aws.fleet import Instance
from controller.rollout.state_machine import MAX_FAILED, Fleet, Plan, _progress, failure_of, plan
from controller.scaling.instance_tracker import State, TrackedInstance
from core.errors import DecodeError
from core.heartbeat import Heartbeat
from core.releases import PAST_KEPT, Phase, Release, ReleaseError, ReleaseRecord
from tests.properties import examples

START = datetime(2026, 1, 1, tzinfo=UTC)
PROGRESS_SECONDS = 1000.0
OLD = ReleaseRecord()
ROLLING = OLD.begun("", "m@2", 0.0)
PROVEN = dataclasses.replace(ROLLING, proven=True)
RETURNING = PROVEN.returning("aborted", "an operator said so", 5.0)


def member(
    name: str, release: int = 0, state: State = State.RUNNING, *, reports: int | None = None, failure: str = ""
) -> TrackedInstance:
    beat = None
    if state in (State.RUNNING, State.UNHEALTHY):
        beat = Heartbeat(0, 0, release=release if reports is None else reports, failure=failure)
    return TrackedInstance(Instance(name, name, "running", START, release), state, 0.0, beat)


def step(
    record: ReleaseRecord, *members: TrackedInstance, desired: int, max_size: int = 10, unseen: tuple[int, ...] = ()
) -> Plan:
    return plan(record, Fleet(members, unseen, desired, max_size, PROGRESS_SECONDS), 10.0)


OLD_TWO = (member("a"), member("b"))
CASES = {
    # record, members, unseen, desired, max → drain, launch, the release of the policy's own orders, hidden
    "nothing to do": (OLD, OLD_TWO, (), 2, 10, 0, 0, 0, 0),
    "a canary beside the fleet": (ROLLING, OLD_TWO, (), 2, 10, 0, 1, 0, 0),
    "a canary for an empty fleet": (ROLLING, (), (), 0, 10, 0, 1, 0, 0),
    "a canary that EC2 does not describe yet": (ROLLING, OLD_TWO, (1,), 2, 10, 0, 0, 0, 0),
    "a canary that boots is hidden": (ROLLING, (*OLD_TWO, member("n", 1, State.BOOTING)), (), 2, 10, 0, 0, 0, 1),
    "at the maximum a place is cleared": (ROLLING, OLD_TWO, (), 2, 2, 1, 0, 0, 0),
    "the first that is proven takes a place": (ROLLING, (*OLD_TWO, member("n", 1)), (), 2, 10, 1, 1, 1, 0),
    "as many come as are left": (PROVEN, (*OLD_TWO, member("n", 1)), (), 2, 10, 1, 1, 1, 0),
    "no more than there is room for": (PROVEN, (*OLD_TWO, member("c"), member("n", 1)), (), 4, 5, 0, 1, 1, 0),
    "none goes before the next is proven": (
        PROVEN, (member("a"), member("n", 1), member("o", 1, State.BOOTING)), (), 2, 10, 0, 0, 1, 1,
    ),
    "all go when none is wanted": (PROVEN, OLD_TWO, (), 0, 10, 2, 0, 1, 0),
    "returning, what boots goes at once": (
        RETURNING, (member("a"), member("n", 1, State.BOOTING)), (), 1, 10, 1, 0, 0, 0,
    ),
    "returning, what works stays until replaced": (RETURNING, (member("n", 1),), (), 1, 10, 0, 1, 0, 0),
    "a stray is replaced, too": (OLD, (member("a"), member("n", 7)), (), 2, 10, 0, 1, 0, 0),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_situation_has_its_step(
    case: tuple[ReleaseRecord, tuple[TrackedInstance, ...], tuple[int, ...], int, int, int, int, int, int],
) -> None:
    record, members, unseen, desired, max_size, drained, launched, release, hidden = case
    found = step(record, *members, desired=desired, max_size=max_size, unseen=unseen)
    assert (len(found.drain), found.launch, found.release.number, len(found.hidden)) == (
        drained, launched, release, hidden,
    )  # fmt: skip


def test_a_rollout_ends_when_no_other_release_is_left() -> None:
    ended = step(ROLLING, member("n", 1), desired=0).record
    assert (ended.phase, ended.current, ended.previous) == (Phase.STEADY, Release(1, "", "m@2"), Release())
    assert [(o.result, o.release.number) for o in ended.past] == [("done", 1)]
    back = step(RETURNING, member("a"), desired=1).record
    assert (back.phase, back.current, back.target) == (Phase.STEADY, Release(), None)


@pytest.mark.parametrize(
    ("bad", "cause"),
    [
        (member("n", 1, State.UNHEALTHY, failure="the smoke test of m@2 failed"), "the smoke test of m@2 failed"),
        (member("n", 1, State.BOOT_TIMEOUT), "has never reported"),
        (member("n", 1, State.UNRESPONSIVE), "has stopped reporting"),
        (member("n", 1, reports=0), "reports release 0 instead of 1"),
    ],
)
def test_what_fails_is_counted_once_and_reported(bad: TrackedInstance, cause: str) -> None:
    record = step(ROLLING, *OLD_TWO, bad, desired=2).record
    assert record.failed == ("n",) and cause in record.reason and record.phase is Phase.ROLLING
    assert step(record, *OLD_TWO, bad, desired=2).record.failed == ("n",)
    assert cause in failure_of(bad)


def test_a_canary_that_ends_by_itself_has_failed() -> None:
    record = step(ROLLING, *OLD_TWO, member("n", 1, State.BOOTING), desired=2).record
    assert record.trying == ("n",)
    gone = step(record, *OLD_TWO, desired=2)
    assert gone.record.failed == ("n",) and "ended before" in gone.record.reason and gone.launch == 1


def test_after_some_failures_the_release_is_bad() -> None:
    record = dataclasses.replace(ROLLING, failed=tuple(f"x{n}" for n in range(MAX_FAILED - 1)))
    ended = step(record, *OLD_TWO, member("n", 1, State.UNHEALTHY, failure="it is broken"), desired=2).record
    assert ended.past[-1].result == "failed" and "it is broken" in ended.past[-1].reason
    assert ended.goal == Release()


def test_a_rollout_without_progress_is_given_up() -> None:
    fleet = Fleet((*OLD_TWO, member("n", 1, State.BOOTING)), (), 2, 10, PROGRESS_SECONDS)
    assert plan(ROLLING, fleet, PROGRESS_SECONDS).record.phase is Phase.ROLLING
    given_up = plan(ROLLING, fleet, PROGRESS_SECONDS + 1)
    assert given_up.record.phase is Phase.RETURNING and given_up.drain == ("n",)


def test_one_that_works_as_something_else_goes() -> None:
    assert step(ROLLING, *OLD_TWO, member("n", 1, reports=0), desired=2).drain == ("n",)


def test_the_record_survives_its_encoding_and_refuses_what_makes_no_sense() -> None:
    record = RETURNING
    for number in range(PAST_KEPT + 3):
        record = record.settled(1.0).begun("ami-1", f"m@{number}", 2.0).returning("failed", "x", 3.0)
    assert ReleaseRecord.decode(record.encode()) == record
    assert len(record.past) == PAST_KEPT
    with pytest.raises(DecodeError):
        ReleaseRecord.decode(b"{}")
    with pytest.raises(ReleaseError, match="under way"):
        ROLLING.begun("", "m@3", 0.0)
    with pytest.raises(ReleaseError, match="runs this already"):
        OLD.begun("", "", 0.0)
    with pytest.raises(ReleaseError, match="no rollout"):
        OLD.returning("aborted", "", 0.0)


@dataclass
class World:
    """A fleet whose policy wants `desired`; instances report after some passes, or fail in some way."""

    desired: int
    max_size: int
    fates: list[str]
    record: ReleaseRecord = OLD
    members: dict[str, TrackedInstance] = field(default_factory=dict)
    ages: dict[str, int] = field(default_factory=dict)
    numbers: int = 0
    launches: int = 0
    now: float = 0.0

    def launch(self, count: int, release: Release) -> None:
        for _ in range(count):
            name = f"i-{self.numbers:04d}"
            self.numbers += 1
            self.members[name] = member(name, release.number, State.BOOTING)
            self.ages[name] = 0

    @property
    def serving(self) -> int:
        return sum(m.state is State.RUNNING for m in self.members.values())

    def age(self) -> None:
        for name, one in list(self.members.items()):
            self.ages[name] += 1
            fate = self.fates[int(name[2:]) % len(self.fates)] if one.instance.release == 1 else "fine"
            if one.state is not State.BOOTING or self.ages[name] < 3:
                continue
            if fate == "ends":
                del self.members[name]
            elif fate == "unfit":
                self.members[name] = member(name, 1, State.UNHEALTHY, failure="broken")
            elif fate == "mute" and self.ages[name] >= 6:
                self.members[name] = member(name, 1, State.BOOT_TIMEOUT)
            elif fate == "fine":
                self.members[name] = member(name, one.instance.release)

    def turn(self) -> Plan:
        """One pass, as reconciler and actor make it."""
        before = self.serving
        found = plan(
            self.record,
            Fleet(tuple(self.members.values()), (), self.desired, self.max_size, PROGRESS_SECONDS),
            self.now,
        )
        unproven = found.record.phase is Phase.ROLLING and not found.record.proven
        self.record = found.record
        seen = [m for m in self.members.values() if not m.has_failed]
        seen = [m for m in seen if m.instance.instance_id not in {*found.drain, *found.hidden}]
        there = len(self.members)
        for name in [n for n, m in self.members.items() if m.has_failed] + list(found.drain):
            self.members.pop(name, None)
        free = self.max_size - there
        if found.launch:
            assert found.launch <= free
            self.launch(found.launch, found.record.goal)
        elif len(seen) < self.desired:
            self.launch(min(self.desired - len(seen), free), found.release)
        assert len(self.members) <= self.max_size
        step_size = 1 if unproven else max(1, self.max_size // 5)
        floor = min(before, self.desired, self.max_size - step_size)
        # One that works as something else, and one that stopped, are no serving workers.
        assert self.serving >= floor, (before, self.serving, found)
        if unproven:
            assert self.serving >= min(before, self.max_size - 1)
        self.now += 1
        return found


fates = st.lists(st.sampled_from(["fine", "fine", "ends", "unfit", "mute"]), min_size=1, max_size=5)


@given(st.integers(0, 12), st.integers(1, 12), fates, st.integers(0, 40), st.booleans())
@hypothesis_settings(max_examples=examples(3))
def test_any_rollout_ends_and_never_takes_a_worker_before_another_has_its_place(
    desired: int, max_size: int, behaviour: list[str], changes_at: int, aborts: bool
) -> None:
    world = World(min(desired, max_size), max_size, behaviour)
    world.launch(world.desired, Release())
    for _ in range(4):
        world.age()
    world.record = world.record.begun("", "m@2", world.now)
    for turn in range(int(PROGRESS_SECONDS) + 300):
        world.age()
        if turn == changes_at:
            if aborts and world.record.phase is Phase.ROLLING:
                world.record = world.record.returning("aborted", "an operator said so", world.now)
            else:
                world.desired = min(max_size, 12 - world.desired)
        world.turn()
        if world.record.phase is Phase.STEADY and turn > changes_at:
            break
    assert world.record.phase is Phase.STEADY
    assert {m.instance.release for m in world.members.values()} <= {world.record.current.number}
    result = world.record.past[-1].result
    assert (world.record.current.number == 1) is (result == "done")
    if set(behaviour) == {"fine"} and not aborts:
        assert result == "done"
    if "fine" not in behaviour:
        assert result in ("failed", "aborted")


@given(fates, st.lists(st.integers(0, 6), min_size=1, max_size=10))
def test_under_changing_load_it_ends_all_the_same(behaviour: list[str], load: list[int]) -> None:
    world = World(load[0], 6, behaviour)
    world.launch(load[0], Release())
    world.record = world.record.begun("", "m@2", 0.0)
    for turn in range(int(PROGRESS_SECONDS) + 300):
        world.age()
        world.desired = load[turn // 7 % len(load)]
        world.turn()
        if world.record.phase is Phase.STEADY:
            return
    raise AssertionError("it never ended")


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ((2, 1, 3), "2 running, 1 booting, 3 instances of other releases left"),
        ((1, 0, 1), "1 running, 1 instance of another release left"),
        ((1, 0, 0), "1 running"),
        ((0, 0, 0), "terminating the last of other releases"),
    ],
)
def test_progress_in_words(counts: tuple[int, int, int], words: str) -> None:
    assert _progress(*counts) == words
