"""The fleet page: the controller's status, rendered here and then kept up to date by static/fleet.js."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from core.fleet_costs import fleet_costs
from core.fleet_status import FleetStatus, Sample
from core.prices import load_prices
from web_tier.languages.formats import number
from web_tier.languages.messages import gettext, ngettext
from web_tier.services import services

# An older status was written by a controller that no longer runs.
STALE_SECONDS = 30.0
DECISIONS_SHOWN = 12
MAX_ROWS = 30

blueprint = Blueprint("fleet_pages", __name__)


@blueprint.get("/fleet")
def fleet() -> ResponseReturnValue:
    """Numbers, history, decisions and instances of the fleet; a sentence where no controller has reported."""
    status = services().fleet.status()
    now = time.time()
    return render_template(
        "fleet.html",
        status=status,
        headline=headline(status),
        prices=load_prices(),
        costs=fleet_costs(status, load_prices()) if status else None,
        stale_seconds=0 if status is None or now - status.at <= STALE_SECONDS else round(now - status.at),
        rows=minutes(status.history) if status else [],
        decisions=list(reversed(status.decisions))[:DECISIONS_SHOWN] if status else [],
        iso=lambda seconds: datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds"),
        clock=lambda seconds: f"{datetime.fromtimestamp(seconds, UTC):%H:%M:%S} UTC",
        now=now,
    )


def headline(status: FleetStatus | None) -> str:
    """The fleet's size in one line; static/fleet.js has the same wording."""
    latest = status.latest if status is not None else None
    if latest is None:
        return gettext("No controller has reported yet")
    if not latest.running and not latest.booting:
        work = latest.visible + latest.in_flight
        return gettext("Work, but no workers yet") if work else gettext("No workers, no work")
    parts = []
    if latest.running:
        count = number(latest.running)
        parts.append(ngettext("%(count)s worker running", "%(count)s workers running", latest.running, count=count))
    if latest.booting:
        count = number(latest.booting)
        parts.append(ngettext("%(count)s booting", "%(count)s booting", latest.booting, count=count))
    return gettext(", ").join(parts)


def minutes(history: Sequence[Sample]) -> list[Sample]:
    """The last sample of each minute, newest first: the rows of the history as a table."""
    last = {int(sample.at // 60): sample for sample in history}
    return sorted(last.values(), key=lambda sample: sample.at, reverse=True)[:MAX_ROWS]
