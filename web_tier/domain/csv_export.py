"""A batch's results as a CSV file (RFC 4180) that is safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

from core.jobs import ClassificationResult

HEADER = ("image", "label")
# Spreadsheets evaluate a cell that begins with one of these as a formula; an apostrophe in front makes it text.
# https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_ROWS_PER_CHUNK = 100


def csv_chunks(results: Iterable[ClassificationResult]) -> Iterator[str]:
    """Yields the file piece by piece: the header line, then one line for each result, in their order.

    A failed image's label is ``error: <sentence>``.
    """
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(HEADER)
    for count, result in enumerate(results, start=1):
        writer.writerow((_as_text(result.name), _as_text(answer_of(result))))
        if count % _ROWS_PER_CHUNK == 0:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def answer_of(result: ClassificationResult) -> str:
    """The label of a result, or ``error: <sentence>``."""
    return f"error: {result.failure.sentence}" if result.failure is not None else result.label or ""


def _as_text(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA_STARTS) else cell
