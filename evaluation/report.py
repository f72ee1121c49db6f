"""Write the report of an evaluation: one self-contained HTML file, and JSON."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image, ImageOps

from evaluation.comparison import compare
from evaluation.figures import most_confused, suspected_label_errors
from evaluation.plots import confusion_matrix, reliability
from evaluation.predictions import Predictions

_TEMPLATE = "report.html.j2"
_PAIRS = 15
_SUSPECTS = 24
_THUMBNAIL_PIXELS = 200


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One bundle's predictions and their figures, its latency for one image on one core, and its size."""

    predictions: Predictions
    figures: dict[str, Any]
    latency_milliseconds: float
    size_bytes: int

    @property
    def name(self) -> str:
        """The bundle's name and version."""
        return self.predictions.bundle.full_name


def to_json(evaluations: Sequence[Evaluation], problems: Sequence[str]) -> dict[str, Any]:
    """The figures as JSON values: the first bundle's at the top level, those of all under ``bundles``."""
    comparisons = compare([each.predictions for each in evaluations])
    bundles = [
        {
            "model": each.name,
            "bundle": str(each.predictions.bundle.folder),
            "latency_milliseconds": round(each.latency_milliseconds, 2),
            "size_bytes": each.size_bytes,
            "agreement": comparison.agreement,
            "shared": {
                "images": comparison.images,
                "accuracy": comparison.accuracy,
                "labels": comparison.labels,
            },
            **each.figures,
            "suspected_label_errors": [_suspect(each.predictions, number) for number in _suspects(each.predictions)],
            "left_out": [*problems, *each.predictions.left_out],
        }
        for each, comparison in zip(evaluations, comparisons, strict=True)
    ]
    return {**bundles[0], "bundles": bundles}


def to_html(evaluations: Sequence[Evaluation], problems: Sequence[str], source: str, now: datetime) -> str:
    """The report as HTML, with embedded thumbnails of the suspected label errors.

    Args:
        source: the name of the data set, for the reader.
    """
    first = evaluations[0]
    matrix, complete = confusion_matrix(first.figures["confusion"])
    suspects = _suspects(first.predictions)
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True)
    return environment.get_template(_TEMPLATE).render(
        first=first,
        evaluations=evaluations,
        comparisons=compare([each.predictions for each in evaluations]),
        per_class=sorted(first.figures["per_class"], key=lambda row: (row["recall"], row["label"])),
        pairs=most_confused(first.figures["confusion"], _PAIRS),
        matrix=matrix,
        matrix_is_complete=complete,
        reliability=reliability(first.figures["calibration"]),
        suspects=[
            {**_suspect(first.predictions, number), "picture": _thumbnail(first.predictions.photos[number].path)}
            for number in suspects[:_SUSPECTS]
        ],
        suspect_count=len(suspects),
        left_out=[*problems, *first.predictions.left_out],
        source=source,
        now=now,
    )


def _suspects(predictions: Predictions) -> list[int]:
    return suspected_label_errors(predictions.truth, predictions.probabilities)


def _suspect(predictions: Predictions, number: int) -> dict[str, Any]:
    labels, row = predictions.bundle.labels, predictions.probabilities[number]
    true, predicted = int(predictions.truth[number]), int(row.argmax())
    return {
        "file": predictions.photos[number].name,
        "label": labels[true],
        "label_probability": round(float(row[true]), 4),
        "answer": labels[predicted],
        "answer_probability": round(float(row[predicted]), 4),
    }


def _thumbnail(path: Path) -> str:
    """A small JPEG as a data URI; all photos here have been decoded before, so decoding does not fail."""
    with Image.open(path) as image:
        image.draft("RGB", (_THUMBNAIL_PIXELS, _THUMBNAIL_PIXELS))
        upright = ImageOps.exif_transpose(image).convert("RGB")
    file = io.BytesIO()
    ImageOps.fit(upright, (_THUMBNAIL_PIXELS, _THUMBNAIL_PIXELS)).save(file, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
