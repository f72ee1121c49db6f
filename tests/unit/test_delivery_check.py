"""Which photos the delivery check counts as lost and as doubled."""

from __future__ import annotations

import pytest

from chaos.delivery_check import ResultVersion, check_delivery

BATCH = "20260101-120000-0123456789ab"
A, B = f"{BATCH}/00000-a.jpg", f"{BATCH}/00001-b.jpg"
CAT, DOG = ResultVersion(("a.jpg, cat",)), ResultVersion(("a.jpg, dog",))
GAVE_UP = ResultVersion(("a.jpg, error: no luck",), "gave_up")
BROKEN = ResultVersion(("a.jpg, error: damaged",), "broken")


@pytest.mark.parametrize("results", [[CAT], [CAT, CAT, CAT], [BROKEN]])
def test_one_result_stored_any_number_of_times_is_correct(results: list[ResultVersion]) -> None:
    report = check_delivery({A}, {A}, {A: results})
    assert (report.answered, report.lost, report.doubled) == (1, [], [])


@pytest.mark.parametrize(
    ("uploaded", "results", "sentence"),
    [
        ({A}, {}, "no result"),
        (set(), {}, "not in the input bucket"),
        ({A}, {A: [GAVE_UP]}, "given up"),
    ],
)
def test_lost(uploaded: set[str], results: dict[str, list[ResultVersion]], sentence: str) -> None:
    report = check_delivery({A}, uploaded, results)
    assert len(report.lost) == 1 and sentence in report.lost[0] and report.doubled == []


@pytest.mark.parametrize(
    ("uploaded", "results", "sentence"),
    [
        ({A}, {A: [CAT], B: [CAT]}, "without an upload"),
        ({A}, {A: [CAT, DOG]}, "differ, a.jpg, cat / a.jpg, dog"),
        ({A}, {A: [CAT, DOG, CAT]}, "differ"),
        ({A}, {A: [GAVE_UP, CAT]}, "differ"),
        ({A}, {A: [ResultVersion(("a.jpg, cat", "a.jpg, cat"))]}, "not one line"),
        ({A}, {A: [ResultVersion(())]}, "not one line"),
        ({A, f"{BATCH}/00000-again.jpg"}, {A: [CAT]}, "same position"),
    ],
)
def test_doubled(uploaded: set[str], results: dict[str, list[ResultVersion]], sentence: str) -> None:
    report = check_delivery({A}, uploaded, results)
    assert len(report.doubled) == 1 and sentence in report.doubled[0] and report.lost == []


def test_what_was_stored_but_never_confirmed_need_not_be_answered() -> None:
    report = check_delivery({A}, {A, B}, {A: [CAT]})
    assert (report.answered, report.lost, report.doubled) == (1, [], [])
