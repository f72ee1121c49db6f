"""Increases of counters that restart with their source: nothing counted twice, nothing lost."""

from __future__ import annotations

from collections import Counter

from core.counter_delta import CounterDelta
from core.prediction_counts import NO_ANSWERS, AnswerCounts


def answers(**labels: int) -> AnswerCounts:
    return AnswerCounts(labels, (sum(labels.values()), *[0] * 9))


class Bench:
    def __init__(self) -> None:
        self.delta: CounterDelta[Counter[str]] = CounterDelta(Counter())

    def take(self, total: int, source: str = "i-1", run: float = 1.0, counted_before: bool = False) -> int:
        return self.delta.take(source, run, Counter(answered=total), counted_before=counted_before)["answered"]


def test_each_report_adds_what_is_new_in_it() -> None:
    bench = Bench()
    assert [bench.take(total) for total in (3, 3, 10)] == [3, 0, 7]
    assert bench.take(5, source="i-2") == 5, "sources are counted apart"


def test_a_first_report_that_was_counted_elsewhere_adds_nothing() -> None:
    bench = Bench()
    assert bench.take(100, counted_before=True) == 0
    assert bench.take(103, counted_before=True) == 3, "from then on it is a source like any other"


def test_a_restarted_source_counts_from_zero() -> None:
    bench = Bench()
    bench.take(100)
    assert bench.take(2, run=2.0, counted_before=True) == 2
    assert bench.take(200, run=3.0) == 200, "also where it has passed its earlier count"


def test_a_report_that_comes_after_its_successor_is_neither_subtracted_nor_counted_twice() -> None:
    bench = Bench()
    assert [bench.take(total) for total in (10, 8, 9, 12)] == [10, 0, 0, 2]


def test_forgotten_sources_are_new_ones() -> None:
    bench = Bench()
    for source in ("i-1", "i-2", "i-3"):
        bench.take(10, source)
    bench.delta.keep_only({"i-2", "i-3"})
    bench.delta.forget("i-3")
    assert [bench.take(10, source) for source in ("i-1", "i-2", "i-3")] == [10, 0, 10]
    bench.delta.clear()
    assert bench.take(10, "i-2") == 10


def test_counts_of_labels_are_counters_too() -> None:
    delta = CounterDelta(NO_ANSWERS)
    first = answers(dog=3, cat=1)
    assert delta.take("i-1", 1.0, first) == first
    assert delta.take("i-1", 1.0, first) == NO_ANSWERS
    assert delta.take("i-1", 1.0, answers(dog=2)) == NO_ANSWERS, "an older report"
    assert delta.take("i-1", 1.0, answers(dog=5, cat=1, bird=2)) == answers(dog=2, bird=2)
