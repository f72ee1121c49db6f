"""The lists of S3 Inventory in their bucket: the keys of a bucket's objects without a request for each thousand."""

from __future__ import annotations

import hashlib
import importlib.util
import tempfile
from collections.abc import Iterator
from typing import IO, Any

from aws.clients import cloud_errors
from aws.objects import read_body
from core.bulk_plan import parse_address
from core.errors import ArgumentError, CloudError, DeniedError, NotFoundError
from core.inventory import (
    BUCKET,
    IS_DELETE_MARKER,
    IS_LATEST,
    KEY,
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    Inventory,
    InventoryFile,
    InventoryFormat,
    InventoryRow,
    csv_rows,
    current_keys,
    decode_inventory,
)

ROWS_PER_BATCH = 10_000
_CHUNK_BYTES = 1024 * 1024
# botocore repeats a request, but not the reading of a body that breaks off.
_ATTEMPTS = 3


class PhotoInventory:
    """A published list, by the address of its ``manifest.json``.

    Data files are fetched one after the other into a temporary file, so that memory does not grow with them and
    none is used before its MD5 has been compared.

    Raises:
        ArgumentError: there is no such list, or it cannot be read here.
        CloudError: S3 fails after botocore's retries.
    """

    def __init__(self, client: Any, address: str) -> None:
        self._client = client
        bucket, key = parse_address(address)
        if not key.endswith(f"/{MANIFEST_NAME}") and key != MANIFEST_NAME:
            raise ArgumentError(
                f"{address}: a manifest in S3 is the {MANIFEST_NAME} of an S3 Inventory; download any other"
            )
        try:
            with cloud_errors(f"reading {address}"):
                body = read_body(client.get_object(Bucket=bucket, Key=key), MAX_MANIFEST_BYTES)
        except NotFoundError as error:
            raise ArgumentError(
                f"there is no {address}: S3 publishes the first list within 48 hours of the inventory's configuration"
            ) from error
        except DeniedError as error:
            raise ArgumentError(f"{address} cannot be read with these credentials: {error}") from error
        self.inventory: Inventory = decode_inventory(body, address)
        if self.inventory.format is InventoryFormat.PARQUET and importlib.util.find_spec("pyarrow") is None:
            raise ArgumentError(
                f"the inventory {address} is in the format Parquet, which needs the package pyarrow: "
                "`pip install pyarrow`, or configure the inventory as CSV"
            )

    def keys(self) -> Iterator[str]:
        """The keys of the bucket's objects as of the list's time, in its order.

        Raises:
            ArgumentError: a data file is missing, damaged or of another form.
        """
        for listed in self.inventory.files:
            address = f"s3://{self.inventory.destination_bucket}/{listed.key}"
            with tempfile.TemporaryFile() as file:
                self._fetch(listed, file, address)
                yield from current_keys(self._rows(file, address), self.inventory.source_bucket, address)

    def _rows(self, file: IO[bytes], address: str) -> Iterator[InventoryRow]:
        if self.inventory.format is InventoryFormat.CSV:
            return csv_rows(file, self.inventory.columns, address)
        return _parquet_rows(file, address)

    def _fetch(self, listed: InventoryFile, file: IO[bytes], address: str) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                md5 = self._copy(listed.key, file, address)
                break
            except (NotFoundError, DeniedError) as error:
                raise ArgumentError(f"the inventory's file {address} cannot be read: {error}") from error
            except CloudError:
                if attempt == _ATTEMPTS:
                    raise
        if md5 != listed.md5:
            raise ArgumentError(f"{address} is not the file that the inventory's manifest lists: its MD5 is {md5}")
        file.seek(0)

    def _copy(self, key: str, file: IO[bytes], address: str) -> str:
        """Copy an object into a file; return the MD5 of its content."""
        file.seek(0)
        file.truncate()
        md5 = hashlib.md5(usedforsecurity=False)
        with cloud_errors(f"reading {address}"):
            response = self._client.get_object(Bucket=self.inventory.destination_bucket, Key=key)
            for chunk in response["Body"].iter_chunks(_CHUNK_BYTES):
                md5.update(chunk)
                file.write(chunk)
        return md5.hexdigest()


def _parquet_rows(file: IO[bytes], address: str) -> Iterator[InventoryRow]:
    """Read the rows of a data file in Parquet, whose keys are not encoded."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            there = set(table.schema_arrow.names)
            if not {BUCKET, KEY} <= there:
                raise ArgumentError(f"{address} has no columns {BUCKET} and {KEY}")
            columns = [name for name in (BUCKET, KEY, IS_LATEST, IS_DELETE_MARKER) if name in there]
            for batch in table.iter_batches(ROWS_PER_BATCH, columns=columns):
                for row in batch.to_pylist():
                    yield _parquet_row(row)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ArgumentError(f"{address} cannot be read: {error}") from error


def _parquet_row(row: dict[str, Any]) -> InventoryRow:
    bucket, key = (value.decode() if isinstance(value, bytes) else value for value in (row[BUCKET], row[KEY]))
    return InventoryRow(bucket or "", key or "", row.get(IS_LATEST) is not False, row.get(IS_DELETE_MARKER) is True)
