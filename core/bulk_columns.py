"""The tables of bulk runs: their formats and columns, and their lines in CSV and JSON Lines."""

from __future__ import annotations

import csv
import enum
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.bulk_run import LabelledImage


class Format(enum.StrEnum):
    """The format of a run's tables; the value is the files' ending."""

    CSV = enum.auto()
    JSONL = enum.auto()
    PARQUET = enum.auto()


Cell = str | float | list[dict[str, Any]] | None


def _best(image: LabelledImage, what: str) -> Any:
    return getattr(image.predictions[0], what) if image.predictions else None


def _top_k(image: LabelledImage) -> Cell:
    return [{"label": prediction.label, "score": prediction.score} for prediction in image.predictions]


# Each column's value for an image and the model that answered; None where there is none.
COLUMNS: Mapping[str, Callable[[LabelledImage, str], Cell]] = {
    "image": lambda image, model: image.image,
    "label": lambda image, model: _best(image, "label"),
    "score": lambda image, model: _best(image, "score"),
    "error": lambda image, model: None if image.failure is None else image.failure.sentence,
    "error_code": lambda image, model: None if image.failure is None else image.failure.code,
    "note": lambda image, model: image.note or None,
    "model": lambda image, model: model,
    # All labels with their scores: in CSV as JSON.
    "top_k": lambda image, model: _top_k(image),
}
DEFAULT_COLUMNS = ("image", "label", "score", "error")


def cells(image: LabelledImage, model: str, columns: Sequence[str]) -> dict[str, Cell]:
    """An image's row: its cells by column."""
    return {column: COLUMNS[column](image, model) for column in columns}


def csv_header(columns: Sequence[str]) -> bytes:
    """The first line of a CSV file."""
    return _csv_line(list(columns))


def csv_line(row: Mapping[str, Cell]) -> bytes:
    """A row as a line of a CSV file (RFC 4180, UTF-8): empty where there is no value."""
    return _csv_line([_csv_cell(cell) for cell in row.values()])


def jsonl_line(row: Mapping[str, Cell]) -> bytes:
    """A row as a line of a JSON Lines file."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(errors="replace") + b"\n"


def _csv_cell(cell: Cell) -> str | float:
    if cell is None:
        return ""
    return json.dumps(cell, ensure_ascii=False, separators=(",", ":")) if isinstance(cell, list) else cell


def _csv_line(values: Sequence[str | float]) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerow(values)
    return buffer.getvalue().encode(errors="replace")
