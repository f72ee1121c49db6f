"""At most one controller acts, whatever happens in which order; and the lease goes on when its holder does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aws.in_memory import InMemoryStateStore, ManualClock
from aws.lease import KEY, QUIET_FACTOR, Claim, Lease, LeaseLostError
from core.errors import CloudError, DecodeError
from tests.properties import examples

TTL_SECONDS = 15.0


class Bench:
    """Some controllers, one store, one flow of time; each controller's clock starts somewhere else."""

    def __init__(self, names: str = "ab") -> None:
        self.clock = ManualClock(0.0)
        self.store = InMemoryStateStore(self.clock)
        self.leases = {name: self.join(name, offset) for offset, name in enumerate(names)}

    def join(self, name: str, offset: int = 0) -> Lease:
        return Lease(self.store, name, TTL_SECONDS, lambda: self.clock() + 1000 * offset)

    def holders(self) -> list[str]:
        return [name for name, lease in self.leases.items() if lease.held()]


def test_the_first_takes_it_and_the_second_waits_until_it_has_seen_it_unchanged_for_its_time_to_live() -> None:
    bench = Bench()
    a, b = bench.leases.values()
    assert a.step() and not b.step()
    for _ in range(40):
        bench.clock.advance(1)
        assert a.step() and not b.step(), "a living holder keeps it"
    died_at = bench.clock()
    while not b.step():
        bench.clock.advance(0.5)
    assert TTL_SECONDS - 5 <= bench.clock() - died_at <= TTL_SECONDS + 5 + 1.5
    assert (a.generation, b.generation) == (1, 2)
    assert not a.step() and bench.holders() == ["b"]


def test_a_holder_that_cannot_renew_stops_acting_before_another_can_take_over() -> None:
    bench = Bench()
    a, _ = bench.leases.values()
    a.step()
    bench.store.fail_next("replace", times=99)
    for _ in range(9):
        bench.clock.advance(1)
        if bench.clock() >= TTL_SECONDS / 3:
            with pytest.raises(CloudError):
                a.step()
        assert a.held()
    bench.clock.advance(1)
    assert not a.held()
    with pytest.raises(LeaseLostError):
        a.announce("too late")


def test_after_an_outage_shorter_than_the_time_to_live_the_holder_goes_on() -> None:
    bench = Bench()
    a, b = bench.leases.values()
    a.step()
    b.step()
    bench.clock.advance(TTL_SECONDS - 1)
    assert not a.held()
    assert a.step() and not b.step()
    assert a.generation == 1


def test_a_quiet_holder_writes_less_often_and_is_waited_for_as_much_longer() -> None:
    bench = Bench()
    a, b = bench.leases.values()
    a.step()
    writes = bench.store.count("replace")
    for _ in range(600):
        bench.clock.advance(1)
        assert a.step(quiet=True) and not b.step()
    assert bench.store.count("replace") - writes <= 600 / (QUIET_FACTOR * TTL_SECONDS / 3) + 1
    died_at = bench.clock()
    while not b.step():
        bench.clock.advance(0.5)
    assert bench.clock() - died_at <= QUIET_FACTOR * TTL_SECONDS + 2


def test_the_first_busy_step_makes_the_claim_short_again() -> None:
    bench = Bench()
    a, b = bench.leases.values()
    a.step()
    for _ in range(10):
        bench.clock.advance(1)
        a.step(quiet=True)
    bench.clock.advance(TTL_SECONDS / 3)
    assert a.step() and not b.step()
    assert Claim.decode(bench.store.objects[KEY].body).ttl_seconds == TTL_SECONDS
    bench.clock.advance(TTL_SECONDS + 1)
    assert b.step()


def test_a_shorter_claim_that_took_effect_without_an_answer_ends_the_longer_ones_right_to_act() -> None:
    bench = Bench()
    a, b = bench.leases.values()
    a.step()
    bench.clock.advance(TTL_SECONDS / 3)
    a.step(quiet=True)
    bench.clock.advance(TTL_SECONDS / 3)
    bench.store.fail_after_effect("replace")
    with pytest.raises(CloudError):
        a.step()
    b.step()
    bench.clock.advance(TTL_SECONDS + 1)
    assert not a.held()
    assert b.step() and bench.holders() == ["b"]


def test_a_holder_whose_process_has_ended_is_not_waited_for() -> None:
    bench, ended = Bench("a"), set[str]()
    a = bench.leases["a"]
    b = Lease(bench.store, "b", TTL_SECONDS, bench.clock, ended.__contains__)
    a.step()
    a.announce("three with token 7")
    assert not b.step()
    ended.add("a")
    bench.clock.advance(TTL_SECONDS / 10)
    assert b.step() and b.note == "three with token 7"


def test_a_released_lease_is_taken_at_once() -> None:
    bench = Bench()
    a, b = bench.leases.values()
    a.step()
    b.step()
    a.release()
    assert not a.held()
    bench.clock.advance(TTL_SECONDS / 10)
    assert b.step() and b.generation == 2


def test_releasing_what_is_not_held_changes_nothing() -> None:
    bench = Bench()
    a, b = bench.leases.values()
    a.step()
    b.step()
    b.release()
    bench.clock.advance(TTL_SECONDS / 10)
    assert not b.step() and a.held()


def test_what_is_announced_is_found_by_the_next() -> None:
    bench = Bench()
    a, b = bench.leases.values()
    a.step()
    b.step()
    a.announce("three with token 7")
    bench.clock.advance(TTL_SECONDS / 10)
    b.step()
    bench.clock.advance(TTL_SECONDS)
    assert b.step()
    assert b.note == "three with token 7"
    b.note = ""
    bench.clock.advance(TTL_SECONDS / 3)
    b.step()
    assert Claim.decode(bench.store.objects[KEY].body).note == ""


def test_an_announcement_proves_that_the_lease_is_still_held() -> None:
    """The holder's clock has stood still, as that of a suspended machine: only the store knows better."""
    bench = Bench()
    frozen = ManualClock(0.0)
    a = Lease(bench.store, "a", TTL_SECONDS, frozen)
    b = bench.leases["b"]
    a.step()
    b.step()
    bench.clock.advance(TTL_SECONDS)
    assert b.step() and a.held()
    with pytest.raises(LeaseLostError):
        a.announce("launch")
    assert not a.held()


@pytest.mark.parametrize("method", ["create", "replace"])
def test_a_write_whose_answer_got_lost_and_that_met_itself_in_the_retry_counts(method: str) -> None:
    bench = Bench()
    a, _ = bench.leases.values()
    if method == "replace":
        a.step()
        bench.clock.advance(TTL_SECONDS / 3)
    bench.store.answer_with_conflict_after_effect(method)
    assert a.step() and a.generation == 1
    bench.clock.advance(TTL_SECONDS / 3)
    assert a.step()


def test_a_write_that_took_effect_without_an_answer_does_not_cost_the_lease() -> None:
    bench = Bench()
    a, _ = bench.leases.values()
    a.step()
    bench.clock.advance(TTL_SECONDS / 3)
    bench.store.fail_after_effect("replace")
    with pytest.raises(CloudError):
        a.step()
    bench.clock.advance(1)
    assert a.step() and a.generation == 1
    a.announce("x")


def test_a_take_over_that_took_effect_without_an_answer_is_taken_again_at_once() -> None:
    bench = Bench("a")
    (a,) = bench.leases.values()
    bench.store.fail_after_effect("create")
    with pytest.raises(CloudError):
        a.step()
    assert not a.held()
    bench.clock.advance(TTL_SECONDS / 10)
    assert a.step() and a.generation == 2


def test_what_is_no_lease_is_replaced_in_time() -> None:
    bench = Bench("a")
    (a,) = bench.leases.values()
    bench.store.put(KEY, b"garbage")
    assert not a.step()
    bench.clock.advance(TTL_SECONDS)
    assert a.step() and a.generation == 1


def test_a_claim_travels() -> None:
    claim = Claim("host-1", 3, 7, 15.0, 'note "x"', released=True)
    assert Claim.decode(claim.encode()) == claim
    for body in (b"", b"[]", b'{"v": 2}', b"\xff", b'{"v": 1, "holder": "a"}'):
        with pytest.raises(DecodeError):
            Claim.decode(body)


# What may happen around each request of a controller: time passes, another controller acts in between, the request
# fails before or after its effect.
_PAUSES = st.tuples(st.sampled_from([0.0, 0.0, 1.0, 4.0, 8.0, 16.0]), st.sampled_from(["", "", "a", "b", "c"]))
_FAILURES = st.sampled_from(["", "", "", "", "", "before", "after"])
_WAITS = st.sampled_from([0.0, 0.5, 2.0, 5.0, 8.0, 11.0, 15.0, 20.0, 45.0, 65.0])
_SCRIPT = st.lists(
    st.tuples(st.sampled_from("aabc"), st.sampled_from(["step", "step", "quiet step", "announce", "release"]), _WAITS),
    min_size=10,
    max_size=60,
)


@settings(max_examples=examples(3))
@given(script=_SCRIPT, data=st.data())
def test_never_do_two_act_at_a_time(script: list[tuple[str, str, float]], data: st.DataObject) -> None:
    bench = Bench("abc")
    nesting = 0
    generations: list[int] = []

    def act(name: str, what: str) -> None:
        lease = bench.leases[name]
        try:
            if what == "quiet step":
                lease.step(quiet=True)
            else:
                getattr(lease, what)(*(("note",) if what == "announce" else ()))
        except CloudError:
            pass
        else:
            if what == "announce":
                # An announcement that succeeded is permission to launch: no controller with a later lease has had one.
                assert not generations or lease.generation >= generations[-1]
                generations.append(lease.generation)
        assert len(bench.holders()) <= 1

    def pause() -> None:
        nonlocal nesting
        seconds, other = data.draw(_PAUSES)
        if other and nesting < 2:
            nesting += 1
            act(other, "step")
            nesting -= 1
        bench.clock.advance(seconds)

    def around(_method: str, effect: Callable[[], str]) -> str:
        failure = data.draw(_FAILURES)
        pause()
        if failure == "before":
            raise CloudError("no connection")
        answer = effect()
        pause()
        if failure == "after":
            raise CloudError("the connection broke")
        return answer

    bench.store.around = around
    for name, what, seconds in script:
        bench.clock.advance(seconds)
        act(name, what)
