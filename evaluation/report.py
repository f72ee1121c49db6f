"""The report of an evaluation: one HTML file that needs no other, and JSON."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image, ImageOps

from evaluation.answers import Answers
from evaluation.figures import most_confused, suspected_label_errors
from evaluation.plots import confusion_matrix, reliability

_TEMPLATE = "report.html.j2"
_PAIRS = 15
_SUSPECTS = 24
_THUMBNAIL_PIXELS = 200


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One bundle's answers, their figures, its time for an image on one core, milliseconds, and its size."""

    answers: Answers
    figures: dict[str, Any]
    latency_milliseconds: float
    size_bytes: int

    @property
    def name(self) -> str:
        """The bundle's name and version."""
        return self.answers.bundle.full_name


def to_json(evaluations: Sequence[Evaluation], problems: Sequence[str]) -> dict[str, Any]:
    """The first bundle's figures, at the top, and those of all under ``bundles``."""
    bundles = [
        {
            "model": each.name,
            "bundle": str(each.answers.bundle.folder),
            "latency_milliseconds": round(each.latency_milliseconds, 2),
            "size_bytes": each.size_bytes,
            "agreement": agreement(evaluations[0].answers, each.answers),
            **each.figures,
            "suspected_label_errors": [_suspect(each.answers, number) for number in _suspects(each.answers)],
            "left_out": [*problems, *each.answers.left_out],
        }
        for each in evaluations
    ]
    return {**bundles[0], "bundles": bundles}


def agreement(first: Answers, other: Answers) -> float | None:
    """The share of photos that get the same label from both; None where they do not answer the same photos."""
    if first.photos != other.photos or first.bundle.labels != other.bundle.labels:
        return None
    return round(float(np.mean(first.predicted == other.predicted)), 4)


def to_html(evaluations: Sequence[Evaluation], problems: Sequence[str], source: str, now: datetime) -> str:
    """The report as HTML, with pictures of the suspected label errors inside.

    Args:
        source: what was evaluated on, for the reader.
    """
    first = evaluations[0]
    matrix, complete = confusion_matrix(first.figures["confusion"])
    suspects = _suspects(first.answers)
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True)
    return environment.get_template(_TEMPLATE).render(
        first=first,
        evaluations=evaluations,
        agreements=[agreement(first.answers, each.answers) for each in evaluations],
        per_class=sorted(first.figures["per_class"], key=lambda row: (row["recall"], row["label"])),
        pairs=most_confused(first.figures["confusion"], _PAIRS),
        matrix=matrix,
        matrix_is_complete=complete,
        reliability=reliability(first.figures["calibration"]),
        suspects=[
            {**_suspect(first.answers, number), "picture": _thumbnail(first.answers.photos[number].path)}
            for number in suspects[:_SUSPECTS]
        ],
        suspect_count=len(suspects),
        left_out=[*problems, *first.answers.left_out],
        source=source,
        now=now,
    )


def _suspects(answers: Answers) -> list[int]:
    return suspected_label_errors(answers.truth, answers.probabilities)


def _suspect(answers: Answers, number: int) -> dict[str, Any]:
    labels, row = answers.bundle.labels, answers.probabilities[number]
    true, answered = int(answers.truth[number]), int(row.argmax())
    return {
        "file": answers.photos[number].name,
        "label": labels[true],
        "label_probability": round(float(row[true]), 4),
        "answer": labels[answered],
        "answer_probability": round(float(row[answered]), 4),
    }


def _thumbnail(path: Path) -> str:
    """A small JPEG as a data URI; the photo was decoded before, so that this fails for none."""
    with Image.open(path) as image:
        image.draft("RGB", (_THUMBNAIL_PIXELS, _THUMBNAIL_PIXELS))
        upright = ImageOps.exif_transpose(image).convert("RGB")
    file = io.BytesIO()
    ImageOps.fit(upright, (_THUMBNAIL_PIXELS, _THUMBNAIL_PIXELS)).save(file, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
