"""What a worker counts of its answers, and shadow mode, which changes and delays none of them."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from app_tier.prediction_stats import PredictionStats
from app_tier.shadow import MAX_WAITING, Agreement, ShadowRunner
from core.errors import BundleError, CloudError, DecodeError, NotFoundError
from core.jobs import ClassificationResult, Failure, Prediction
from core.shadow import Shadow


def result(number: int = 0, label: str = "dog", score: float = 0.9) -> ClassificationResult:
    return ClassificationResult(f"20260101-000000-0123456789ab/{number:05d}-x", "x", (Prediction(label, score),))


def failed() -> ClassificationResult:
    return ClassificationResult("20260101-000000-0123456789ab/00000-x", "x", (), Failure("broken", "broken"))


def test_answers_are_counted_by_label_and_by_tenth_of_the_score() -> None:
    tally = PredictionStats()
    for one in (result(score=0.0), result(score=0.05), result(label="cat", score=0.99), result(score=1.0), failed()):
        tally(one)
    counts = tally.counts()
    assert counts.labels == {"dog": 3, "cat": 1} and counts.total == 4
    assert (counts.confidence[0], counts.confidence[9]) == (2, 2)
    assert (counts - counts).total == 0 and (counts - counts).labels == {}


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_the_share_is_kept_and_the_same_everywhere(share: float) -> None:
    shadow = Shadow.decode(Shadow("m@2", share).encode())
    seen = [shadow.sees(f"batch/{n}") for n in range(4000)]
    assert sum(seen) / len(seen) == pytest.approx(share, abs=0.03)
    assert seen == [shadow.sees(f"batch/{n}") for n in range(4000)]
    assert not Shadow("", 1.0).sees("x")
    with pytest.raises(DecodeError):
        Shadow.decode(b"{}")


class Bench:
    def __init__(self, shadow: Shadow | None) -> None:
        self.body = None if shadow is None else shadow.encode()
        self.loaded: list[str] = []
        self.candidate: Callable[[bytes], str] = lambda body: body.decode()
        self.photo: bytes | Exception = b"dog"
        self.error: Exception | None = None
        self.runner = ShadowRunner(lambda: self.body, self.load, self.fetch, "m@1")

    def load(self, model: str) -> Callable[[bytes], str]:
        self.loaded.append(model)
        if self.error is not None:
            raise self.error
        return lambda body: self.candidate(body)

    def fetch(self, key: str) -> bytes:
        if isinstance(self.photo, Exception):
            raise self.photo
        return self.photo

    def see(self, *results: ClassificationResult) -> Agreement:
        for one in results:
            self.runner(one)
        for _ in results:
            self.runner.compare_next(timeout_seconds=0.0)
        return self.runner.agreement


def test_a_candidate_is_compared_with_the_answers() -> None:
    bench = Bench(Shadow("m@2", 1.0))
    assert bench.see(result()) == Agreement(), "before it is known nothing is compared"
    bench.runner.refresh()
    assert bench.see(result(), result(label="cat"), failed()) == Agreement("m@2", 2, 1)
    bench.runner.refresh()
    assert bench.loaded == ["m@2"]
    bench.body = Shadow("m@2", 0.0).encode()
    bench.runner.refresh()
    assert bench.see(result()) == Agreement("m@2", 2, 1), "another share keeps the count"
    bench.body = Shadow("m@3", 1.0).encode()
    bench.runner.refresh()
    assert bench.see(result()) == Agreement("m@3", 1, 1)
    bench.body = None
    bench.runner.refresh()
    assert bench.see(result()) == Agreement()


def test_the_model_that_answers_is_no_candidate() -> None:
    bench = Bench(Shadow("m@1", 1.0))
    bench.runner.refresh()
    assert bench.see(result()) == Agreement() and bench.loaded == []


def test_a_candidate_that_cannot_be_had_is_not_tried_again_and_again() -> None:
    bench = Bench(Shadow("m@2", 1.0))
    bench.error = BundleError("it is broken")
    bench.runner.refresh()
    bench.runner.refresh()
    assert bench.see(result()) == Agreement("m@2", 0, 0) and bench.loaded == ["m@2"]


@pytest.mark.parametrize("trouble", [NotFoundError("deleted"), CloudError("away"), RuntimeError("the decoder died")])
def test_what_goes_wrong_is_left_out(trouble: Exception) -> None:
    bench = Bench(Shadow("m@2", 1.0))
    bench.runner.refresh()
    bench.photo = trouble
    assert bench.see(result()) == Agreement("m@2", 0, 0)
    bench.photo = b"dog"
    assert bench.see(result()) == Agreement("m@2", 1, 1)


def test_a_slow_candidate_holds_up_no_answer() -> None:
    bench = Bench(Shadow("m@2", 1.0))
    bench.runner.refresh()
    for number in range(10 * MAX_WAITING):
        bench.runner(result(number))  # no thread compares: it returns all the same
    for _ in range(10 * MAX_WAITING):
        bench.runner.compare_next(timeout_seconds=0.0)
    assert bench.runner.agreement.compared == MAX_WAITING


def test_it_runs_beside_until_it_is_stopped() -> None:
    bench, stop, done = Bench(Shadow("m@2", 1.0)), threading.Event(), threading.Event()
    known = threading.Event()
    load = bench.runner._load
    bench.runner._load = lambda model: (known.set(), load(model))[1]

    def candidate(body: bytes) -> str:
        done.set()
        return "dog"

    bench.candidate = candidate
    bench.runner.start(0.05, stop)
    assert known.wait(10)
    for number in range(1000):
        bench.runner(result(number))
        if done.wait(0.02):
            break
    stop.set()
    assert done.is_set()


def test_an_unexpected_exception_does_not_end_the_comparisons() -> None:
    bench, stop, looked = Bench(None), threading.Event(), threading.Event()
    looks = []

    def read() -> bytes | None:
        looks.append(1)
        if len(looks) == 1:
            raise RuntimeError("a fault")
        looked.set()
        return None

    bench.runner = ShadowRunner(read, bench.load, bench.fetch, "m@1")
    bench.runner.start(0.001, stop)
    assert looked.wait(10)
    stop.set()
