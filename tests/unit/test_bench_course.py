"""The rules of a course's grader: each is noticed when it is broken."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from benchmarks.course import Burst, Look, Reply, course_settings, faults
from core.settings import Settings

SETTINGS = Settings(**course_settings(max_size=2))
TWO = frozenset({"app-tier-instance-1", "app-tier-instance-2"})
GOOD = Burst(
    replies=[Reply(f"test_0{number}.jpg", 200, f"test_0{number}:beagle", 5.0) for number in range(3)],
    looks=[Look(0.0, frozenset(), 1, 0, 0), Look(1.0, TWO, 1, 3, 1), Look(8.0, frozenset(), 1, 0, 0)],
    stored=[f"test_0{number}.jpg" for number in range(3)],
    labels={f"test_0{number}": "beagle" for number in range(3)},
)


def looks(index: int, **changes: Any) -> dict[str, Any]:
    """The good looks, one of them changed."""
    changed = list(GOOD.looks)
    changed[index] = dataclasses.replace(changed[index], **changes)
    return {"looks": changed}


def test_a_good_burst_breaks_no_rule() -> None:
    assert faults(GOOD, SETTINGS) == []
    assert (GOOD.peak, GOOD.scale_in_seconds) == (2, 3.0)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (looks(1, workers=frozenset({"app-tier-instance-1"})), "there were up to 1 instances, not 2"),
        (looks(1, workers=TWO | {"app-tier-instance-3"}), "there were up to 3 instances, not 2"),
        (
            looks(1, workers=frozenset({"app-tier-instance-1", "app-tier-instance-7"})),
            "other names: app-tier-instance-7",
        ),
        (looks(0, workers=TWO), "instances at the start"),
        (looks(2, workers=TWO), "instances at the end"),
        (looks(1, web_instances=0), "not always one web instance"),
        (looks(1, requests=0), "no request was seen"),
        (looks(2, requests=1), "messages were left"),
        (looks(2, responses=1), "messages were left"),
        ({"stored": [*GOOD.stored, "batches/x.json"]}, "the input bucket"),
        ({"labels": {**GOOD.labels, "test_99": "beagle"}}, "the output bucket"),
        ({"labels": {**GOOD.labels, "test_00": "dingo"}}, "1 replies are wrong, such as ['test_00:beagle']"),
        ({"replies": [dataclasses.replace(reply, status=503) for reply in GOOD.replies]}, "3 replies are wrong"),
        ({"replies": [dataclasses.replace(reply, text="beagle") for reply in GOOD.replies]}, "3 replies are wrong"),
    ],
)
def test_a_broken_rule_is_named(changes: dict[str, Any], sentence: str) -> None:
    found = faults(dataclasses.replace(GOOD, **changes), SETTINGS)
    assert any(sentence in one for one in found), found
