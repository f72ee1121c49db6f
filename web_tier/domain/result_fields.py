"""JSON-ready fields of a result, the same in the API and in the page's templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flask import url_for

from core.jobs import ClassificationResult, Prediction, position_of
from core.languages import ENGLISH
from core.response_time import rounded_times
from web_tier.domain.label_groups import common_group, groups_of, imagenet_groups
from web_tier.domain.upload_service import WORKER_ID
from web_tier.languages.choice import language
from web_tier.languages.labels import names_in
from web_tier.languages.sentences import translated


def result_fields(result: ClassificationResult, unsure_below: float) -> dict[str, Any]:
    """The JSON-ready fields of a result.

    `status` is ``classified`` or ``failed``; `note` is a remark on an incomplete file, or None; `image_url` is None
    where no image is stored.  `group` answers for an unsure model, and is None if the model is sure or its labels have
    too little in common.  `label_local`, of the result and of each label, is its name in the language of the request;
    it is missing in English, and None where the label has none.
    """
    failure = result.failure
    unsure = result.score is not None and result.score < unsure_below
    groups = groups_of(result.predictions, imagenet_groups())
    common = common_group(result.predictions, groups) if unsure else None
    names = local_names(result.predictions, language())
    return {
        "key": result.key,
        "position": position_of(result.key),
        "name": result.name,
        "status": "classified" if failure is None else "failed",
        "label": result.label,
        **_local(names, result.label),
        "score": result.score,
        "unsure": unsure,
        "group": None if common is None else {"name": common.name, "score": round(common.score, 5)},
        "top_k": [
            {
                "label": prediction.label,
                **_local(names, prediction.label),
                "score": prediction.score,
                "group": of_label.shown or None,
            }
            for prediction, of_label in zip(result.predictions, groups, strict=True)
        ],
        "error": None if failure is None else {"code": failure.code, "sentence": translated(failure.sentence)},
        "note": translated(result.note) if result.note else None,
        "model": result.model,
        **rounded_times(result.response_time),
        # The web tier does not store the files that it rejects.
        "image_url": None if failure is not None and result.worker_id == WORKER_ID else image_url(result.key),
    }


def local_names(predictions: Sequence[Prediction], language: str) -> Mapping[str, str] | None:
    """The names of labels in a language, by label; None in English.

    As for groups, a result has none unless all of its labels are ImageNet's.
    """
    if language == ENGLISH:
        return None
    known = imagenet_groups()
    return names_in(language) if all(prediction.label in known for prediction in predictions) else {}


def _local(names: Mapping[str, str] | None, label: str | None) -> dict[str, str | None]:
    return {} if names is None else {"label_local": names.get(label or "")}


def image_url(key: str) -> str:
    """The URL of an uploaded image."""
    batch_id, _, rest = key.partition("/")
    return url_for("pages.image", batch_id=batch_id, rest=rest)
