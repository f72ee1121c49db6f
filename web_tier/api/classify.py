"""Synchronous classification of a single image over the API."""

from __future__ import annotations

from flask import abort, request

from web_tier.api.openapi import Answer, api_blueprint, form_with, json_content, request_body
from web_tier.api.request_body import decoded_files, one_uploaded_file, raw_file, read_json
from web_tier.api.results import RETRY_AFTER_SECONDS, result_url, waiting_fields
from web_tier.api.schemas import Base64Image, ClassifyQuery, Result, Waiting
from web_tier.auth.quotas import submit_single
from web_tier.domain.multipart import UploadedFile
from web_tier.domain.result_fields import result_fields
from web_tier.services import services

blueprint = api_blueprint("api_classify", __name__)
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BODY = request_body(
    {
        "multipart/form-data": form_with("image"),
        "application/json": json_content(blueprint, Base64Image),
        "application/octet-stream": _BINARY,
        "image/*": _BINARY,
    }
)


@blueprint.post("/classify", responses={200: Result, 202: Waiting}, openapi_extensions=_BODY)
def classify(query: ClassifyQuery) -> Answer:
    """Classifies one image and waits for the result.

    `202` with the address of the result where it takes longer than `wait_seconds`.  An image that cannot be classified
    has a result, too: with the status `failed` and the reason.
    """
    found = services()
    most = found.settings.classify_wait_seconds
    wait_seconds = most if query.wait_seconds is None else min(query.wait_seconds, most)
    submitted = submit_single(_file(query.name))
    with found.metrics.waiting():
        answer = found.single_images.wait(submitted, wait_seconds)
    if answer is not None:
        return result_fields(answer, found.settings.unsure_below)
    headers = {"Location": result_url(submitted.key), "Retry-After": str(RETRY_AFTER_SECONDS)}
    return waiting_fields(submitted.key, submitted.name), 202, headers


def _file(name: str) -> UploadedFile:
    if request.is_json:
        [file] = decoded_files([read_json(Base64Image)])
        return file
    if request.mimetype == "multipart/form-data":
        chosen = one_uploaded_file()
        if chosen is None:
            abort(422, "the form has no file")
        return chosen
    if request.mimetype.startswith("image/") or request.mimetype == "application/octet-stream":
        return raw_file(name)
    return abort(415, "send a form with a file, the image itself as image/… or application/octet-stream, or JSON")
