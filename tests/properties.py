"""How many examples a property is tried with."""

from __future__ import annotations

from hypothesis import settings


def examples(share: float) -> int:
    """`share` of the examples of the chosen Hypothesis profile, for properties that cost more or less than others."""
    return max(1, round(share * settings().max_examples))
