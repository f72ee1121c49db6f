"""The result of one image, with types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Prediction:
    """A label, its probability from 0 to 1, and its group in plain words, such as "dog"."""

    label: str
    score: float
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """The reason for which an image has no label: a stable `code` for programs and a sentence for people."""

    code: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one image: a label, or an `error`.

    Attributes:
        path: the file as it was given; `archive.zip/day 1/a.jpg` for an image in an archive.
        position: that of the file among those given, from 0.
        label: the best label; None if the image failed.
        score: its probability, from 0 to 1; None if the image failed.
        top_k: the best labels, the best first; empty if the image failed.
        unsure: whether the score is so low that the label may well be wrong.
        error: why the image failed; None if it has a label.
        note: a remark on a file that was classified although its end is missing.
        model: the model that classified it.
        fields: all fields of the API's result, and `batch_id`.
    """

    path: str
    position: int
    label: str | None
    score: float | None
    top_k: tuple[Prediction, ...]
    unsure: bool
    error: Failure | None
    note: str | None
    model: str | None
    fields: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, fields: Mapping[str, Any], path: str, position: int) -> Result:
        """A result from the API's fields, those that are missing being null."""
        error = fields.get("error")
        return cls(
            path,
            position,
            fields.get("label"),
            fields.get("score"),
            tuple(Prediction(best["label"], best["score"], best.get("group")) for best in fields.get("top_k") or ()),
            bool(fields.get("unsure")),
            Failure(error["code"], error["sentence"]) if error else None,
            fields.get("note"),
            fields.get("model"),
            fields,
        )
