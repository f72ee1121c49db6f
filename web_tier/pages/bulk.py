"""The page of bulk runs: rendered here, and then kept up to date by static/bulk.js."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from core.bulk_progress import usd_so_far
from core.bulk_run import BulkRun
from core.prices import load_prices
from web_tier.languages.formats import duration, fixed, minute, money
from web_tier.languages.messages import gettext
from web_tier.services import services

blueprint = Blueprint("bulk_pages", __name__)


@blueprint.get("/bulk")
def bulk() -> ResponseReturnValue:
    """The newest bulk runs with their progress, rate, time and money."""
    found = services()
    status = found.fleet.known_status()
    usd_per_1000 = None if status is None else status.cost_per_1000_images_usd
    runs, now = found.bulk.runs(), time.time()
    return render_template(
        "bulk.html",
        runs=runs,
        running=sum(run.is_active for run in runs),
        facts=lambda run: facts(run, now),
        money=lambda run: money(usd_so_far(run, load_prices(), usd_per_1000)),
        started=lambda run: minute(datetime.fromtimestamp(run.created_at, UTC)),
    )


def facts(run: BulkRun, now: float) -> list[tuple[str, str]]:
    """The run's rate and times, as names and values; the rate is the mean since its start.

    Args:
        now: seconds since the epoch.
    """
    seconds = max(0.001, (run.finished_at or now) - run.created_at)
    rate = run.done_images / seconds
    found = [
        (gettext("images per second"), fixed(rate)),
        (gettext("time so far") if run.is_active else gettext("time"), duration(seconds)),
    ]
    if run.is_active and run.is_planned and run.done_images:
        found.append((gettext("time left"), duration(run.waiting_images / rate)))
    return found
