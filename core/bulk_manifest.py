"""Manifests: files that list the photos of a bulk run.  They are read line by line, with constant memory."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from core.bulk_plan import parse_address
from core.errors import ArgumentError
from core.object_keys import MAX_KEY_BYTES

ENDINGS = (".csv", ".jsonl")
# Of a CSV file's columns, or of a line's fields in JSON Lines: the first that is there has the key, or an address.
KEY_NAMES = ("key", "image", "path", "url")
BUCKET_NAME = "bucket"
MAX_LINE_BYTES = 64 * 1024


def read_manifest(path: Path, bucket: str = "") -> Iterator[tuple[str, str]]:
    """Read the bucket and the key of each photo in a manifest.

    A CSV file has a header with one of `KEY_NAMES` and perhaps `BUCKET_NAME`; a line of JSON Lines is an object with
    these fields, or a text.  A key may be an address, ``s3://bucket/key``.

    Args:
        bucket: of the keys that have none.

    Raises:
        ArgumentError: the file is of another form, or names no bucket; says in which line.
    """
    if path.suffix.lower() not in ENDINGS:
        raise ArgumentError(f"{path}: a manifest ends in {' or '.join(ENDINGS)}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = _csv_rows(file) if path.suffix.lower() == ".csv" else _json_rows(file)
            for number, row in rows:
                yield _photo(row, bucket, f"{path}, line {number}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ArgumentError(f"{path} cannot be read: {error}") from error


def keys_of_one_bucket(photos: Iterable[tuple[str, str]]) -> tuple[str, Iterator[str]]:
    """The bucket of all photos, and their keys.

    Raises:
        ArgumentError: there is none; or, while the keys are taken, there are several buckets.
    """
    rest = iter(photos)
    first = next(rest, None)
    if first is None:
        raise ArgumentError("the manifest lists no photo")
    bucket, first_key = first

    def keys() -> Iterator[str]:
        yield first_key
        for other, key in rest:
            if other != bucket:
                raise ArgumentError(f"the manifest names the buckets {bucket} and {other}: start a run for each")
            yield key

    return bucket, keys()


def _csv_rows(file: io.TextIOBase | Any) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(file)
    names = [name.strip().lower() for name in reader.fieldnames or []]
    if not set(names) & set(KEY_NAMES):
        raise ArgumentError(f"the manifest's first line names no column {' or '.join(KEY_NAMES)}")
    reader.fieldnames = names
    for row in reader:
        yield reader.line_num, row


def _json_rows(file: Iterable[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            if len(line) > MAX_LINE_BYTES:
                raise ValueError("it is too long")
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ArgumentError(f"line {number} of the manifest is not JSON: {error}") from error
        yield number, value if isinstance(value, dict) else {KEY_NAMES[0]: value}


def _photo(row: Mapping[str, Any], bucket: str, where: str) -> tuple[str, str]:
    key = next((row[name] for name in KEY_NAMES if row.get(name)), None)
    bucket = row.get(BUCKET_NAME) or bucket
    if not isinstance(key, str) or not isinstance(bucket, str):
        raise ArgumentError(f"{where}: there is no key")
    if key.startswith("s3://"):
        bucket, key = parse_address(key)
    if not bucket:
        raise ArgumentError(f"{where}: {key} has no bucket; give SOURCE, such as s3://bucket, or addresses s3://…")
    try:
        size_bytes = len(key.encode())
    except UnicodeEncodeError as error:
        raise ArgumentError(f"{where}: the key is not text") from error
    if not 0 < size_bytes <= MAX_KEY_BYTES:
        raise ArgumentError(f"{where}: a key has 1 to {MAX_KEY_BYTES} bytes")
    return bucket, key
