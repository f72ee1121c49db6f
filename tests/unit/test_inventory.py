"""S3 Inventory: lists of the documented form are read, and what is wrong in them is named with its address."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote_plus

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from hypothesis import given
from hypothesis import strategies as st

from aws import inventory
from aws.inventory import PhotoInventory
from core.errors import ArgumentError, CloudError, ElasticError
from core.inventory import csv_rows

# The address of the manifest, and the keys of the data files, have the documented form.
FOLDER = "lists/photos/weekly"
ADDRESS = f"s3://inventories/{FOLDER}/2026-01-04T01-00Z/manifest.json"
ALL_COLUMNS = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag, StorageClass"
PARQUET_SCHEMA = (
    "message s3.inventory { required binary bucket (UTF8); required binary key (UTF8); optional boolean is_latest; "
    "optional boolean is_delete_marker; optional int64 size;}"
)
KEYS = ["2026/a.jpg", "2026/b c+d.jpg", "2026/ü, 100%.jpg"]


class Body(io.BytesIO):
    """A response's body; `breaks` times, its connection breaks off in the middle."""

    def __init__(self, body: bytes, breaks: bool = False) -> None:
        super().__init__(body)
        self._breaks = breaks

    def iter_chunks(self, size: int) -> Iterator[bytes]:
        if self._breaks:
            yield self.read(5)
            raise ReadTimeoutError(endpoint_url="https://s3")
        while chunk := self.read(size):
            yield chunk


class Client:
    """The objects of a bucket, as boto3's client gives them."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.breaks = 0
        self.code = "NoSuchKey"

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        if Bucket != "inventories" or Key not in self.objects:
            raise ClientError({"Error": {"Code": self.code, "Message": "m"}}, "GetObject")
        self.breaks -= 1
        body = self.objects[Key]
        return {"Body": Body(body, self.breaks >= 0), "ContentLength": len(body)}

    def publish(self, *files: bytes, ending: str = "csv.gz", **changes: Any) -> None:
        """Publishes a list with these data files; `changes` are of the manifest's fields, None to leave one out."""
        entries = []
        for number, body in enumerate(files):
            key = f"{FOLDER}/data/{number}.{ending}"
            self.objects[key] = body
            entries.append({"key": key, "size": len(body), "MD5checksum": hashlib.md5(body).hexdigest()})
        manifest = {
            "sourceBucket": "photos",
            "destinationBucket": "arn:aws:s3:::inventories",
            "version": "2016-11-30",
            "creationTimestamp": "1767488400000",
            "fileFormat": "CSV",
            "fileSchema": "Bucket, Key, Size",
            "files": entries,
        } | changes
        text = json.dumps({name: value for name, value in manifest.items() if value is not None})
        self.objects[ADDRESS.removeprefix("s3://inventories/")] = text.encode()

    def keys(self) -> list[str]:
        return list(PhotoInventory(self, ADDRESS).keys())


def csv_file(*rows: Sequence[str]) -> bytes:
    """A data file in CSV, whose fields are quoted and whose keys, the second column, are URL-encoded."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows((bucket, quote_plus(key, safe="/"), *rest) for bucket, key, *rest in rows)
    return gzip.compress(text.getvalue().encode())


def parquet_file(keys: Sequence[str], text: pa.DataType | None = None, **columns: list[bool | None]) -> bytes:
    fields = {
        "bucket": pa.array(["photos"] * len(keys), text or pa.string()),
        "key": pa.array(keys, text or pa.string()),
    }
    file = io.BytesIO()
    pq.write_table(pa.table(fields | columns | {"size": list(range(len(keys)))}), file)
    return file.getvalue()


def test_the_keys_of_a_list_in_csv() -> None:
    client = Client()
    client.publish(csv_file(("photos", KEYS[0], "5"), ("photos", KEYS[1], "")), csv_file(("photos", KEYS[2], "7")))
    assert client.keys() == KEYS


def test_the_keys_of_a_list_in_parquet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "ROWS_PER_BATCH", 2)
    client = Client()
    files = (parquet_file(KEYS), parquet_file(["%41+.jpg"], pa.binary()))
    client.publish(*files, ending="parquet", fileFormat="Parquet", fileSchema=PARQUET_SCHEMA)
    assert client.keys() == [*KEYS, "%41+.jpg"], "keys in Parquet are not encoded"


def test_only_objects_that_are_there_are_listed() -> None:
    """Lists of all versions also have earlier versions, and the marks of deleted objects."""
    client = Client()
    rest = ("5", "2026-01-03T00:00:00.000Z", "etag", "STANDARD")
    rows = [("a", "true", "false"), ("b", "false", "false"), ("c", "true", "true"), ("d", "", "")]
    client.publish(
        csv_file(*(("photos", key, "v1", latest, marker, *rest) for key, latest, marker in rows)),
        fileSchema=ALL_COLUMNS,
    )
    assert client.keys() == ["a", "d"]
    body = parquet_file(
        ["a", "b", "c", "d"], is_latest=[True, False, True, None], is_delete_marker=[False, False, True, None]
    )
    client.publish(body, ending="parquet", fileFormat="Parquet", fileSchema=PARQUET_SCHEMA)
    assert client.keys() == ["a", "d"]


@given(keys=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50), max_size=10))
def test_every_key_comes_through_its_encoding(keys: list[str]) -> None:
    file = io.BytesIO(csv_file(*(("photos", key) for key in keys)))
    assert [row.key for row in csv_rows(file, ("bucket", "key"), "s3://inventories/a")] == keys


def test_a_list_is_read_with_the_memory_for_one_row() -> None:
    """The first keys are there before the rest has been decompressed; a damage at the end is met only there."""
    whole = csv_file(*(("photos", f"{number:07}.jpg") for number in range(20_000)))
    rows = csv_rows(io.BytesIO(whole[:-9]), ("bucket", "key"), "s3://inventories/a")
    assert next(rows).key == "0000000.jpg"
    with pytest.raises(ArgumentError, match=r"s3://inventories/a cannot be read after line \d+"):
        list(rows)


def test_a_connection_that_breaks_off_is_made_again() -> None:
    client = Client()
    client.publish(csv_file(("photos", "a.jpg", "5")))
    listed = PhotoInventory(client, ADDRESS)
    client.breaks = 2
    assert list(listed.keys()) == ["a.jpg"]
    client.breaks = 3
    with pytest.raises(CloudError, match=r"reading s3://inventories/lists/photos/weekly/data/0.csv.gz failed"):
        list(listed.keys())


ROW = ("photos", "a.jpg", "5")


@pytest.mark.parametrize(
    ("files", "changes", "sentence"),
    [
        (
            [csv_file(ROW)],
            {"sourceBucket": None},
            r"is not the manifest.json of an S3 Inventory \('sourceBucket' is mis",
        ),
        (
            [csv_file(ROW)],
            {"destinationBucket": 5},
            r"is not the manifest.json of an S3 Inventory \(a bucket has no na",
        ),
        ([csv_file(ROW)], {"files": [{"key": "a"}]}, r"\('MD5checksum' is missing\)"),
        ([csv_file(ROW)], {"files": "none"}, "is not the manifest.json of an S3 Inventory"),
        (
            [csv_file(ROW)],
            {"fileFormat": "ORC"},
            "in the format ORC, which cannot be read: configure it as CSV or Parq",
        ),
        ([csv_file(ROW)], {"fileSchema": "Bucket, Size"}, "has no columns Bucket and Key: Bucket, Size"),
        ([csv_file(ROW, ("others", "b", "5"))], {}, r"data/0.csv.gz lists the bucket others, and its manifest photos"),
        ([csv_file(ROW, ("photos", "", "5"))], {}, "a key has 1 to 1024 bytes, not 0"),
        ([csv_file(ROW, ("photos", "x" * 1025, "5"))], {}, "a key has 1 to 1024 bytes, not 1025"),
        (
            [csv_file(ROW), csv_file(("photos", "a"))],
            {"fileSchema": "Bucket, Size, Key"},
            "1.csv.gz, line 1: there are f",
        ),
        ([gzip.compress(b'"photos","%ff","5"\n')], {}, "line 1: the key is not text in UTF-8"),
        ([gzip.compress(b'"photos","\xff","5"\n')], {}, "cannot be read after line 0: 'utf-8' codec"),
        ([b"photos,a.jpg,5\n"], {}, "cannot be read after line 0"),
        (
            [csv_file(ROW)],
            {"destinationBucket": "elsewhere"},
            "the inventory's file s3://elsewhere/lists/.* cannot be re",
        ),
        ([b"none"], {"fileFormat": "Parquet"}, "0.csv.gz cannot be read"),
        ([parquet_file(["a"])[:-4] + b"none"], {"fileFormat": "Parquet"}, "0.csv.gz cannot be read"),
    ],
)
def test_what_is_wrong_in_a_list_is_named(files: list[bytes], changes: dict[str, Any], sentence: str) -> None:
    client = Client()
    client.publish(*files, **changes)
    with pytest.raises(ArgumentError, match=sentence):
        client.keys()


def test_a_file_that_the_manifest_does_not_describe_is_refused_before_a_key_of_it_is_used() -> None:
    client = Client()
    client.publish(csv_file(ROW))
    client.objects[f"{FOLDER}/data/0.csv.gz"] = csv_file(("photos", "other.jpg", "5"))
    with pytest.raises(
        ArgumentError, match=r"is not the file that the inventory's manifest lists: its MD5 is [0-9a-f]{32}"
    ):
        next(PhotoInventory(client, ADDRESS).keys())


@pytest.mark.parametrize(
    ("address", "code", "sentence"),
    [
        ("s3://inventories/lists/favourites.csv", "", "a manifest in S3 is the manifest.json of an S3 Inventory"),
        ("s3://inventories/my-manifest.json", "", "a manifest in S3 is the manifest.json of an S3 Inventory"),
        ("s3://I/manifest.json", "", "I cannot be the name of a bucket"),
        ("s3://inventories/manifest.json", "NoSuchKey", "S3 publishes the first list within 48 hours"),
        ("s3://inventories/manifest.json", "AccessDenied", "cannot be read with these credentials"),
    ],
)
def test_a_manifest_that_is_not_there_is_named(address: str, code: str, sentence: str) -> None:
    client = Client()
    client.code = code
    with pytest.raises(ElasticError, match=sentence):
        PhotoInventory(client, address)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"[" * 100_000, b"\xff", b'{"files": 5}', b"5", b"null"])
def test_what_is_no_manifest_is_refused(body: bytes) -> None:
    client = Client()
    client.objects["manifest.json"] = body
    with pytest.raises(
        ArgumentError, match=r"s3://inventories/manifest.json is not the manifest.json of an S3 Inventory"
    ):
        PhotoInventory(client, "s3://inventories/manifest.json")


def test_without_pyarrow_a_list_in_parquet_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()
    client.publish(parquet_file(["a"]), fileFormat="Parquet")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ArgumentError, match=r"`pip install pyarrow`, or configure the inventory as CSV"):
        client.keys()
