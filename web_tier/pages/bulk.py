"""The pages of bulk runs: the list, kept up to date by static/bulk.js, and the form that starts a run."""

from __future__ import annotations

import dataclasses
import time
from datetime import UTC, datetime

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from core.bulk_columns import Format
from core.bulk_progress import usd_so_far
from core.bulk_request import OWN_OUTPUT_PREFIX, Action, BulkRequest
from core.bulk_run import BulkRun, Status
from core.errors import ArgumentError
from core.prices import load_prices
from web_tier.api.schemas import MAX_BULK_INSTANCES, MAX_FINISH_WITHIN_SECONDS
from web_tier.auth import bulk_requests
from web_tier.languages import formats
from web_tier.languages.formats import duration, fixed
from web_tier.languages.messages import gettext
from web_tier.services import services

_SECONDS_AN_HOUR = 3600.0

blueprint = Blueprint("bulk_pages", __name__)


@blueprint.get("/bulk")
def bulk() -> ResponseReturnValue:
    """The newest bulk runs with their progress, rate, time and money, and what operators may do with them."""
    found = services()
    status = found.fleet.known_status()
    usd_per_1000 = None if status is None else status.cost_per_1000_images_usd
    # The requests first: one that is carried out meanwhile is a run then.
    asked = {request.run_id: request.action.value for request in found.bulk.requests()}
    requested = bulk_requests.to_start()
    runs, now, prices = found.bulk.runs(), time.time(), load_prices()
    known = {run.run_id for run in runs}
    to_start = [request.run() for request in requested if request.run_id not in known]
    return render_template(
        "bulk.html",
        runs=runs,
        to_start=to_start,
        asked=asked,
        can_request=found.bulk_control.is_enabled,
        running=(running := sum(run.is_active for run in runs)),
        changing=running + len(asked),
        facts=lambda run: [*facts(run, now), *money(run, usd_so_far(run, prices, usd_per_1000))],
        action=lambda run: action(run),
        started=lambda run: _moment(run.created_at),
    )


@blueprint.get("/bulk/new")
def new_run() -> ResponseReturnValue:
    """The form that starts a run."""
    bulk_requests.require_enabled()
    return _form()


@blueprint.post("/bulk")
def start_run() -> ResponseReturnValue:
    """Asks for the run of the form, then redirects to the list; shows the form again with what is wrong in it."""
    bulk_requests.require_enabled()
    try:
        bulk_requests.start(_filled_in(bulk_requests.new()))
    except ArgumentError as error:
        return _form(str(error)), 422
    return redirect(url_for("bulk_pages.bulk"), 303)


@blueprint.post("/bulk/<run_id>/cancel")
def cancel_run(run_id: str) -> ResponseReturnValue:
    """Asks for the end of a run, then redirects to the list."""
    bulk_requests.cancel(run_id)
    return redirect(url_for("bulk_pages.bulk"), 303)


@blueprint.post("/bulk/<run_id>/resume")
def resume_run(run_id: str) -> ResponseReturnValue:
    """Asks that a run goes on, then redirects to the list."""
    bulk_requests.resume(run_id)
    return redirect(url_for("bulk_pages.bulk"), 303)


def _form(problem: str = "") -> str:
    return render_template(
        "bulk_new.html",
        problem=problem,
        values=request.form,
        formats=[format.value for format in Format],
        source_example="s3://photos/2026/",
        output_example=f"s3://{services().settings.output_bucket}/{OWN_OUTPUT_PREFIX}2026/",
        max_instances=MAX_BULK_INSTANCES,
        max_hours=MAX_FINISH_WITHIN_SECONDS / _SECONDS_AN_HOUR,
    )


def _filled_in(new: BulkRequest) -> BulkRequest:
    """The request with the form's fields.

    Raises:
        ArgumentError: one has no such value.
    """
    fields = request.form
    if fields.get("format", "csv") not in set(Format):
        raise ArgumentError("there is no such format")
    return dataclasses.replace(
        new,
        source=fields.get("source", "").strip(),
        output=fields.get("output", "").strip(),
        include=tuple(fields.get("include", "").split()),
        format=Format(fields.get("format", "csv")),
        max_instances=int(_number("max_instances", "instances", MAX_BULK_INSTANCES)),
        finish_within_seconds=_SECONDS_AN_HOUR
        * _number("finish_within_hours", "hours", MAX_FINISH_WITHIN_SECONDS / _SECONDS_AN_HOUR),
    )


def _number(field: str, unit: str, most: float) -> float:
    text = request.form.get(field, "").strip()
    if not text:
        return 0.0
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= most:
        raise ArgumentError(f"{text!r} is not a number of {unit} up to {most:g}")
    return value


def action(run: BulkRun) -> str:
    """What may be asked for a run: ``cancel``, ``resume`` or nothing."""
    if run.is_active:
        return Action.CANCEL.value
    return Action.RESUME.value if run.status in (Status.CANCELLED, Status.FAILED) else ""


def facts(run: BulkRun, now: float) -> list[tuple[str, str]]:
    """The run's rate, times and limits, as names and values; the rate is the mean since its start.

    Args:
        now: seconds since the epoch.
    """
    seconds = max(0.001, (run.finished_at or now) - run.created_at)
    rate = run.done_images / seconds
    if run.status is Status.REFUSED:
        return []
    found = [
        (gettext("images per second"), fixed(rate)),
        (gettext("time so far") if run.is_active else gettext("time"), duration(seconds)),
    ]
    if run.is_active and run.is_planned and run.done_images:
        found.append((gettext("time left"), duration(run.waiting_images / rate)))
    if run.is_active and run.finish_by:
        found.append((gettext("to be finished by"), _moment(run.finish_by)))
    if run.is_active and run.max_instances:
        found.append((gettext("instances at most"), formats.number(run.max_instances)))
    return found


def money(run: BulkRun, usd: float) -> list[tuple[str, str]]:
    """What the run has cost on AWS, and what the rest will cost at the same rate, as names and values."""
    if run.status is Status.REFUSED:
        return []
    found = [(gettext("so far, on AWS") if run.is_active else gettext("on AWS"), formats.money(usd))]
    if run.is_active and run.is_planned and run.done_images:
        found.append((gettext("still to come"), formats.money(usd * run.waiting_images / run.done_images)))
    return found


def _moment(at: float) -> str:
    return formats.minute(datetime.fromtimestamp(at, UTC))
