"""Adding images to a batch over the API: as a form, as base64 in JSON, or by a presigned upload to S3."""

from __future__ import annotations

from typing import Any

from flask import abort, request

from core.errors import ImageError
from core.jobs import batch_of, is_key
from web_tier.api.openapi import Answer, api_blueprint, form_with, json_body, json_content, request_body
from web_tier.api.request_body import decoded_files, read_json, uploaded_files
from web_tier.api.schemas import (
    AddQuery,
    Base64Images,
    BatchPath,
    CompletedUploads,
    ImagesQuery,
    PlannedUploads,
    PresignedUploads,
    UploadAnswer,
    UploadPlanAnswer,
    UploadPlanRequest,
)
from web_tier.auth import authorization, quotas
from web_tier.domain.batches import BatchCancelledError
from web_tier.domain.presigned_uploads import EXPIRES_SECONDS
from web_tier.domain.upload_plan import ChosenFile, KnownImages
from web_tier.domain.upload_service import UploadReport
from web_tier.errors import try_again
from web_tier.languages.sentences import translated
from web_tier.services import services

blueprint = api_blueprint("api_images", __name__)
_BODY = request_body(
    {
        "multipart/form-data": form_with("images", many=True),
        "application/json": json_content(blueprint, Base64Images),
    }
)


@blueprint.post("/batches/<batch_id>/images", responses={200: UploadAnswer}, openapi_extensions=_BODY)
def add_images(path: BatchPath, query: AddQuery) -> Answer:
    """Adds the files of one request to a batch.

    A form may have any number of files under any field names, and is read as it arrives; JSON is held in memory and
    limited to 32 MiB.  A ZIP archive (`*.zip`) stands for the images in it, each a file with a position of its own.
    Every file is in exactly one of `accepted`, `rejected` and `not_stored`.  With `keep_others`, images of an archive
    that are in the batch already, by name and size, are left out and counted.  `503` with the same lists means that
    nothing could be stored because the server's disk is full.
    """
    authorization.open_batch(path.batch_id)
    _check_offset(query.offset)
    files = decoded_files(read_json(Base64Images).images) if request.is_json else uploaded_files()

    def known() -> KnownImages:
        return services().batches.known_images(authorization.batch(path.batch_id))

    report = quotas.accept_files(
        path.batch_id,
        files,
        query.offset,
        keep_others=query.keep_others,
        known=known if query.keep_others else None,
    )
    if report.out_of_space:
        return try_again("the server's disk is full; please try again later", _report_fields(report))
    return _report_fields(report)


@blueprint.post(
    "/batches/<batch_id>/plan",
    responses={200: UploadPlanAnswer},
    openapi_extensions=json_body(blueprint, UploadPlanRequest),
)
def plan_upload(path: BatchPath) -> Answer:
    """Plans the upload of files into a batch that has images already, and announces them.

    So an interrupted upload is resumed: name all of its files again, and send those with a position, each with it as
    `offset` and with `keep_others`.  A file is in the batch if an image has its name and, if that is known, its size.
    """
    authorization.open_batch(path.batch_id)
    wanted = read_json(UploadPlanRequest)
    found = services()
    files = [ChosenFile(file.name, file.size_bytes) for file in wanted.files]
    try:
        plan = found.batches.plan(path.batch_id, files, found.settings.max_batch_images, additional=wanted.additional)
    except BatchCancelledError as error:
        abort(409, str(error))
    return {"positions": plan.positions, "known": plan.known, "full": plan.full, "announced": plan.announced}


@blueprint.post(
    "/batches/<batch_id>/uploads",
    responses={200: PresignedUploads},
    openapi_extensions=json_body(blueprint, PlannedUploads),
)
def permit_uploads(path: BatchPath, query: ImagesQuery) -> Answer:
    """Presigns uploads of files straight to S3, each of exactly the size that you name.

    Post a form to `url` with all of `fields`, then the file in the field `file`.  Then post its key to
    `uploads/complete`.
    """
    authorization.open_batch(path.batch_id)
    planned = read_json(PlannedUploads)
    _check_offset(query.offset)
    try:
        files = [(file.name, file.size_bytes) for file in planned.files]
        permissions = quotas.permit_uploads(path.batch_id, files, query.offset)
    except (ImageError, ValueError) as error:
        abort(422, str(error))
    return {
        "uploads": [
            {
                "name": permission.name,
                "key": permission.key,
                "url": permission.post.url,
                "fields": permission.post.fields,
            }
            for permission in permissions
        ],
        "expires_seconds": EXPIRES_SECONDS,
    }


@blueprint.post(
    "/batches/<batch_id>/uploads/complete",
    responses={200: UploadAnswer},
    openapi_extensions=json_body(blueprint, CompletedUploads),
)
def complete_uploads(path: BatchPath) -> Answer:
    """Enqueues uploads that have arrived at S3; repeating it is harmless.

    One that has not arrived is `not_stored`.  One that is never named here is found by the controller within minutes.
    """
    authorization.open_batch(path.batch_id)
    keys = read_json(CompletedUploads).keys
    if not all(is_key(key) and batch_of(key) == path.batch_id for key in keys):
        abort(422, "a key does not belong to this batch")
    return _report_fields(quotas.complete_uploads(path.batch_id, keys))


def _check_offset(offset: int | None) -> None:
    limit = services().settings.max_batch_images
    if offset is not None and offset >= limit:
        abort(422, f"offset must be a whole number from 0 to {limit - 1:,}")


def _report_fields(report: UploadReport) -> dict[str, Any]:
    return {
        "accepted": [{"name": file.name, "key": file.key} for file in report.accepted],
        "rejected": [
            {"name": file.name, "key": file.key, "code": file.failure.code, "error": translated(file.failure.sentence)}
            for file in report.rejected
        ],
        "not_stored": [
            {"name": file.name, "position": file.position, "code": file.code, "error": translated(file.sentence)}
            for file in report.not_stored
        ],
        "archives": [
            {
                "name": archive.name,
                "files": archive.files,
                "hidden": archive.hidden,
                "others": archive.others,
                "known": archive.known,
            }
            for archive in report.archives
        ],
    }
