"""``POST /``: classifies one image and returns a line of text, as workload generators for such systems expect."""

from __future__ import annotations

from flask import Blueprint, Response, abort
from flask.typing import ResponseReturnValue

from core.image_layouts import answer_line
from web_tier.api.request_body import one_uploaded_file
from web_tier.auth.quotas import submit_single
from web_tier.errors import try_again
from web_tier.services import services

# The latter in earlier years of the course whose generators set the example.
FIELDS = ("inputFile", "myfile")

blueprint = Blueprint("compat", __name__)


@blueprint.post("/")
def classify() -> ResponseReturnValue:
    """``name:label`` for the file in the field `inputFile` or `myfile`; waits while workers boot.

    The setting `compat_answer` leaves out the name's ending, or the name.  Status 422 and ``name:error: <sentence>``
    for a file that cannot be classified; 503 where it takes too long.  Every other failure is one line of text, too:
    see `web_tier.errors`.
    """
    found = services()
    file = one_uploaded_file(FIELDS)
    if file is None:
        abort(400, f"the form needs a file in the field {' or '.join(FIELDS)}")
    submitted = submit_single(file, named=found.settings.compat_keys == "name")
    with found.metrics.waiting():
        answer = found.single_images.wait(submitted, found.settings.compat_wait_seconds)
    if answer is None:
        return try_again(f"{submitted.name} has not been classified in time; please try again soon")
    line = answer_line(submitted.name, answer.answer, found.settings.compat_answer)
    return Response(line, 200 if answer.failure is None else 422, mimetype="text/plain")
