"""The files of a bulk run's table: as few as possible, of limited size, in CSV, JSON Lines or Parquet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from tempfile import TemporaryFile
from typing import IO, Protocol

from tenacity import Retrying

from aws.bulk_buckets import BulkOutput
from core.bulk_columns import Cell, Format, csv_header, csv_line, jsonl_line
from core.bulk_run import BulkRun, TableFile

# A run of about a million photos is one file; larger ones read in parallel.
MAX_TABLE_BYTES = 64 * 1024 * 1024
_CONTENT_TYPES = {
    Format.CSV: "text/csv; charset=utf-8",
    Format.JSONL: "application/x-ndjson",
    Format.PARQUET: "application/vnd.apache.parquet",
}


class RowWriter(Protocol):
    """Writes rows into a file that is open."""

    def write(self, row: Mapping[str, Cell]) -> None: ...
    def close(self) -> None: ...


class Tables:
    """Write rows into files, each of which is stored when it is full; a context manager that stores the last.

    Args:
        again: repeats requests that fail.

    Attributes:
        files: those that are stored.
    """

    def __init__(self, run: BulkRun, output: BulkOutput, again: Retrying) -> None:
        self.files: list[TableFile] = []
        self._run = run
        self._output = output
        self._again = again
        self._new_writer = writer_of(run.format)
        self._open()

    def __enter__(self) -> Tables:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and (self._rows or not self.files):
            self._store()
        self._resources.close()

    def write(self, row: Mapping[str, Cell]) -> None:
        """Write one row."""
        if self._file.tell() >= MAX_TABLE_BYTES:
            self._store()
            self._open()
        self._writer.write(row)
        self._rows += 1

    def _put(self, key: str) -> None:
        self._file.seek(0)
        self._output.put_file(key, self._file, _CONTENT_TYPES[self._run.format])

    def _open(self) -> None:
        self._resources = ExitStack()
        self._file: IO[bytes] = self._resources.enter_context(TemporaryFile())  # noqa: SIM115 - closed by the stack
        self._writer = self._new_writer(self._file, self._run.columns)
        self._rows = 0

    def _store(self) -> None:
        self._writer.close()
        size_bytes = self._file.tell()
        key = self._run.table_key(len(self.files))
        self._again(self._put, key)
        self.files.append(TableFile(key, self._rows, size_bytes))
        self._rows = 0
        self._resources.close()


class _Lines:
    """Writes rows as lines."""

    def __init__(self, file: IO[bytes], line: Callable[[Mapping[str, Cell]], bytes], header: bytes = b"") -> None:
        self._file = file
        self._line = line
        file.write(header)

    def write(self, row: Mapping[str, Cell]) -> None:
        self._file.write(self._line(row))

    def close(self) -> None:
        pass


def writer_of(format: Format) -> Callable[[IO[bytes], Sequence[str]], RowWriter]:
    """Return what begins a file of this format.

    Raises:
        ArgumentError: the format needs a package that is not installed.
    """
    if format is Format.PARQUET:
        from controller.bulk.parquet import ParquetRows, require_pyarrow

        require_pyarrow()
        return ParquetRows
    if format is Format.JSONL:
        return lambda file, columns: _Lines(file, jsonl_line)
    return lambda file, columns: _Lines(file, csv_line, csv_header(columns))
