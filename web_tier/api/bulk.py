"""Bulk runs over the API, for operators: their progress, and requests to start, cancel and resume them.

The controller carries requests out, within the buckets that it is allowed, if the setting `bulk_start` is ``web``.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from flask import abort, url_for

from core.bulk_columns import Format
from core.bulk_progress import usd_so_far
from core.bulk_request import Action, BulkRequest
from core.bulk_run import BulkRun
from core.errors import ArgumentError, NotFoundError
from core.prices import load_prices
from web_tier.api.openapi import Answer, api_blueprint, json_body
from web_tier.api.request_body import read_json
from web_tier.api.schemas import BulkRequested, BulkRunAnswer, BulkRunList, BulkRunPath, NewBulkRun
from web_tier.auth import bulk_requests
from web_tier.services import services

blueprint = api_blueprint("api_bulk", __name__)


@blueprint.get("/bulk", responses={200: BulkRunList})
def runs() -> Answer:
    """The newest bulk runs, newest first."""
    asked = bulk_requests.to_start()
    begun = services().bulk.runs()
    known = {run.run_id for run in begun}
    waiting = (_requested(request) for request in asked if request.run_id not in known)
    return {"runs": [*waiting, *map(fields, begun)]}


@blueprint.get("/bulk/<run_id>", responses={200: BulkRunAnswer})
def run(path: BulkRunPath) -> Answer:
    """One bulk run: what is labelled, and how far it is."""
    try:
        return fields(services().bulk.run(path.run_id))
    except NotFoundError:
        request = services().bulk.request(path.run_id)
        if request is not None and bulk_requests.is_startable(request):
            return _requested(request)
        # The controller stores the record before it deletes the request.
        return fields(services().bulk.run(path.run_id))


@blueprint.post("/bulk", responses={202: BulkRequested}, openapi_extensions=json_body(blueprint, NewBulkRun))
def start_run() -> Answer:
    """Asks for a bulk run over photos that are in S3 already.

    The controller starts it within seconds, or refuses it: then `status` is `refused`, and `problem` has the reason.
    """
    bulk_requests.require_enabled()
    wanted = read_json(NewBulkRun)
    values = wanted.model_dump(include={"source", "output", "images_per_job", "requester_pays"})
    request = dataclasses.replace(
        bulk_requests.new(),
        **values,
        format=Format(wanted.format),
        include=tuple(wanted.include),
        columns=tuple(wanted.columns),
        max_instances=wanted.max_instances or 0,
        finish_within_seconds=wanted.finish_within_seconds or 0.0,
    )
    try:
        bulk_requests.start(request)
    except ArgumentError as error:
        abort(422, str(error))
    return _accepted(request.run_id, Action.START)


@blueprint.post("/bulk/<run_id>/cancel", responses={202: BulkRequested})
def cancel_run(path: BulkRunPath) -> Answer:
    """Asks for the end of a run: no further photo is begun, and what is answered is kept."""
    bulk_requests.cancel(path.run_id)
    return _accepted(path.run_id, Action.CANCEL)


@blueprint.post("/bulk/<run_id>/resume", responses={202: BulkRequested})
def resume_run(path: BulkRunPath) -> Answer:
    """Asks that a run goes on that was cancelled or has failed."""
    bulk_requests.resume(path.run_id)
    return _accepted(path.run_id, Action.RESUME)


def _accepted(run_id: str, action: Action) -> Answer:
    url = url_for("api_bulk.run", run_id=run_id)
    return {"run_id": run_id, "requested": action.value, "url": url}, 202, {"Location": url}


def _requested(request: BulkRequest) -> dict[str, Any]:
    return {**fields(request.run()), "status": "requested"}


def fields(run: BulkRun) -> dict[str, Any]:
    """What the API shows of a run."""
    status = services().fleet.known_status()
    usd = usd_so_far(run, load_prices(), None if status is None else status.cost_per_1000_images_usd)
    return {
        "run_id": run.run_id,
        "status": run.status.value,
        "problem": run.problem,
        "source": run.source,
        "output": run.output,
        "format": run.format.value,
        "columns": list(run.columns),
        "created_at": run.created_at,
        "finished_at": run.finished_at or None,
        "finish_by": run.finish_by or None,
        "max_instances": run.max_instances or None,
        "usd": round(usd, 6),
        "images": run.planned_images,
        "is_planned": run.is_planned,
        "answered": run.done_images,
        "failed": run.failed_images,
        "skipped": run.skipped,
    }
