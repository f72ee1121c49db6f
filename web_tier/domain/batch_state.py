"""The state of a batch: in one word, and as counts."""

from __future__ import annotations

from typing import Any

from core.fleet_status import FleetStatus
from web_tier.domain.batches import Batch

STATES = ("queued", "warming", "classifying", "incomplete", "done", "cancelled")


def state_of(batch: Batch, fleet: FleetStatus | None) -> str:
    """One of `STATES`.

    ``warming``: nothing has been classified yet, no instance runs and at least one is booting.  A batch without
    images is ``queued``.  ``incomplete``: all images so far have a result, and announced ones are missing.

    Args:
        fleet: as the controller reported it last; None where it has not.
    """
    if batch.cancelled:
        return "cancelled"
    if batch.complete:
        return "done"
    if batch.missing and batch.settled and batch.accepted:
        return "incomplete"
    if batch.classified:
        return "classifying"
    latest = fleet.latest if fleet is not None else None
    if batch.accepted and latest is not None and latest.booting and not latest.running:
        return "warming"
    return "queued"


def counts(batch: Batch) -> dict[str, Any]:
    """A batch's progress as JSON fields: how many images it has, how many results, and how many are still expected."""
    return {
        "accepted": batch.accepted,
        "answered": batch.answered,
        "complete": batch.complete,
        "announced": batch.announced,
        "missing": batch.missing,
    }
