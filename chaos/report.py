"""The report of a chaos run: numbers, and the conditions that were not met."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ChaosReport:
    """The numbers of a run; `problems` has a sentence for each condition that was not met."""

    accepted: int
    answered: int
    lost: int
    doubled: int
    kills: int
    troubles: int
    faults_injected: int
    seconds: float
    problems: tuple[str, ...]

    def fields(self) -> dict[str, int | float]:
        """The numbers, by name."""
        return {
            name: getattr(self, name)
            for name in ("accepted", "answered", "lost", "doubled", "kills", "troubles", "faults_injected", "seconds")
        }


def shortfalls(*counts: tuple[str, int, int]) -> list[str]:
    """A sentence for each count that is below its minimum.

    Args:
        counts: what was counted, how many there were, and the minimum.
    """
    return [f"only {count} of {minimum} {what}" for what, count, minimum in counts if count < minimum]
