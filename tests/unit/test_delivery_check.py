"""What counts as lost and as doubled."""

from __future__ import annotations

import pytest

from chaos.delivery_check import Answer, check_delivery

BATCH = "20260101-120000-0123456789ab"
A, B = f"{BATCH}/00000-a.jpg", f"{BATCH}/00001-b.jpg"
CAT, DOG = Answer(("a.jpg, cat",)), Answer(("a.jpg, dog",))
GAVE_UP = Answer(("a.jpg, error: no luck",), "gave_up")
BROKEN = Answer(("a.jpg, error: damaged",), "broken")


@pytest.mark.parametrize("answers", [[CAT], [CAT, CAT, CAT], [BROKEN]])
def test_one_answer_however_often_it_was_given_is_right(answers: list[Answer]) -> None:
    verdict = check_delivery({A}, {A}, {A: answers})
    assert (verdict.answered, verdict.lost, verdict.doubled) == (1, [], [])


@pytest.mark.parametrize(
    ("uploaded", "answers", "sentence"),
    [
        ({A}, {}, "no result"),
        (set(), {}, "not in the input bucket"),
        ({A}, {A: [GAVE_UP]}, "given up"),
    ],
)
def test_lost(uploaded: set[str], answers: dict[str, list[Answer]], sentence: str) -> None:
    verdict = check_delivery({A}, uploaded, answers)
    assert len(verdict.lost) == 1 and sentence in verdict.lost[0] and verdict.doubled == []


@pytest.mark.parametrize(
    ("uploaded", "answers", "sentence"),
    [
        ({A}, {A: [CAT], B: [CAT]}, "without an upload"),
        ({A}, {A: [CAT, DOG]}, "differ, a.jpg, cat / a.jpg, dog"),
        ({A}, {A: [CAT, DOG, CAT]}, "differ"),
        ({A}, {A: [GAVE_UP, CAT]}, "differ"),
        ({A}, {A: [Answer(("a.jpg, cat", "a.jpg, cat"))]}, "not one line"),
        ({A}, {A: [Answer(())]}, "not one line"),
        ({A, f"{BATCH}/00000-again.jpg"}, {A: [CAT]}, "same position"),
    ],
)
def test_doubled(uploaded: set[str], answers: dict[str, list[Answer]], sentence: str) -> None:
    verdict = check_delivery({A}, uploaded, answers)
    assert len(verdict.doubled) == 1 and sentence in verdict.doubled[0] and verdict.lost == []


def test_what_was_stored_but_never_confirmed_need_not_be_answered() -> None:
    verdict = check_delivery({A}, {A, B}, {A: [CAT]})
    assert (verdict.answered, verdict.lost, verdict.doubled) == (1, [], [])
