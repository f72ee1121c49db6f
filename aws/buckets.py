"""Stores of uploaded images and of results, in two buckets on S3."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any
from urllib.parse import quote, unquote

from aws.clients import cloud_errors
from aws.conflict_retry import retry_on_conflict
from aws.objects import StoredObject as StoredObject  # re-exported for users of the stores
from aws.objects import check_bucket, delete_below, delete_objects, list_top_level, only_ours, read_body
from aws.objects import list_objects as list_objects
from aws.result_packs import MAX_BYTES as MAX_PACK_BYTES
from aws.result_packs import PackedResult, PackIndex, choose, decode_pack, encode_pack
from core.batch_record import BatchRecord
from core.errors import AlreadyExistsError, ConflictError, DecodeError, ImageTooLargeError, NotFoundError
from core.image_layouts import is_named, result_key
from core.jobs import (
    MAX_NAME_BYTES,
    MAX_RESULT_BYTES,
    ClassificationResult,
    ascii_name,
    base_name,
    batch_of,
    clean_name,
    is_batch_id,
    position_of,
)
from core.object_keys import (
    BATCH_RECORDS,
    CANCELLED_MARKS,
    DROPPED,
    IMAGES,
    INPUT_PREFIXES,
    LONG_NAMES,
    RESULT_PACKS,
    RESULT_TABLES,
)
from core.versioned_json import RECORDS

# S3 allows 2 KiB of metadata for an object, names of the entries included.
_MAX_METADATA_NAME_BYTES = 1900
# The metadata entry of an image whose name is in another object: the name's SHA-256.
_LONG_NAME = "long-name"
# Writers of one batch's record at the same time: pages that add images, and one that cancels or closes the batch.
_RECORD_ATTEMPTS, _RECORD_PAUSE_SECONDS = 8, 0.1
# The metadata entry of a result table: the digest of the results in it.
_DIGEST = "results"


@dataclass(frozen=True, slots=True)
class PresignedPost:
    """A presigned form for the upload of one object: its URL, and its fields, which precede the field ``file``."""

    url: str
    fields: dict[str, str]


class ImageStore:
    """Store of uploaded images, each under its key, and of one small record for each batch.

    Every method raises `CloudError` where S3 fails after botocore's retries, `NotFoundError` where the
    object does not exist.

    Args:
        max_image_bytes: a larger image is not fetched.
    """

    def __init__(self, client: Any, bucket: str, max_image_bytes: int = sys.maxsize) -> None:
        self._client = client
        self.bucket = bucket
        self._max_image_bytes = max_image_bytes

    def create_batch(self, batch_id: str, record: BatchRecord) -> None:
        """Store a batch's record, replacing an earlier one; with it the batch exists before its first image."""
        with cloud_errors("writing the batch's record"):
            self._client.put_object(
                Bucket=self.bucket,
                Key=BATCH_RECORDS.key_of(batch_id),
                Body=record.encode(),
                ContentType="application/json",
            )

    def read_batch(self, batch_id: str) -> BatchRecord:
        """Read a batch's record.

        Raises:
            DecodeError: the object is not a record.
        """
        return self._read_batch(batch_id)[0]

    def has_batch(self, batch_id: str) -> bool:
        """Whether a batch's record exists, without the right to read it, which has its owner's name."""
        key = BATCH_RECORDS.key_of(batch_id)
        return any(stored.key == key for stored in list_objects(self._client, self.bucket, key))

    def _read_batch(self, batch_id: str) -> tuple[BatchRecord, str]:
        with cloud_errors(f"reading the batch {batch_id}"):
            response = self._client.get_object(Bucket=self.bucket, Key=BATCH_RECORDS.key_of(batch_id))
            body = read_body(response, RECORDS[BatchRecord].max_bytes)
        return BatchRecord.decode(body), response["ETag"]

    def update_batch(self, batch_id: str, change: Callable[[BatchRecord], BatchRecord]) -> BatchRecord:
        """Replace a batch's record by a changed one, unless another writer does so meanwhile; return the new record.

        Args:
            change: makes the new record of the current one; called again after a conflict.

        Raises:
            DecodeError: the object is not a record.
        """

        def attempt() -> BatchRecord:
            old, etag = self._read_batch(batch_id)
            new = change(old)
            if new == old:
                return old
            try:
                with cloud_errors("writing the batch's record"):
                    self._client.put_object(
                        Bucket=self.bucket,
                        Key=BATCH_RECORDS.key_of(batch_id),
                        Body=new.encode(),
                        ContentType="application/json",
                        IfMatch=etag,
                    )
            except AlreadyExistsError as error:
                raise ConflictError(str(error)) from error
            return new

        failure = f"too many changes of the batch {batch_id} at the same time"
        return retry_on_conflict(attempt, _RECORD_ATTEMPTS, failure, max_pause_seconds=_RECORD_PAUSE_SECONDS)

    def put(self, key: str, body: IO[bytes] | bytes, name: str, *, only_if_new: bool = False) -> None:
        """Store an image, replacing one of the same key.

        A named image needs no `name` beside its key.

        Raises:
            AlreadyExistsError: `only_if_new` is set and there is an image with this key.
        """
        metadata, condition = self._name_metadata(key, name), {}
        if only_if_new:
            metadata["upload"], condition = secrets.token_hex(8), {"IfNoneMatch": "*"}
        try:
            with cloud_errors("storing the image"):
                self._client.put_object(
                    Bucket=self.bucket,
                    Key=key,
                    Body=body,
                    ContentType="application/octet-stream",
                    Metadata=metadata,
                    **condition,
                )
        except AlreadyExistsError:
            # This may be the same upload: the first attempt took effect, its response was lost, and the retry found it.
            if not only_if_new or self._metadata(key).get("upload") != metadata["upload"]:
                raise

    def get(self, key: str) -> bytes:
        """Fetch an image's unchanged bytes.

        Raises:
            ImageTooLargeError: it is larger than the limit.  The web tier stores no such image, but others may write
                to the bucket, and the memory of a worker is small.
        """
        with cloud_errors("fetching the image"):
            response = self._client.get_object(Bucket=self.bucket, Key=key)
            if response["ContentLength"] > self._max_image_bytes:
                response["Body"].close()
                raise ImageTooLargeError
            body: bytes = response["Body"].read()
        return body

    def presign(self, key: str, name: str, size_bytes: int, expires_seconds: int) -> PresignedPost:
        """Sign a form with which a client uploads one image of this key, name and size to S3.

        Sends no request, unless the name is too long for the image's metadata.
        """
        metadata = {f"x-amz-meta-{entry}": value for entry, value in self._name_metadata(key, name).items()}
        fields = {**metadata, "Content-Type": "application/octet-stream"}
        conditions = [{field: value} for field, value in fields.items()]
        with cloud_errors("signing an upload"):
            signed = self._client.generate_presigned_post(
                self.bucket,
                key,
                Fields=fields,
                Conditions=[*conditions, ["content-length-range", size_bytes, size_bytes]],
                ExpiresIn=expires_seconds,
            )
        return PresignedPost(signed["url"], signed["fields"])

    def head(self, key: str) -> tuple[str, int]:
        """Read an image's name and its size in bytes, without fetching it."""
        with cloud_errors("looking for the image"):
            response = self._client.head_object(Bucket=self.bucket, Key=key)
        return self._name(response["Metadata"], key), int(response["ContentLength"])

    def delete(self, keys: Sequence[str]) -> None:
        """Delete images, up to 1,000 in a request; an image that does not exist is no error."""
        delete_objects(self._client, self.bucket, keys)

    def delete_batch(self, batch_id: str) -> None:
        """Delete all images of a batch, then its record."""
        delete_below(self._client, self.bucket, f"{batch_id}/")
        delete_below(self._client, self.bucket, f"{LONG_NAMES.prefix}{batch_id}/")
        delete_objects(self._client, self.bucket, [BATCH_RECORDS.key_of(batch_id)])

    def check(self) -> None:
        """Check that the bucket can be reached; raises `CloudError` if not."""
        check_bucket(self._client, self.bucket)

    def name(self, key: str) -> str:
        """Read the name that an image's owner gave it, without fetching the image."""
        return self._name(self._metadata(key), key)

    def batches_since(self, since: datetime) -> Iterator[str]:
        """Iterate over the ids of the batches created at or after `since` (UTC), oldest first."""
        prefix = BATCH_RECORDS.prefix
        start = f"{prefix}{since:%Y%m%d-%H%M%S}"
        listing = list_objects(self._client, self.bucket, prefix, start_after=start)
        for stored in only_ours(listing, f"{self.bucket}/{prefix}", BATCH_RECORDS):
            yield BATCH_RECORDS.name_of(stored.key)

    def list(self, batch_id: str) -> Iterator[StoredObject]:
        """List the images of a batch in the order of their keys, 1,000 in a request; foreign objects are left out."""
        listing = list_objects(self._client, self.bucket, f"{batch_id}/")
        return only_ours(listing, self.bucket, IMAGES)

    def list_dropped(self) -> Iterator[StoredObject]:
        """List the dropped photos, without objects that stand for folders; see `core.dropped_photos`."""
        listing = list_objects(self._client, self.bucket, DROPPED.prefix)
        return (stored for stored in listing if DROPPED.owns(stored.key))

    def list_misplaced(self) -> Iterator[str]:
        """List the keys and prefixes at the top of the bucket that belong neither to a batch nor to dropped photos."""
        return (name for name in list_top_level(self._client, self.bucket) if is_misplaced(name))

    def _metadata(self, key: str) -> dict[str, str]:
        with cloud_errors("reading the image's metadata"):
            metadata: dict[str, str] = self._client.head_object(Bucket=self.bucket, Key=key)["Metadata"]
            return metadata

    def _name_metadata(self, key: str, name: str) -> dict[str, str]:
        """The metadata with an image's name: percent-encoded or, if it is too long for that, in an object of its own.

        That object is stored here, before the image.  Its key is the name's digest, so that it never changes.
        """
        if name == key:
            return {}
        encoded = quote(name)
        if len(encoded) <= _MAX_METADATA_NAME_BYTES:
            return {"name": encoded}
        digest = hashlib.sha256(name.encode()).hexdigest()
        with cloud_errors("storing the image's name"):
            self._client.put_object(
                Bucket=self.bucket,
                Key=_long_name_key(key, digest),
                Body=name.encode(),
                ContentType="text/plain; charset=utf-8",
            )
        return {_LONG_NAME: digest}

    def _name(self, metadata: Mapping[str, str], key: str) -> str:
        """The name of an image, normalized for a job, because another program may have written it."""
        name = unquote(metadata["name"]) if "name" in metadata else key.partition("/")[2] or key
        long_name_key = _long_name_key(key, metadata.get(_LONG_NAME, ""))
        if LONG_NAMES.owns(long_name_key):
            with contextlib.suppress(NotFoundError), cloud_errors("reading the image's name"):
                response = self._client.get_object(Bucket=self.bucket, Key=long_name_key)
                name = read_body(response, MAX_NAME_BYTES).decode(errors="replace")
        return clean_name(name)


class ResultStore:
    """Store of results, each found by the key of its image.

    `core.image_layouts` decides on the key and the body of the object.  Results of a batch can also be stored
    together (`put_together`); the packs are read as they are listed, each once, and all methods find what is in them.

    Every method raises `CloudError` where S3 fails after botocore's retries, `NotFoundError` where the
    object does not exist.
    """

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self.bucket = bucket
        self._packs = PackIndex(self._read_results)

    def put_together(self, results: Sequence[ClassificationResult]) -> None:
        """Store results of images of one batch in one object: all of them, or none.

        Raises:
            ValueError: they are too many or too long for that, or not of one batch.
        """
        key, body = encode_pack(results)
        with cloud_errors("storing results"):
            self._client.put_object(Bucket=self.bucket, Key=key, Body=body, ContentType="application/jsonl")

    def put(self, result: ClassificationResult, *, only_if_new: bool = False) -> None:
        """Store a result, replacing an earlier one for the same image.

        Raises:
            AlreadyExistsError: `only_if_new` is set and there is one; after a retry that may be the one just stored.
        """
        body, metadata = result.encode()
        condition = {"IfNoneMatch": "*"} if only_if_new else {}
        with cloud_errors("storing the result"):
            self._client.put_object(
                Bucket=self.bucket,
                Key=result_key(result.key),
                Body=body,
                ContentType="text/plain; charset=utf-8",
                # The key ends like an image's: without another name, a viewer would open the text as a picture.
                **({} if is_named(result.key) else {"ContentDisposition": _text_file(result.key)}),
                Metadata=metadata,
                **condition,
            )

    def get(self, key: str) -> ClassificationResult:
        """Fetch a result.

        Raises:
            DecodeError: the object is not a result.
        """
        packed: Sequence[PackedResult] = self._packs.find(key)
        if packed:
            return choose(key, packed).decode(key)
        result: ClassificationResult | None = None
        with contextlib.suppress(NotFoundError):
            result = ClassificationResult.decode(key, *self._read(key))
        if result is not None and (result.failure is None or not IMAGES.owns(key)):
            return result
        # A worker may have answered the image since, in a pack.
        if packed := self._listed_packs(key):
            return choose(key, packed).decode(key)
        if result is None:
            raise NotFoundError(f"fetching the result failed: there is none for {key}")
        return result

    def exists(self, key: str) -> bool:
        """Whether there is a result for the image with this key."""
        if self._packs.find(key):
            return True
        try:
            with cloud_errors("looking for the result"):
                self._client.head_object(Bucket=self.bucket, Key=result_key(key))
        except NotFoundError:
            return bool(self._listed_packs(key))
        return True

    def line(self, key: str) -> str:
        """Read the line in the body of a result object."""
        packed: Sequence[PackedResult] = self._packs.find(key)
        if packed:
            return result_line(key, choose(key, packed).body.encode())
        try:
            return result_line(key, self._read(key)[0])
        except NotFoundError:
            if packed := self._listed_packs(key):
                return result_line(key, choose(key, packed).body.encode())
            raise

    def delete(self, key: str) -> None:
        """Delete the result of the image with this key; one that does not exist is no error."""
        delete_objects(self._client, self.bucket, [result_key(key)])

    def list_named(self, start_after: str = "") -> Iterator[str]:
        """List the keys of the result objects of named images, in their order, 1,000 in a request.

        Args:
            start_after: only keys after this one.
        """
        listing = list_objects(self._client, self.bucket, "", start_after, folders=False)
        return (stored.key for stored in listing)

    def list(self, prefix: str = "", start_after: str = "") -> Iterator[StoredObject]:
        """List the results whose keys begin with `prefix`, in the order of their keys.

        The prefix is ``<batch_id>/``, that of dropped photos, or empty: all.

        Args:
            start_after: only keys after this one.
        """
        listing = self._list(prefix, start_after)
        if not prefix.startswith(DROPPED.prefix):
            listing = self._with_packs(listing, start_after)
        return (stored for stored in listing if is_answerable(stored.key))

    def list_batch(self, batch_id: str) -> tuple[Sequence[StoredObject], bool]:
        """List the results of a batch, and whether it was cancelled (`mark_cancelled`), in one listing."""
        listing = list(self._list(f"{batch_id}/"))
        self._packs.keep_only(batch_id, (stored.key for stored in listing))
        found = list(self._with_packs(listing))
        results = [stored for stored in found if IMAGES.owns(stored.key)]
        return results, any(CANCELLED_MARKS.owns(stored.key) for stored in found)

    def mark_cancelled(self, batch_id: str) -> None:
        """Store a mark among a batch's results that it was cancelled; see `list_batch`."""
        with cloud_errors(f"cancelling the batch {batch_id}"):
            self._client.put_object(Bucket=self.bucket, Key=CANCELLED_MARKS.key_of(batch_id), Body=b"")

    def put_table(self, batch_id: str, table: IO[bytes], digest: str) -> None:
        """Store a batch's result table, a CSV file, replacing an earlier one.

        Args:
            digest: identifies the results in it; see `table_digest`.
        """
        with cloud_errors(f"storing the results of the batch {batch_id}"):
            self._client.put_object(
                Bucket=self.bucket,
                Key=RESULT_TABLES.key_of(batch_id),
                Body=table,
                ContentType="text/csv; charset=utf-8",
                Metadata={_DIGEST: digest},
            )

    def table_digest(self, batch_id: str) -> str | None:
        """The digest that a batch's result table was stored with; None if there is no table."""
        try:
            with cloud_errors(f"looking for the results of the batch {batch_id}"):
                response = self._client.head_object(Bucket=self.bucket, Key=RESULT_TABLES.key_of(batch_id))
        except NotFoundError:
            return None
        digest: str = response["Metadata"].get(_DIGEST, "")
        return digest

    def delete_batch(self, batch_id: str) -> None:
        """Delete all results of a batch."""
        delete_below(self._client, self.bucket, f"{batch_id}/")

    def check(self) -> None:
        """Check that the bucket can be reached; raises `CloudError` if not."""
        check_bucket(self._client, self.bucket)

    def _list(self, prefix: str, start_after: str = "") -> Iterator[StoredObject]:
        listing = list_objects(self._client, self.bucket, prefix, start_after)
        return only_ours(listing, self.bucket, IMAGES, DROPPED, CANCELLED_MARKS, RESULT_TABLES, RESULT_PACKS)

    def _read(self, key: str) -> tuple[bytes, dict[str, str]]:
        """The body of a result object, and its metadata."""
        with cloud_errors("fetching the result"):
            response = self._client.get_object(Bucket=self.bucket, Key=result_key(key))
            return read_body(response, MAX_RESULT_BYTES), response["Metadata"]

    def _read_results(self, stored: StoredObject) -> dict[str, PackedResult]:
        """The results in a pack, or the one in an object of its own."""
        if RESULT_PACKS.owns(stored.key):
            with cloud_errors("fetching results"):
                response = self._client.get_object(Bucket=self.bucket, Key=stored.key)
                return decode_pack(stored, read_body(response, MAX_PACK_BYTES))
        body, metadata = self._read(stored.key)
        text = body.decode(errors="replace")
        return {stored.key: PackedResult(text, metadata.get("result", ""), stored.last_modified, stored.key)}

    def _listed_packs(self, key: str) -> Sequence[PackedResult]:
        """The results of an image in all packs that may have it, by a listing that begins at its position."""
        if not IMAGES.owns(key):
            return []
        start_after = f"{batch_of(key)}/{position_of(key):05d}_"
        listing = list_objects(self._client, self.bucket, f"{batch_of(key)}/", start_after)
        return self._packs.load([stored for stored in listing if RESULT_PACKS.owns(stored.key)]).get(key, [])

    def _with_packs(self, listing: Iterable[StoredObject], start_after: str = "") -> Iterator[StoredObject]:
        """A listing with a row for each result in its packs in place of these, in the order of the keys."""
        rows: dict[str, StoredObject] = {}
        packs: list[StoredObject] = []
        for stored in listing:
            if RESULT_PACKS.owns(stored.key):
                packs.append(stored)
            else:
                rows[stored.key] = stored
        packed = self._packs.load(packs)
        if both := [rows[key] for key in packed if key in rows]:
            packed = self._packs.load([*packs, *both])
        for key, stored_results in packed.items():
            chosen = choose(key, stored_results)
            if chosen.source != key and key > start_after:
                rows[key] = chosen.listed_as(key)
        yield from (rows[key] for key in sorted(rows))


def is_answerable(key: str) -> bool:
    """Whether `key` is that of an image of a batch or of a dropped photo, and so that of a result."""
    return IMAGES.owns(key) or DROPPED.owns(key)


def is_misplaced(name: str) -> bool:
    """Whether a key or a prefix at the top of the input bucket belongs neither to a batch nor to dropped photos."""
    return name not in INPUT_PREFIXES and not (name.endswith("/") and is_batch_id(name.removesuffix("/")))


def _text_file(key: str) -> str:
    return f'inline; filename="{ascii_name(base_name(key))}.txt"'


def _long_name_key(key: str, digest: str) -> str:
    return f"{LONG_NAMES.prefix}{batch_of(key)}/{digest}"


def result_line(key: str, body: bytes) -> str:
    """Decode the line in the body of a result object.

    Raises:
        DecodeError: the body is too long, or not text.
    """
    try:
        if len(body) > MAX_RESULT_BYTES:
            raise ValueError(f"longer than {MAX_RESULT_BYTES} bytes")
        return body.decode().rstrip("\n")
    except ValueError as error:
        raise DecodeError(f"{key} is not a result: {error}") from error
