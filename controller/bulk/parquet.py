"""Rows as Parquet, by pyarrow, an optional package."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import IO, Any

from core.bulk_columns import Cell
from core.errors import ArgumentError

ROWS_PER_GROUP = 20_000


def require_pyarrow() -> None:
    """Check that Parquet can be written.

    Raises:
        ArgumentError: pyarrow is not installed.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise ArgumentError(
            "the format parquet needs the package pyarrow where the controller runs, which is not installed: "
            "`pip install pyarrow`, then `elastic bulk resume`; or choose csv or jsonl"
        )


class ParquetRows:
    """Writes rows into a Parquet file, `ROWS_PER_GROUP` in a group.

    Args:
        columns: of `core.bulk_columns.COLUMNS`; all but ``score`` and ``top_k`` are texts.
    """

    def __init__(self, file: IO[bytes], columns: Sequence[str]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        prediction = pa.struct([("label", pa.string()), ("score", pa.float64())])
        types: dict[str, Any] = {"score": pa.float64(), "top_k": pa.list_(prediction)}
        self._schema = pa.schema([(column, types.get(column, pa.string())) for column in columns])
        self._table_of = pa.Table.from_pylist
        self._writer = pq.ParquetWriter(file, self._schema)
        self._rows: list[Mapping[str, Cell]] = []

    def write(self, row: Mapping[str, Cell]) -> None:
        self._rows.append(row)
        if len(self._rows) >= ROWS_PER_GROUP:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(self._table_of(self._rows, schema=self._schema))
            self._rows = []
