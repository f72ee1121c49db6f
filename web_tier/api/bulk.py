"""Bulk runs over the API: their progress, for operators.  `elastic bulk` starts, cancels and resumes them."""

from __future__ import annotations

from typing import Any

from core.bulk_run import BulkRun
from web_tier.api.openapi import Answer, api_blueprint
from web_tier.api.schemas import BulkRunAnswer, BulkRunList, BulkRunPath
from web_tier.services import services

blueprint = api_blueprint("api_bulk", __name__)


@blueprint.get("/bulk", responses={200: BulkRunList})
def runs() -> Answer:
    """The newest bulk runs, newest first."""
    return {"runs": [fields(run) for run in services().bulk.runs()]}


@blueprint.get("/bulk/<run_id>", responses={200: BulkRunAnswer})
def run(path: BulkRunPath) -> Answer:
    """One bulk run: what is labelled, and how far it is."""
    return fields(services().bulk.run(path.run_id))


def fields(run: BulkRun) -> dict[str, Any]:
    """What the API shows of a run."""
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
        "images": run.planned_images,
        "is_planned": run.is_planned,
        "answered": run.done_images,
        "failed": run.failed_images,
        "skipped": run.skipped,
    }
