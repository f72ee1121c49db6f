"""S3 Inventory: the lists of a bucket's objects that S3 publishes daily or weekly.  Read row by row.

A list is a ``manifest.json`` and data files in CSV (gzip), Parquet or ORC, which lie in the destination bucket.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory-location.html
"""

from __future__ import annotations

import csv
import enum
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import unquote_plus

from core.errors import ArgumentError
from core.object_keys import MAX_KEY_BYTES

MANIFEST_NAME = "manifest.json"
# Some 200 bytes describe a data file, which lists a million objects or more.
MAX_MANIFEST_BYTES = 16 * 1024 * 1024
_ARN = "arn:"
# The columns that are read, as CSV and Parquet name them.  The last two are there if all versions are listed.
BUCKET, KEY, IS_LATEST, IS_DELETE_MARKER = "bucket", "key", "is_latest", "is_delete_marker"
_CSV_NAMES = {"Bucket": BUCKET, "Key": KEY, "IsLatest": IS_LATEST, "IsDeleteMarker": IS_DELETE_MARKER}


class InventoryFormat(enum.StrEnum):
    """The formats of data files that can be read, as the manifest names them."""

    CSV = "CSV"
    PARQUET = "Parquet"


@dataclass(frozen=True, slots=True)
class InventoryFile:
    """A data file: its key in the destination bucket, and the MD5 of its content in hexadecimal digits."""

    key: str
    md5: str


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a manifest says.

    Attributes:
        source_bucket: whose objects are listed.
        destination_bucket: where the data files are.
        columns: of the data files, in their order, named as in Parquet; only CSV files need them.
    """

    source_bucket: str
    destination_bucket: str
    format: InventoryFormat
    columns: tuple[str, ...]
    files: tuple[InventoryFile, ...]


@dataclass(frozen=True, slots=True)
class InventoryRow:
    """A row of a data file: a version of an object."""

    bucket: str
    key: str
    is_latest: bool = True
    is_delete_marker: bool = False


def decode_inventory(body: bytes, address: str) -> Inventory:
    """Read a manifest.

    Args:
        address: where it lies, for the messages.

    Raises:
        ArgumentError: it is no manifest of an inventory, or its data files cannot be read here.
    """
    try:
        if len(body) > MAX_MANIFEST_BYTES:
            raise ValueError("it is too long")
        value = json.loads(body)
        name, schema = str(value["fileFormat"]), str(value["fileSchema"])
        source, destination = _bucket(value["sourceBucket"]), _bucket(value["destinationBucket"])
        files = tuple(_file(entry) for entry in value["files"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArgumentError(f"{address} is not the {MANIFEST_NAME} of an S3 Inventory ({_reason(error)})") from error
    if name not in set(InventoryFormat):
        raise ArgumentError(
            f"the inventory {address} is in the format {name[:20]}, which cannot be read: "
            "configure it as CSV or Parquet"
        )
    file_format = InventoryFormat(name)
    columns = tuple(_CSV_NAMES.get(column.strip(), column.strip()) for column in schema.split(","))
    if file_format is InventoryFormat.CSV and not {BUCKET, KEY} <= set(columns):
        raise ArgumentError(f"the inventory {address} has no columns Bucket and Key: {schema[:100]}")
    return Inventory(source, destination, file_format, columns, files)


def csv_rows(file: IO[bytes], columns: tuple[str, ...], address: str) -> Iterator[InventoryRow]:
    """Read the rows of a data file in CSV, compressed with gzip.  It has no header, and its keys are URL-encoded.

    Raises:
        ArgumentError: it has another form; says in which line.
    """
    at = {name: columns.index(name) for name in _CSV_NAMES.values() if name in columns}
    number = 0
    try:
        with gzip.open(file, "rt", encoding="utf-8", newline="") as text:
            for number, fields in enumerate(csv.reader(text), start=1):
                row = {name: fields[place] for name, place in at.items()}
                yield InventoryRow(
                    row[BUCKET],
                    _decoded(row[KEY], f"{address}, line {number}"),
                    row.get(IS_LATEST, "true").lower() != "false",
                    row.get(IS_DELETE_MARKER, "false").lower() == "true",
                )
    except IndexError as error:
        raise ArgumentError(f"{address}, line {number}: there are fewer than {len(columns)} columns") from error
    except (OSError, EOFError, zlib.error, csv.Error, UnicodeDecodeError) as error:
        raise ArgumentError(f"{address} cannot be read after line {number}: {error}") from error


def current_keys(rows: Iterable[InventoryRow], bucket: str, address: str) -> Iterator[str]:
    """The keys of the objects that are there: without earlier versions, and without deleted ones.

    Raises:
        ArgumentError: a row is of another bucket, or has no key.
    """
    for row in rows:
        if row.bucket != bucket:
            raise ArgumentError(f"{address} lists the bucket {row.bucket}, and its manifest {bucket}")
        if not 0 < len(row.key.encode()) <= MAX_KEY_BYTES:
            raise ArgumentError(f"{address}: a key has 1 to {MAX_KEY_BYTES} bytes, not {len(row.key.encode())}")
        if row.is_latest and not row.is_delete_marker:
            yield row.key


def _decoded(key: str, where: str) -> str:
    """Decode a key of CSV, where a space is a plus sign, and a plus sign %2B."""
    try:
        return unquote_plus(key, errors="strict")
    except UnicodeDecodeError as error:
        raise ArgumentError(f"{where}: the key is not text in UTF-8") from error


def _bucket(value: Any) -> str:
    """The name of a bucket, which the manifest may give as an ARN."""
    if not isinstance(value, str) or not value:
        raise ValueError("a bucket has no name")
    return value.rpartition(":")[2] if value.startswith(_ARN) else value


def _file(entry: Any) -> InventoryFile:
    key, md5 = entry["key"], entry["MD5checksum"]
    if not isinstance(key, str) or not key or not isinstance(md5, str):
        raise ValueError("a file has no key")
    return InventoryFile(key, md5.lower())


def _reason(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)[:100]
