"""JSON-ready fields of a result, the same in the API and in the page's templates."""

from __future__ import annotations

from typing import Any

from flask import url_for

from core.jobs import ClassificationResult, position_of
from web_tier.domain.upload_service import WORKER_ID


def result_fields(result: ClassificationResult, unsure_below: float) -> dict[str, Any]:
    """The JSON-ready fields of a result.

    `status` is ``classified`` or ``failed``; `image_url` is None where no image is stored.
    """
    failure = result.failure
    return {
        "key": result.key,
        "position": position_of(result.key),
        "name": result.name,
        "status": "classified" if failure is None else "failed",
        "label": result.label,
        "score": result.score,
        "unsure": result.score is not None and result.score < unsure_below,
        "top_k": [{"label": prediction.label, "score": prediction.score} for prediction in result.predictions],
        "error": None if failure is None else {"code": failure.code, "sentence": failure.sentence},
        "model": result.model,
        # The web tier does not store the files that it rejects.
        "image_url": None if failure is not None and result.worker_id == WORKER_ID else image_url(result.key),
    }


def image_url(key: str) -> str:
    """The URL of an uploaded image."""
    batch_id, _, rest = key.partition("/")
    return url_for("pages.image", batch_id=batch_id, rest=rest)
