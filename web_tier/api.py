"""The API for programs, and for the page's own script.  JSON; errors as application/problem+json."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, abort, request, stream_with_context, url_for
from flask.typing import ResponseReturnValue

from core.formats import ACCEPTED_FORMATS
from web_tier.batches import Batch
from web_tier.csv_export import csv_chunks
from web_tier.feed import Cursor, next_page
from web_tier.forms import uploaded_files
from web_tier.results import result_fields
from web_tier.services import services
from web_tier.uploads import UploadReport

# More in one answer would be slow to fetch where the cache is cold.
RESULTS_PER_PAGE = 250

blueprint = Blueprint("api", __name__, url_prefix="/api/v1")


@blueprint.post("/batches")
def create_batch() -> ResponseReturnValue:
    """A new, empty batch."""
    batch_id = services().batches.create(datetime.now(UTC))
    location = url_for("api.batch", batch_id=batch_id)
    fields = {
        "batch_id": batch_id,
        "url": url_for("pages.batch", batch_id=batch_id),
        "images_url": url_for("api.add_images", batch_id=batch_id),
        "results_url": url_for("api.results", batch_id=batch_id),
    }
    return fields, 201, {"Location": location}


@blueprint.post("/batches/<batch_id>/images")
def add_images(batch_id: str) -> ResponseReturnValue:
    """Takes in the files of one multipart request; see `UploadService.accept`."""
    found = services()
    found.batches.record(batch_id)
    offset = _offset(found.settings.max_batch_images)
    return _report_fields(found.uploads.accept(batch_id, uploaded_files(), offset))


@blueprint.get("/batches/<batch_id>")
def batch(batch_id: str) -> ResponseReturnValue:
    """The batch's counts."""
    found = services().batches.read(batch_id)
    return {"batch_id": batch_id, "created_at": found.created_at, **_counts(found)}


@blueprint.get("/batches/<batch_id>/results")
def results(batch_id: str) -> ResponseReturnValue:
    """The results that are new since a cursor; see `web_tier.feed`."""
    cursor = Cursor.decode(request.args.get("cursor", ""))
    found = services()
    current = found.batches.read(batch_id)
    page = next_page(current.results, cursor, RESULTS_PER_PAGE)
    unsure_below = found.settings.unsure_below
    return {
        "results": [result_fields(result, unsure_below) for result in found.batches.fetch(page.entries)],
        "cursor": page.cursor.encode(),
        "more": page.more,
        **_counts(current),
    }


@blueprint.get("/batches/<batch_id>/results.csv")
def results_csv(batch_id: str) -> ResponseReturnValue:
    """The answers there are so far as a file, by position."""
    found = services()
    current = found.batches.read(batch_id)
    chunks = stream_with_context(csv_chunks(found.batches.fetch(current.results)))
    response = Response(chunks, mimetype="text/csv")
    response.headers["Content-Disposition"] = f'attachment; filename="{batch_id}.csv"'
    return response


@blueprint.get("/limits")
def limits() -> ResponseReturnValue:
    """What an upload may be."""
    settings = services().settings
    return {
        "max_image_bytes": settings.max_image_bytes,
        "max_image_pixels": settings.max_image_pixels,
        "max_batch_images": settings.max_batch_images,
        "formats": list(ACCEPTED_FORMATS),
        "unsure_below": settings.unsure_below,
    }


def _offset(max_batch_images: int) -> int | None:
    text = request.args.get("offset")
    if text is None:
        return None
    # isdecimal alone accepts other scripts' digits, and int() whatever length.
    if not (text.isascii() and text.isdecimal() and len(text) <= 9) or int(text) >= max_batch_images:
        abort(400, f"offset must be a whole number from 0 to {max_batch_images - 1:,}")
    return int(text)


def _counts(found: Batch) -> dict[str, Any]:
    return {"accepted": found.accepted, "answered": found.answered, "complete": found.complete}


def _report_fields(report: UploadReport) -> dict[str, Any]:
    return {
        "accepted": [{"name": file.name, "key": file.key} for file in report.accepted],
        "rejected": [
            {"name": file.name, "key": file.key, "code": file.failure.code, "error": file.failure.sentence}
            for file in report.rejected
        ],
        "not_stored": [
            {"name": file.name, "position": file.position, "code": file.code, "error": file.sentence}
            for file in report.not_stored
        ],
    }
