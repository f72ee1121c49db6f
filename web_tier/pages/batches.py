"""Upload and batch pages.  They work without JavaScript; the scripts in static/ update them as results arrive."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from itertools import chain

from flask import Blueprint, Response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from core.errors import CloudError, ImageTooLargeError, NotFoundError
from core.formats import FILE_ENDINGS
from core.jobs import is_batch_id, position_of, shown_name
from web_tier.api.request_body import uploaded_files
from web_tier.auth import authorization, batch_creation, batch_endings
from web_tier.auth.quotas import accept_files
from web_tier.domain.batch_state import state_of
from web_tier.domain.batches import Batch
from web_tier.domain.image_validation import browser_type
from web_tier.domain.multipart import UploadedFile
from web_tier.domain.response_times import batch_response_time, sentence
from web_tier.domain.result_fields import image_url, result_fields
from web_tier.domain.upload_plan import ChosenFile, KnownImages
from web_tier.languages.choice import PARAMETER, language
from web_tier.languages.formats import minute, size
from web_tier.languages.labels import group_name, in_plain_words, names_in
from web_tier.languages.messages import gettext
from web_tier.languages.sentences import translated
from web_tier.services import services

# Few enough to fetch and send at once, and a multiple of most grid widths; the script loads the others.
FRAMES_PER_PAGE = 36
RECENT_BATCHES = 8
_IMAGE_HEADERS = {
    # An uploaded file is untrusted: should a browser render it as a document after all, the sandbox confines it.
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cache-Control": "private, max-age=31536000, immutable",
}

log = logging.getLogger(__name__)

blueprint = Blueprint("pages", __name__)
for function in (in_plain_words, group_name, translated):
    blueprint.add_app_template_global(function)


@blueprint.app_template_global()
def day(moment: str) -> str:
    """A moment in ISO 8601, for people."""
    return minute(datetime.fromisoformat(moment))


@blueprint.app_template_global()
def csv_query() -> str:
    """The query of links to CSV files: where labels have names in the page's language, the files have these, too."""
    code = language()
    return f"?{PARAMETER}={code}" if names_in(code) else ""


@blueprint.get("/")
def upload() -> ResponseReturnValue:
    """The upload page."""
    deleted = request.args.get("deleted", "")
    return _upload_page(deleted=deleted if is_batch_id(deleted) else "")


@blueprint.post("/batches")
def create_batch() -> ResponseReturnValue:
    """Creates a batch from the plain form: one request with all files, then a redirect to the batch's page."""
    files = uploaded_files()
    first = next(files, None)
    if first is None:
        return _upload_page(problem=gettext("Choose at least one image.")), 400
    # Closes the file also where the batch cannot be created, or nothing is left of the quota.
    with first.body:
        batch_id = batch_creation.create_batch()
        report = accept_files(batch_id, chain([first], files), offset=0)
    url = url_for("pages.batch", batch_id=batch_id)
    if not report.not_stored:
        return redirect(url, 303)
    # The batch's page does not show files that were not stored, so this one lists them.
    stored = len(report.accepted) + len(report.rejected)
    return render_template("not_stored.html", url=url, stored=stored, not_stored=report.not_stored), 503


@blueprint.get("/batches/<batch_id>")
def batch(batch_id: str) -> ResponseReturnValue:
    """A batch's page with the results so far, in pages of `FRAMES_PER_PAGE`."""
    # A redirect from a change, such as closing the batch, may lead to another process.
    current = authorization.batch(batch_id, fresh=True)
    keys = current.keys
    pages = max(1, -(-len(keys) // FRAMES_PER_PAGE))
    page = min(max(1, request.args.get("page", 1, type=int)), pages)
    shown = keys[(page - 1) * FRAMES_PER_PAGE : page * FRAMES_PER_PAGE]
    state = state_of(current, services().fleet.known_status())
    frames = _frames(current, shown)
    return render_template(
        "batch.html",
        batch=current,
        state=state,
        response_times=_response_times(current),
        frames=frames,
        page=page,
        pages=pages,
        max_image_bytes=services().settings.max_image_bytes,
        max_archive_bytes=services().settings.max_archive_bytes,
        file_endings=FILE_ENDINGS,
    )


@blueprint.get("/batches/<batch_id>/delete")
def confirm_deletion(batch_id: str) -> ResponseReturnValue:
    """Asks whether a batch shall be deleted."""
    return render_template("delete.html", batch=authorization.batch(batch_id))


@blueprint.post("/batches/<batch_id>/delete")
def delete_batch(batch_id: str) -> ResponseReturnValue:
    """Deletes a batch with all its data, then redirects to the start page, which says so."""
    batch_endings.delete_batch(batch_id)
    return redirect(url_for("pages.upload", deleted=batch_id), 303)


@blueprint.post("/batches/<batch_id>/images")
def add_images(batch_id: str) -> ResponseReturnValue:
    """Adds the files of the batch page's plain form that the batch lacks, then redirects to the page."""
    authorization.open_batch(batch_id)
    current = authorization.batch(batch_id)
    known = services().batches.known_images(current)
    report = accept_files(batch_id, _lacking(known, uploaded_files()), offset=None, known=lambda: known)
    url = url_for("pages.batch", batch_id=batch_id)
    if not report.not_stored:
        return redirect(url, 303)
    stored = len(report.accepted) + len(report.rejected)
    return render_template("not_stored.html", url=url, stored=stored, not_stored=report.not_stored), 503


def _lacking(known: KnownImages, files: Iterator[UploadedFile]) -> Iterator[UploadedFile]:
    """Yields the files that a batch has no image of; closes the others."""
    for file in files:
        if known.take(ChosenFile(file.filename, file.size_bytes)):
            file.body.close()
        else:
            yield file


@blueprint.post("/batches/<batch_id>/close")
def close_batch(batch_id: str) -> ResponseReturnValue:
    """Closes a batch, of which announced images are missing, then redirects to its page."""
    batch_endings.close_batch(batch_id)
    return redirect(url_for("pages.batch", batch_id=batch_id), 303)


@blueprint.get("/batches/<batch_id>/images/<path:rest>")
def image(batch_id: str, rest: str) -> ResponseReturnValue:
    """An uploaded image unchanged, or a placeholder if browsers do not show its format or only its result is left."""
    key = f"{batch_id}/{rest}"
    authorization.check_key(key)
    found = services()
    # The image is in memory until the client has taken it, which may be slow.
    memory = found.image_memory.reserve(authorization.owner(), found.settings.max_image_bytes)
    with ExitStack() as stack:
        stack.callback(memory.shrink, 0)
        response = _image(key)
        memory.shrink(response.content_length or 0)
        response.call_on_close(stack.pop_all().close)
    return response


def _image(key: str) -> Response:
    try:
        body = services().images.get(key)
    except ImageTooLargeError:
        media_type = None
    except NotFoundError:
        # Cancelling a batch deletes its images, also one that a worker is classifying, which gets a label all the same.
        if not services().results.exists(key):
            raise
        media_type = None
    else:
        media_type = browser_type(io.BytesIO(body))
    if media_type is None:
        return redirect(url_for("static", filename="no-preview.svg"))  # type: ignore[return-value]
    return Response(body, mimetype=media_type, headers=_IMAGE_HEADERS)


def _response_times(current: Batch) -> str:
    """The batch's response times in one line; empty while they are not final."""
    found = batch_response_time(current.results, services().batches.fetch) if current.complete else None
    return sentence(found, current.answered) if found is not None else ""


def _frames(current: Batch, keys: list[str]) -> list[dict[str, object]]:
    found = services()
    wanted = set(keys)
    entries = [entry for entry in current.results if entry.key in wanted]
    unsure_below = found.settings.unsure_below
    answered = {result.key: result_fields(result, unsure_below) for result in found.batches.fetch(entries)}
    return [answered.get(key) or _waiting_fields(key) for key in keys]


def _waiting_fields(key: str) -> dict[str, object]:
    return {
        "key": key,
        "position": position_of(key),
        "name": shown_name(key),
        "status": "queued",
        "image_url": image_url(key),
    }


def _upload_page(problem: str = "", deleted: str = "") -> str:
    settings = services().settings
    max_image_size = size(settings.max_image_bytes)
    # There is no batch yet; the script fills its part of the page.
    return render_template(
        "upload.html",
        batch=None,
        settings=settings,
        max_image_size=max_image_size,
        file_endings=FILE_ENDINGS,
        max_archive_size=size(settings.max_archive_bytes),
        problem=problem,
        deleted=deleted,
        recent=_recent_batches(),
    )


def _recent_batches() -> list[dict[str, str]]:
    try:
        page = services().batches.page(authorization.owner(), RECENT_BATCHES)
    except CloudError as error:
        # The upload form works without this list.
        log.warning("%s", error)
        return []
    return [
        {
            "name": record.name,
            "created_at": record.created_at,
            "url": url_for("pages.batch", batch_id=batch_id),
            "api_url": url_for("api_batches.batch", batch_id=batch_id),
        }
        for batch_id, record in page.batches
    ]
