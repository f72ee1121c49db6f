"""No arrival is counted that has not happened, and nothing is launched without one: a fleet in a small model.

Bursts arrive at a queue whose counts are late and may freeze for a minute; instances boot, work and publish heartbeats,
which are listed late.  What the policy decides is done.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import math
from dataclasses import dataclass, field

from hypothesis import example, given, settings
from hypothesis import strategies as st

from controller.scaling.history import COUNT_LAG_SECONDS, FROZEN_COUNT_SECONDS, LOAD_WINDOW_SECONDS, SAMPLES, History
from controller.scaling.policy import Limits, Observation, ScalingDecision, decide
from core import heartbeat
from tests.properties import examples

SERVICE_SECONDS = 0.03
QUIET_SECONDS = 150.0
QUIET_WORKER_SECONDS = heartbeat.QUIET_SECONDS
HISTORY_SPACING_SECONDS = 2 * LOAD_WINDOW_SECONDS / SAMPLES + 2.0
PROFILES = {"balanced": (2.0, 3.5), "fast": (0.1, 0.0), "thrifty": (60.0, 20.0), "between": (0.5, 0.3)}


@dataclass(frozen=True)
class Story:
    """Arrivals, as pairs of seconds and images, and how late everything is, in seconds."""

    arrivals: tuple[tuple[float, int], ...]
    look: float = 1.0
    count_delay: float = 0.0
    frozen: tuple[tuple[float, float], ...] = ()
    report: float = 15.0
    listing: float = 7.5
    boots: tuple[float, ...] = (26.0,)
    prompt: bool = True  # a worker that becomes idle or busy publishes it at once

    @property
    def latest_count(self) -> float:
        """How late a count of the backlog may be."""
        return self.count_delay + self.look + max((seconds for _, seconds in self.frozen), default=0.0)

    def arrived(self, now: float) -> int:
        """The images that have arrived by `now`."""
        return sum(images for at, images in self.arrivals if at <= now)


@dataclass
class Worker:
    """An instance; its heartbeat is the last one that was listed."""

    ready_at: float
    answered: int = 0
    busy: bool = False
    worked_at: float = math.inf
    published_at: float = -math.inf
    published: tuple[int, bool, bool] = (0, False, False)  # answers, busy, has found the queue empty
    listed: tuple[int, bool, bool] | None = None
    listed_at: float = -math.inf
    idle_since: float = -math.inf


@dataclass
class Look:
    """One decision, and what was true at that time."""

    now: float
    backlog: int
    observation: Observation
    decision: ScalingDecision


@dataclass
class Fleet:
    """Play a story with the real policy."""

    story: Story
    limits: Limits
    workers: list[Worker] = field(default_factory=list)
    gone: int = 0  # answers of terminated workers
    done: int = 0
    work: float = 0.0
    listed_at: float = -math.inf
    truth: list[tuple[float, int]] = field(default_factory=list)

    def play(self) -> list[Look]:
        """Decide from before the first arrival until long after the last one."""
        boots = itertools.cycle(self.story.boots)
        end = self.story.arrivals[-1][0] + QUIET_SECONDS
        looks: list[Look] = []
        history: History = ()
        now = before = 0.0
        while now < end or (self.workers and now < 20 * end):
            self._work(before, now)
            self._report(now, eager=bool(looks) and looks[-1].decision.awaits_idle)
            observation = self._observe(now)
            decision = decide(observation, self.limits, history, now)
            history = decision.history
            looks.append(Look(now, self.story.arrived(now) - self.done, observation, decision))
            for _ in range(decision.change):
                self.workers.append(Worker(now + next(boots)))
            for _ in range(-decision.change):
                self._terminate()
            before, now = now, now + self.story.look
        return looks

    def _work(self, before: float, now: float) -> None:
        running = [worker for worker in self.workers if worker.ready_at <= before]
        self.work = (self.work + len(running) * (now - before) / SERVICE_SECONDS) if running else 0.0
        count = min(int(self.work), self.story.arrived(now) - self.done)
        busy = count == int(self.work) and count > 0
        self.work = self.work - count if busy else 0.0
        self.done += count
        for index, worker in enumerate(running):
            worker.answered += count // len(running) + (index < count % len(running))
            worker.busy = busy
            worker.worked_at = now if count else min(worker.worked_at, before)
        self.truth.append((now, self.story.arrived(now) - self.done))

    def _report(self, now: float, *, eager: bool) -> None:
        running = [worker for worker in self.workers if worker.ready_at <= now]
        for worker in running:
            quiet = now - worker.worked_at >= QUIET_WORKER_SECONDS
            changed = worker.busy != worker.published[1] or quiet > worker.published[2]
            early = changed and (self.story.prompt or now - worker.published_at >= self.story.report / 3)
            if early or now - worker.published_at >= self.story.report:
                worker.published, worker.published_at = (worker.answered, worker.busy, quiet), now
        due = eager or now - self.listed_at >= self.story.listing or any(w.listed is None for w in running)
        if due:
            before, self.listed_at = self.listed_at, now
            for worker in running:
                if worker.published_at > worker.listed_at:
                    worker.idle_since = before if worker.published[2] else -math.inf
                worker.listed, worker.listed_at = worker.published, worker.published_at

    def _observe(self, now: float) -> Observation:
        running = [worker.listed for worker in self.workers if worker.listed is not None]
        working = [w for w in self.workers if w.listed is not None and w.listed[1]]
        taken = max(0.0, now - self.story.count_delay)
        taken = min([start for start, seconds in self.story.frozen if start <= taken < start + seconds], default=taken)
        backlog = self.truth[max(0, bisect.bisect_right(self.truth, (taken, math.inf)) - 1)][1]
        return Observation(
            backlog,
            0,
            booting=len(self.workers) - len(running),
            running=len(running),
            busy=len(working),
            answered=self.gone + sum(answered for answered, _, _ in running),
            unreported_seconds=sum(now - worker.listed_at for worker in working),
            idle_since=min((w.idle_since for w in self.workers if w.listed is not None), default=-math.inf),
        )

    def _terminate(self) -> None:
        worker = min(self.workers, key=lambda w: (w.listed is not None, w.listed is not None and w.listed[1]))
        self.gone += worker.answered
        self.workers.remove(worker)


def limits_of(profile: str, story: Story) -> Limits:
    target, payback = PROFILES[profile]
    boot = sorted(story.boots)[len(story.boots) // 2]
    return Limits(0, 15, target, SERVICE_SECONDS, 2.0, boot, boot_payback=payback, report_seconds=story.report)


seconds = st.floats(0, 30).map(lambda value: round(value, 2))
bursts = st.lists(st.tuples(seconds, st.sampled_from([1, 3, 40, 100, 600, 3000])), min_size=1, max_size=6)
profiles = st.sampled_from(sorted(PROFILES))


@st.composite
def stories(draw: st.DrawFn, arrivals: st.SearchStrategy[list[tuple[float, int]]] = bursts) -> Story:
    """Arrivals with gaps of up to 30 s, lags and boots."""
    now, found = 5.0, []
    for gap, images in draw(arrivals):
        now += gap
        found.append((now, images))
    look = draw(st.sampled_from([0.5, 1.0, 2.0]))
    freezes = draw(st.lists(st.tuples(st.floats(0, 150), st.floats(0, FROZEN_COUNT_SECONDS)), max_size=1))
    return Story(
        tuple(found),
        look,
        draw(st.floats(0, COUNT_LAG_SECONDS - look)),
        tuple(freezes),
        report := draw(st.floats(4, 15)),
        draw(st.floats(0, report / 2)),
        tuple(draw(st.lists(st.floats(0.5, 60), min_size=1, max_size=4))),
        draw(st.booleans()),
    )


ONE_BURST = Story(((5.0, 100),))


@settings(max_examples=examples(1))
@given(stories(), profiles)
@example(ONE_BURST, "balanced")
@example(dataclasses.replace(ONE_BURST, boots=(10.0, 20.0)), "balanced")
@example(dataclasses.replace(ONE_BURST, report=2.0, listing=1.0, boots=(5.0,)), "fast")
def test_nothing_is_launched_that_no_arrival_explains(story: Story, profile: str) -> None:
    looks = Fleet(story, limits_of(profile, story)).play()
    for look in looks:
        latest = look.decision.history[-1]
        assert latest.arrived <= story.arrived(look.now) + 1e-6, "an arrival was counted that has not happened"
        if look.decision.change > 0:
            assert look.observation.backlog > 0, look.decision.reason
        if latest.loaded_at < math.inf:
            since = look.now - 0.75 * LOAD_WINDOW_SECONDS - HISTORY_SPACING_SECONDS - story.latest_count
            assert story.arrived(look.now) > story.arrived(since), "load without an arrival"
        if latest.outdated_until == look.now + FROZEN_COUNT_SECONDS:
            assert look.backlog <= story.arrived(look.now) - story.arrived(look.observation.idle_since)
    assert looks[-1].backlog == 0, "images were left"


@settings(max_examples=examples(1))
@given(stories(st.lists(st.tuples(st.floats(0, 2), st.integers(1, 1500)), min_size=1, max_size=5)), profiles, st.data())
def test_the_fleet_for_a_burst_does_not_depend_on_how_it_is_cut_into_looks(
    story: Story, profile: str, data: st.DataObject
) -> None:
    # So that the whole is seen before the first instance works.
    lasting = story.arrivals[-1][0] - story.arrivals[0][0]
    boot = data.draw(st.floats(lasting + COUNT_LAG_SECONDS + 4, 60))
    story = dataclasses.replace(story, frozen=(), boots=(boot,))
    limits = limits_of(profile, story)
    whole = decide(Observation(sum(images for _, images in story.arrivals), 0, 0, 0), limits, (), 0.0).desired_capacity
    looks = Fleet(story, limits).play()
    assert max(look.decision.desired_capacity for look in looks) == whole
    assert sum(max(0, look.decision.change) for look in looks) == whole, "launched again"
    assert looks[-1].decision.desired_capacity == 0


@given(
    st.lists(st.tuples(st.floats(0.1, 5), st.floats(0, 1)), min_size=1, max_size=8),
    st.integers(1, 100_000),
    st.floats(0, 200),
    st.builds(
        Limits,
        st.just(0),
        st.integers(1, 40),
        st.floats(0.01, 100),
        st.floats(0.001, 10),
        st.floats(0, 60),
        st.floats(0, 300),
        boot_payback=st.floats(0, 20),
    ),
)
def test_nor_on_the_part_that_the_first_look_sees(
    looks: list[tuple[float, float]], images: int, quiet: float, limits: Limits
) -> None:
    """Within ten seconds, whatever the times of boot and service."""
    whole = decide(Observation(images, 0, 0, 0), limits, (), 0.0).desired_capacity
    decision = decide(Observation(0, 0, 0, 0), limits, (), 0.0)
    for second in range(round(quiet)):
        decision = decide(Observation(0, 0, 0, 0), limits, decision.history, float(second))
    now, last = quiet, 10.0
    parts = sorted(round(share * images) for _, share in looks)
    for (step, _), part in zip(looks, parts, strict=True):
        last -= step
        if last <= 0:
            break
        now += step
        decision = decide(Observation(part, 0, decision.desired_capacity, 0), limits, decision.history, now)
    for second in range(60):
        seen = Observation(images, 0, decision.desired_capacity, 0)
        decision = decide(seen, limits, decision.history, now + 0.1 + second)
        assert decision.desired_capacity == whole, decision.reason
