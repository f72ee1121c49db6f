"""One image posted to ``/`` is answered in one line of text, as workload generators for such systems expect."""

from __future__ import annotations

from flask import Blueprint, Response
from flask.typing import ResponseReturnValue

from core.errors import CloudError
from web_tier.answers import TooManyWaitingError
from web_tier.csv_export import answer_of
from web_tier.forms import one_uploaded_file
from web_tier.intake import take_single
from web_tier.multipart import UploadFormatError
from web_tier.services import services

FIELD = "inputFile"
RETRY_AFTER_SECONDS = 5

blueprint = Blueprint("compat", __name__)


@blueprint.post("/")
def classify() -> ResponseReturnValue:
    """``name:label`` for the file in the field `inputFile`; waits while workers boot.

    Status 422 and ``name:error: <sentence>`` for a file that cannot be classified; 503 where it takes too long.
    """
    found = services()
    try:
        file = one_uploaded_file(FIELD)
        if file is None:
            return _text(f"the form needs a file in the field {FIELD}", 400)
        submitted = take_single(file)
        with found.metrics.waiting():
            answer = found.single.wait(submitted, found.settings.compat_wait_seconds)
    except UploadFormatError as error:
        return _text(str(error), 400)
    except TooManyWaitingError as error:
        return _text(str(error), 503)
    except CloudError:
        return _text("the storage does not answer at the moment; please try again soon", 503)
    if answer is None:
        return _text(f"{submitted.name} has not been classified in time; please try again soon", 503)
    # `submitted.name` is cleaned: it has no line break that would make two answers of one.
    return _text(f"{submitted.name}:{answer_of(answer)}", 200 if answer.failure is None else 422)


def _text(line: str, status: int) -> Response:
    response = Response(line, status, mimetype="text/plain")
    if status == 503:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response
