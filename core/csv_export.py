"""A batch's results as a CSV file (RFC 4180) that is safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence

from core.jobs import ClassificationResult
from core.response_time import TIME_FIELDS, rounded_times

# Spreadsheets evaluate a cell that begins with one of these as a formula; an apostrophe in front makes it text.
# https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
# Spreadsheets take a file without it for one in the encoding of their system.
BYTE_ORDER_MARK = "\ufeff"
_ROWS_PER_CHUNK = 100
_NO_CELL = ""

Cell = str | float | int


def _time_column(name: str) -> Callable[[ClassificationResult], Cell]:
    def cell(result: ClassificationResult) -> Cell:
        seconds = rounded_times(result.response_time)[name]
        return _NO_CELL if seconds is None else seconds

    return cell


COLUMNS: dict[str, Callable[[ClassificationResult], Cell]] = {
    "image": lambda result: result.name,
    "label": lambda result: result.answer,
    "score": lambda result: _NO_CELL if result.score is None else result.score,
    "model": lambda result: result.model,
    "note": lambda result: result.note,
    "key": lambda result: result.key,
    **{name: _time_column(name) for name in TIME_FIELDS},
}
# The label in another language, which only a reader of results knows.
LABEL_LOCAL = "label_local"
# Not one column, but two for each prediction: ``label_1,score_1,label_2,…``.
TOP_K = "top_k"
DEFAULT_COLUMNS = ("image", "label")


def csv_chunks(
    results: Iterable[ClassificationResult],
    columns: Sequence[str] = DEFAULT_COLUMNS,
    top_k: int = 5,
    *,
    byte_order_mark: bool = False,
    local_name: Callable[[ClassificationResult], str | None] = lambda _result: None,
) -> Iterator[str]:
    """Yields the file piece by piece: the header line, then one line for each result, in their order.

    A failed image's label is ``error: <sentence>``, and its other cells are empty.  A text that a spreadsheet would
    take for a formula gets an apostrophe in front.

    Args:
        columns: of `COLUMNS`, `LABEL_LOCAL` and `TOP_K`.
        top_k: the number of predictions in the columns of `TOP_K`.
        local_name: a label's name for the column `LABEL_LOCAL`; None: the cell is empty.
    """
    buffer = io.StringIO(newline="")
    if byte_order_mark:
        buffer.write(BYTE_ORDER_MARK)
    writer = csv.writer(buffer)
    writer.writerow([heading for column in columns for heading in _headings(column, top_k)])
    for count, result in enumerate(results, start=1):
        writer.writerow([as_text(cell) for column in columns for cell in _cells(result, column, top_k, local_name)])
        if count % _ROWS_PER_CHUNK == 0:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _headings(column: str, top_k: int) -> list[str]:
    if column != TOP_K:
        return [column]
    return [f"{kind}_{number}" for number in range(1, top_k + 1) for kind in ("label", "score")]


def _cells(
    result: ClassificationResult, column: str, top_k: int, local_name: Callable[[ClassificationResult], str | None]
) -> list[Cell]:
    if column == LABEL_LOCAL:
        return [local_name(result) or _NO_CELL]
    if column != TOP_K:
        return [COLUMNS[column](result)]
    cells: list[Cell] = []
    for prediction in result.predictions[:top_k]:
        cells += [prediction.label, prediction.score]
    return cells + [_NO_CELL] * (2 * top_k - len(cells))


def as_text(cell: Cell) -> Cell:
    """A cell that no spreadsheet evaluates: a text that would be a formula gets an apostrophe in front."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS) else cell
