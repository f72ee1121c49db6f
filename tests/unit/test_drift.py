"""Drift of answers: the index, when it means something, and what is gathered from heartbeats."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aws.fleet import Instance
from aws.in_memory import InMemoryStateStore
from controller.scaling.instance_tracker import State, TrackedInstance
from controller.status.drift import (
    LEAST_RECENT_IMAGES,
    RECENT_IMAGES,
    REFERENCE_IMAGES,
    SHIFT,
    Watched,
    compare,
    compare_labels,
    sentence,
)
from controller.status.prediction_monitor import SHADOW_LOOK_SECONDS, PredictionMonitor
from core.fleet_status import ShadowStatus
from core.heartbeat import Heartbeat
from core.prediction_counts import CONFIDENCE_BINS, NO_ANSWERS, AnswerCounts
from core.shadow import KEY as SHADOW_KEY
from core.shadow import Shadow

START = datetime(2026, 1, 1, tzinfo=UTC)
rows = st.lists(st.integers(0, 1000), min_size=2, max_size=20)


def drawn(count: int, weights: list[float], seed: int, score: float = 0.95) -> AnswerCounts:
    """Answers with labels by chance, all with one score."""
    labels = random.Random(seed).choices([f"label {n}" for n in range(len(weights))], weights, k=count)
    confidence = [0] * CONFIDENCE_BINS
    confidence[int(score * CONFIDENCE_BINS)] = count
    return AnswerCounts(dict(Counter(labels)), tuple(confidence))


def test_the_index_is_the_one_of_the_literature() -> None:
    # By hand: shares 0.5/0.5 and 0.9/0.1 give (0.4)ln(1.8) + (-0.4)ln(0.2) = 0.879; half an answer more in each bin.
    found = compare([5000, 5000], [9000, 1000])
    assert found.psi == pytest.approx(0.879, abs=0.001)
    assert found.bound == SHIFT and found.is_shift


@given(rows)
def test_what_is_alike_has_no_index(row: list[int]) -> None:
    assert compare(row, row).psi == pytest.approx(0.0, abs=1e-12)


@given(rows, st.data())
def test_it_is_symmetric_and_never_negative(row: list[int], data: st.DataObject) -> None:
    other = data.draw(st.lists(st.integers(0, 1000), min_size=len(row), max_size=len(row)))
    assert compare(row, other).psi >= 0
    assert compare(row, other).psi == pytest.approx(compare(other, row).psi)


@pytest.mark.parametrize("labels", [2, 20, 250])
def test_chance_alone_is_no_shift(labels: int) -> None:
    weights = [1.0 + n % 7 for n in range(labels)]
    for seed in range(40):
        reference, recent = drawn(REFERENCE_IMAGES, weights, seed), drawn(LEAST_RECENT_IMAGES, weights, 1000 + seed)
        assert not compare_labels(reference.labels, recent.labels).is_shift


def test_a_real_shift_is_reported_with_what_changed_most() -> None:
    usual, shifted = [1.0] * 20, [12.0] + [1.0] * 19
    watched = Watched().with_more(drawn(REFERENCE_IMAGES, usual, 1))
    assert sentence("m@1", watched) == ""
    assert sentence("m@1", watched.with_more(drawn(LEAST_RECENT_IMAGES - 1, shifted, 2))) == "", "too few to say"
    assert sentence("m@1", watched.with_more(drawn(RECENT_IMAGES, usual, 3))) == ""
    reported = sentence("m@1", watched.with_more(drawn(RECENT_IMAGES, shifted, 4)))
    assert "m@1" in reported and "label 0" in reported and "PSI" in reported and "scores" not in reported
    unsure = sentence("m@1", watched.with_more(drawn(RECENT_IMAGES, usual, 5, score=0.35)))
    assert "mean 0.35 instead of 0.95" in unsure and "labels" not in unsure


def test_only_the_latest_answers_are_looked_at() -> None:
    watched = Watched().with_more(drawn(REFERENCE_IMAGES, [1.0] * 20, 1))
    for seed in range(30):
        watched = watched.with_more(drawn(100, [9.0] + [1.0] * 19, seed))
    for seed in range(RECENT_IMAGES // 100):
        watched = watched.with_more(drawn(100, [1.0] * 20, 100 + seed))
    assert watched.latest.total == RECENT_IMAGES and sentence("m@1", watched) == ""


def member(
    name: str, answers: AnswerCounts, started_at: float = 1.0, shadow: tuple[str, int, int] = ("", 0, 0)
) -> TrackedInstance:
    model, compared, agreed = shadow
    beat = Heartbeat(
        2.0, started_at, "m@1", answers=answers, shadow_model=model, shadow_compared=compared, shadow_agreed=agreed
    )
    beat = Heartbeat.decode(beat.encode())  # as it comes over the wire
    return TrackedInstance(Instance(name, name, "running", START), State.RUNNING, 0.0, beat)


def test_each_answer_counts_once_for_any_worker() -> None:
    monitor = PredictionMonitor(InMemoryStateStore())
    monitor.resume(None)
    monitor.take([])
    one, two = drawn(60, [1.0, 1.0], 1), drawn(40, [1.0, 1.0], 2)
    monitor.take([member("a", one)])
    monitor.take([member("a", one)])
    monitor.take([member("a", one.plus(two)), member("b", two)])
    monitor.take([member("a", two, started_at=9.0), member("b", two)])  # a worker that started again
    status = monitor.status()
    assert status is not None
    assert (status.model, status.reference_images, status.label_psi) == ("m@1", 60 + 40 + 40 + 40, None)


def test_agreement_adds_up_over_workers_and_controllers_and_begins_anew_with_another_candidate() -> None:
    monitor = PredictionMonitor(InMemoryStateStore())
    monitor.resume(ShadowStatus("m@2", 100, 90))
    # What is there at the start was counted by the controller before.
    monitor.take([member("a", NO_ANSWERS, shadow=("m@2", 50, 40))])
    assert monitor.shadow() == ShadowStatus("m@2", 100, 90)
    monitor.take([member("a", NO_ANSWERS, shadow=("m@2", 60, 45)), member("b", NO_ANSWERS, shadow=("m@2", 5, 5))])
    assert monitor.shadow() == ShadowStatus("m@2", 115, 100)
    monitor.take([member("a", NO_ANSWERS, shadow=("m@3", 4, 1)), member("b", NO_ANSWERS, shadow=("", 0, 0))])
    assert monitor.shadow() == ShadowStatus("m@3", 4, 1)


def test_agreement_is_over_when_shadow_mode_is_off_or_the_candidate_serves() -> None:
    store = InMemoryStateStore()
    monitor = PredictionMonitor(store)
    monitor.resume(None)
    monitor.take([])
    store.put(SHADOW_KEY, Shadow("m@2", 0.5).encode())

    def is_active(now: float, candidate: str = "m@2") -> bool:
        monitor.take([member("a", NO_ANSWERS, shadow=(candidate, 50, 40))])
        monitor.look(now)
        found = monitor.shadow()
        assert found is not None and found.compared == 50
        return found.active

    assert is_active(0.0)
    store.put(SHADOW_KEY, Shadow().encode())
    assert is_active(SHADOW_LOOK_SECONDS - 1), "it is read from time to time"
    assert not is_active(SHADOW_LOOK_SECONDS)
    store.fail_next("get")
    assert not is_active(2 * SHADOW_LOOK_SECONDS), "where it cannot be read, nothing changes"
    store.put(SHADOW_KEY, Shadow("m@3", 0.5).encode())
    assert is_active(2 * SHADOW_LOOK_SECONDS + 1, "m@3"), "another candidate is looked at at once"
    store.delete(SHADOW_KEY)
    assert not is_active(4 * SHADOW_LOOK_SECONDS, "m@3")
    store.put(SHADOW_KEY, Shadow("m@3", 0.5).encode())
    assert is_active(6 * SHADOW_LOOK_SECONDS, "m@3")
    serving = Heartbeat(9.0, 9.0, "m@3", answers=drawn(5, [1.0], 2))
    monitor.take([replace(member("b", NO_ANSWERS), heartbeat=serving)])
    promoted = monitor.shadow()
    assert promoted is not None and not promoted.active, "it answers now, and is compared with itself no more"


def test_the_reference_outlives_the_controller() -> None:
    store = InMemoryStateStore()
    first = PredictionMonitor(store)
    first.resume(None)
    first.take([])
    reference = drawn(REFERENCE_IMAGES, [1.0] * 20, 1)
    first.take([member("a", reference)])
    second = PredictionMonitor(store)
    second.resume(None)
    second.take([member("a", reference)])
    second.take([member("a", reference.plus(drawn(RECENT_IMAGES, [9.0] + [1.0] * 19, 2)))])
    status = second.status()
    assert status is not None and "label 0" in status.sentence and status.recent_images == RECENT_IMAGES
    store.put("controller/reference.json", b"{}")
    PredictionMonitor(store).resume(None)


def test_answers_of_a_report_that_is_read_late_are_not_counted_again_by_the_next_controller() -> None:
    monitor = PredictionMonitor(InMemoryStateStore())
    monitor.resume(None)
    read = member("a", drawn(60, [1.0, 1.0], 1))
    monitor.take([replace(read, heartbeat=None)])
    monitor.take([read])
    assert monitor.status() is None, "the controller before this one has counted them"
    boots = replace(member("b", drawn(5, [1.0], 2)), state=State.BOOTING, heartbeat=None)
    monitor.resume(None)
    monitor.take([boots])
    monitor.take([member("b", drawn(5, [1.0], 2))])
    status = monitor.status()
    assert status is not None and status.reference_images == 5


def test_a_report_that_comes_after_its_successor_is_not_counted_twice() -> None:
    monitor = PredictionMonitor(InMemoryStateStore())
    monitor.resume(None)
    monitor.take([])
    early, late = drawn(40, [1.0, 1.0], 1), drawn(20, [1.0, 1.0], 2)
    for answers in (early.plus(late), early, early.plus(late)):
        monitor.take([member("a", answers)])
    status = monitor.status()
    assert status is not None and status.reference_images == 60
