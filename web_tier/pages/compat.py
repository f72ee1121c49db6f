"""``POST /``: classifies one image and returns a line of text, as workload generators for such systems expect."""

from __future__ import annotations

from flask import Blueprint, Response, abort
from flask.typing import ResponseReturnValue

from core.csv_export import answer_of
from web_tier.api.request_body import one_uploaded_file
from web_tier.auth.quotas import submit_single
from web_tier.errors import try_again
from web_tier.services import services

FIELD = "inputFile"

blueprint = Blueprint("compat", __name__)


@blueprint.post("/")
def classify() -> ResponseReturnValue:
    """``name:label`` for the file in the field `inputFile`; waits while workers boot.

    Status 422 and ``name:error: <sentence>`` for a file that cannot be classified; 503 where it takes too long.
    Every other failure is one line of text, too: see `web_tier.errors`.
    """
    found = services()
    file = one_uploaded_file(FIELD)
    if file is None:
        abort(400, f"the form needs a file in the field {FIELD}")
    submitted = submit_single(file)
    with found.metrics.waiting():
        answer = found.single_images.wait(submitted, found.settings.compat_wait_seconds)
    if answer is None:
        return try_again(f"{submitted.name} has not been classified in time; please try again soon")
    # `submitted.name` is cleaned: it has no line break that would make two answers of one.
    line = f"{submitted.name}:{answer_of(answer)}"
    return Response(line, 200 if answer.failure is None else 422, mimetype="text/plain")
