"""One table of several models on one data set, as text for a terminal, Markdown, CSV or JSON; pure."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from core.sizes import format_bytes

ENDINGS = (".md", ".csv", ".json")


@dataclass(frozen=True, slots=True)
class Scores:
    """One model on one data set; shares are of the photos whose labels all compared models have.

    Attributes:
        kind: as in a bundle's manifest, such as ``int8`` or ``ensemble``.
        precision: macro average over the classes of the test photos, as are `recall` and `f1`.
        validation_accuracy: None if there are no validation photos.
        trained_on: how many of the test photos were in the model's own training part; its figures are then too good.
    """

    name: str
    kind: str
    validation_accuracy: float | None
    test_accuracy: float
    precision: float
    recall: float
    f1: float
    size_bytes: int
    latency_milliseconds: float
    trained_on: int = 0


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


_COLUMNS: tuple[tuple[str, Callable[[Scores], str]], ...] = (
    ("model", lambda each: each.name),
    ("kind", lambda each: each.kind),
    ("validation accuracy", lambda each: _share(each.validation_accuracy)),
    ("test accuracy", lambda each: _share(each.test_accuracy)),
    ("precision", lambda each: _share(each.precision)),
    ("recall", lambda each: _share(each.recall)),
    ("F1", lambda each: _share(each.f1)),
    ("size", lambda each: format_bytes(each.size_bytes)),
    ("ms per image", lambda each: f"{each.latency_milliseconds:.1f}"),
)


def headings() -> list[str]:
    """The headings of the table."""
    return [name for name, _ in _COLUMNS]


def cells(scores: Scores) -> list[str]:
    """A model's row of the table."""
    return [show(scores) for _, show in _COLUMNS]


def to_text(scores: Sequence[Scores], ending: str, facts: dict[str, Any]) -> str:
    """The table in the format of one of `ENDINGS`.

    Args:
        facts: what the figures were measured on; only JSON has them.
    """
    if ending == ".json":
        return json.dumps({**facts, "models": [asdict(each) for each in scores]}, indent=1, ensure_ascii=False) + "\n"
    if ending == ".csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, list(asdict(scores[0])), lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(each) for each in scores)
        return text.getvalue()
    rows = [headings(), ["---", "---", *["---:"] * (len(_COLUMNS) - 2)], *(cells(each) for each in scores)]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows)
