"""What is not ours in the buckets of images and results: no listing yields it, on S3 and in memory."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from aws.batch_index import BatchIndex
from aws.buckets import ImageStore, ResultStore
from aws.clients import Clients
from aws.in_memory import InMemoryImageStore, InMemoryResultStore
from aws.in_memory.stores import InMemoryObject
from aws.queue import JobQueue
from chaos.delivery_check import keep_result_versions, read_result_versions
from core.batch_record import BatchRecord
from core.errors import DecodeError
from core.jobs import MAX_RESULT_BYTES, ClassificationResult, Prediction, clean_name, image_key, new_batch_id
from core.settings import Settings
from local_cloud.resources import notify_queue
from tests.contract.conftest import IN_MEMORY, take

NOW = datetime(2026, 3, 1, tzinfo=UTC)
BATCH_ID = new_batch_id(NOW)
FOREIGN = ("", "anything.jpg", "1-a.jpg", "00001-", "00001-a/b.jpg", "00001-ä.jpg", "x/00001-a.jpg", "cancelled.txt")


@dataclass
class Buckets:
    images: ImageStore
    results: ResultStore
    put: Callable[[str, str, bytes], None]  # bucket, key, body


@pytest.fixture
def buckets(side: str, request: pytest.FixtureRequest) -> Buckets:
    if side == IN_MEMORY:
        images, results = InMemoryImageStore(), InMemoryResultStore()

        def keep(bucket: str, key: str, body: bytes) -> None:
            if key.startswith("batches/"):
                images.batches[key.removeprefix("batches/").removesuffix(".json")] = body.decode()
            else:
                objects = images.objects if bucket == images.bucket else results.objects
                objects[key] = InMemoryObject(body, {}, NOW.timestamp())

        return Buckets(images, results, keep)  # type: ignore[arg-type]
    settings: Settings = request.getfixturevalue("settings")
    clients: Clients = request.getfixturevalue("clients")

    def put(bucket: str, key: str, body: bytes) -> None:
        clients["s3"].put_object(Bucket=bucket, Key=key, Body=body)

    return Buckets(
        ImageStore(clients["s3"], settings.input_bucket), ResultStore(clients["s3"], settings.output_bucket), put
    )


def result(key: str) -> ClassificationResult:
    return ClassificationResult(key, "a.jpg", (Prediction("tabby", 0.75),))


def test_images_are_listed_without_what_lies_beside_them(buckets: Buckets) -> None:
    keys = [image_key(BATCH_ID, position, "a.jpg") for position in range(3)]
    for key in keys:
        buckets.images.put(key, b"x", "a.jpg")
    for name in FOREIGN:
        buckets.put(buckets.images.bucket, f"{BATCH_ID}/{name}", b"pixels")
    assert [stored.key for stored in buckets.images.list(BATCH_ID)] == keys


# In keys, S3 allows any text: separators of URLs, of headers and of XML, in any script.
DROPPED_KEYS = [f"drop/{name}" for name in ("a b+c%20d.jpg", 'cats/"q";\'.jpg', "ä/ü ẞ.jpg", "<&>.jpg", "🐈.jpg", "~")]


def test_dropped_photos_and_their_answers_have_any_key(buckets: Buckets) -> None:
    for key in (*DROPPED_KEYS, "drop/", "drop/folder/", "elsewhere/a.jpg", "photo.jpg"):
        buckets.put(buckets.images.bucket, key, b"pixels")
    assert sorted(stored.key for stored in buckets.images.list_dropped()) == sorted(DROPPED_KEYS)
    for key in DROPPED_KEYS:
        assert buckets.images.get(key) == b"pixels"
        buckets.results.put(result(key))
        assert buckets.results.get(key).label == "tabby"
    assert sorted(stored.key for stored in buckets.results.list("drop/")) == sorted(DROPPED_KEYS)
    assert sorted(stored.key for stored in buckets.results.list()) == sorted(DROPPED_KEYS)


def test_what_lies_elsewhere_in_the_input_bucket_is_listed_by_its_first_part(buckets: Buckets) -> None:
    buckets.images.put(image_key(BATCH_ID, 0, "a.jpg"), b"x", "a.jpg")
    buckets.images.create_batch(BATCH_ID, BatchRecord())
    for key in ("drop/a.jpg", "photo.jpg", "a b/1.jpg", "a b/2/3.jpg", f"{BATCH_ID}x/1.jpg", "/x"):
        buckets.put(buckets.images.bucket, key, b"pixels")
    assert sorted(buckets.images.list_misplaced()) == sorted(["photo.jpg", "a b/", f"{BATCH_ID}x/", "/"])


@pytest.mark.not_on_aws(reason="S3 may send to a queue with the stack's policy only")
def test_s3_notifies_the_queue_of_dropped_photos_only(clients: Clients, settings: Settings) -> None:
    queue = JobQueue(clients["sqs"], settings.queue_name)
    notify_queue(clients, settings)
    assert queue.backlog().total == 0, "the test event was deleted"
    for key in (*DROPPED_KEYS, "photo.jpg", f"{BATCH_ID}/00000-a.jpg", "batches/x.json"):
        clients["s3"].put_object(Bucket=settings.input_bucket, Key=key, Body=b"pixels")
    source = {"Bucket": settings.input_bucket, "Key": "photo.jpg"}
    clients["s3"].copy_object(Bucket=settings.input_bucket, Key="drop/copied.jpg", CopySource=source)
    clients["s3"].upload_fileobj(io.BytesIO(bytes(9 << 20)), settings.input_bucket, "drop/in parts.jpg")
    received = take(queue, len(DROPPED_KEYS) + 2)
    assert sorted(found.job.key for found in received if found.job) == sorted(
        [*DROPPED_KEYS, "drop/copied.jpg", "drop/in parts.jpg"]
    )
    assert {found.job.bucket for found in received if found.job} == {settings.input_bucket}
    assert queue.backlog().total == len(received), "a photo was notified twice"
    notify_queue(clients, settings)
    assert queue.backlog().total == len(received), "there was a second test event"


def test_results_are_listed_without_what_lies_beside_them(buckets: Buckets) -> None:
    keys = [image_key(BATCH_ID, position, "a.jpg") for position in range(3)]
    for key in keys:
        buckets.results.put(result(key))
    for name in FOREIGN:
        buckets.put(buckets.results.bucket, f"{BATCH_ID}/{name}", b"pixels")
    buckets.put(buckets.results.bucket, "photo.jpg", b"pixels")
    buckets.results.mark_cancelled(BATCH_ID)
    buckets.results.put_table(BATCH_ID, io.BytesIO(b"image,label"), "digest")
    assert [stored.key for stored in buckets.results.list(f"{BATCH_ID}/")] == keys
    assert [stored.key for stored in buckets.results.list()] == keys
    assert [stored.key for stored in buckets.results.list(f"{BATCH_ID}/", start_after=keys[0])] == keys[1:]


def test_one_listing_has_the_results_and_whether_the_batch_was_cancelled(buckets: Buckets) -> None:
    key = image_key(BATCH_ID, 0, "cancelled")
    buckets.results.put(result(key))
    for name in FOREIGN:
        buckets.put(buckets.results.bucket, f"{BATCH_ID}/{name}", b"pixels")
    buckets.results.put_table(BATCH_ID, io.BytesIO(b"image,label"), "digest")
    for cancelled in (False, True):
        results, is_cancelled = buckets.results.list_batch(BATCH_ID)
        assert ([stored.key for stored in results], is_cancelled) == ([key], cancelled)
        buckets.results.mark_cancelled(BATCH_ID)
    assert [stored.key for stored in buckets.results.list()] == [key], "the mark is no result"


def test_the_delivery_check_reads_results_only(clients: Clients, settings: Settings) -> None:
    results, key = ResultStore(clients["s3"], settings.output_bucket), image_key(BATCH_ID, 0, "a.jpg")
    keep_result_versions(clients["s3"], settings.output_bucket)
    for _twice in range(2):
        results.put(result(key))
        results.put_table(BATCH_ID, io.BytesIO(b"image,label"), "digest")
    results.mark_cancelled(BATCH_ID)
    other = image_key(BATCH_ID, 1, "b.jpg")
    results.put_together([result(key), result(other)])
    versions = read_result_versions(clients["s3"], settings.output_bucket, f"{BATCH_ID}/")
    assert {key: len(found) for key, found in versions.items()} == {key: 3, other: 1}
    assert len(set(versions[key])) == 1, "the same line, in an object of its own and in a pack"


def test_batches_are_listed_without_what_lies_beside_them(buckets: Buckets) -> None:
    old, young = new_batch_id(NOW - timedelta(days=1)), new_batch_id(NOW + timedelta(seconds=1))
    for batch_id in (old, BATCH_ID, young):
        buckets.images.create_batch(batch_id, BatchRecord())
    for name in ("photo.jpg", "99991231.json", f"{BATCH_ID}x.json", "zzz/a.json"):
        buckets.put(buckets.images.bucket, f"batches/{name}", b"{}")
    assert list(buckets.images.batches_since(NOW)) == [BATCH_ID, young]


@pytest.mark.parametrize(
    "body", [b"", b"[" * 20_000, b'{"owner": 5}', b'{"owner": "ada", "name": "' + b"x" * 100_000 + b'"}']
)
def test_a_record_that_is_none_does_not_decode(buckets: Buckets, body: bytes) -> None:
    buckets.put(buckets.images.bucket, f"batches/{BATCH_ID}.json", body)
    with pytest.raises(DecodeError):
        buckets.images.read_batch(BATCH_ID)


def test_a_result_that_is_too_long_does_not_decode(buckets: Buckets) -> None:
    key = image_key(BATCH_ID, 0, "a.jpg")
    buckets.put(buckets.results.bucket, key, b"a, " + b"b" * MAX_RESULT_BYTES)
    for read in (buckets.results.get, buckets.results.line):
        with pytest.raises(DecodeError, match="longer than"):
            read(key)


@pytest.mark.parametrize("name", ["", "a\nb.jpg", "x" * 3000, "\u202egpj.exe", "../a.jpg"])
def test_a_name_of_another_programs_is_one_that_a_job_can_carry(buckets: Buckets, name: str) -> None:
    key = image_key(BATCH_ID, 0, "a.jpg")
    buckets.images.put(key, b"x", name)
    assert buckets.images.name(key) == buckets.images.head(key)[0] == clean_name(name)


def test_an_owners_list_and_the_deleted_batches_have_only_batches(clients: Clients, settings: Settings) -> None:
    index = BatchIndex(clients["s3"], settings.input_bucket)
    batch_ids = [new_batch_id(NOW + timedelta(seconds=second)) for second in range(5)]
    for batch_id in batch_ids:
        index.add("ada", batch_id)
        index.mark_deleted(batch_id)
    for number in range(7):  # more than a page of them, before, between and after ours
        for key in (f"owners/ada/{number}", f"owners/ada/8{number}-photo.jpg", f"owners/ada/x{number}"):
            clients["s3"].put_object(Bucket=settings.input_bucket, Key=key, Body=b"")
    for name in ("", "photo.jpg", "2026/", f"{batch_ids[0]}/x"):
        clients["s3"].put_object(Bucket=settings.input_bucket, Key=f"deleted/{name}", Body=b"")
    newest_first = batch_ids[::-1]
    assert index.page("ada", 2) == newest_first[:2]
    assert index.page("ada", 2, newest_first[1]) == newest_first[2:4]
    assert index.page("ada", 2, newest_first[3]) == newest_first[4:]
    assert index.page("ada", 100) == newest_first
    assert [batch_id for batch_id, _at in index.deleted()] == batch_ids
