"""Images, results and the lists of batches, on the embedded S3 and in memory."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import requests

from aws.batch_index import BatchIndex
from aws.buckets import ImageStore, ResultStore
from aws.clients import Clients
from aws.in_memory import InMemoryBatchIndex
from aws.objects import list_objects
from core.batch_record import BatchRecord
from core.errors import AlreadyExistsError, DecodeError, ImageTooLargeError, NotFoundError
from core.jobs import ClassificationResult, Failure, Prediction, clean_name, image_key, new_batch_id
from tests.contract.conftest import MAX_IMAGE_BYTES
from tests.contract.endpoint import RUN
from tests.waiting import PATIENCE_SECONDS

BATCH_ID = new_batch_id(datetime(2026, 3, 1, tzinfo=UTC))
ODD_NAMES = [
    "a, b.jpg",
    'say "cheese".png',
    "Zoë's 猫 🐈.jpeg",
    "100% real+fake & <b>.gif",
    "  spaces  .bmp",
    "no extension",
]


def result(key: str, name: str = "cat.jpg") -> ClassificationResult:
    return ClassificationResult(
        key,
        name,
        (Prediction("tabby, cat", 0.75), Prediction("lynx", 0.125)),
        None,
        "job",
        "resnet50@1",
        "i-1",
        {"decode": 1.5},
    )


@pytest.mark.parametrize("name", ODD_NAMES)
def test_an_image_comes_back_as_it_was(images: ImageStore, name: str) -> None:
    key = image_key(BATCH_ID, 7, name)
    images.put(key, b"\x00\xff bytes", name)
    assert images.get(key) == b"\x00\xff bytes"
    assert images.name(key) == name == clean_name(name)
    assert images.head(key) == (name, 8)
    assert [entry.key for entry in images.list(BATCH_ID)] == [key]


LONG_NAMES = [
    "/".join(["d" * 255] * 15 + ["a.jpg"]),
    "/".join(["夏" * 85] * 3 + ["写真.jpg"]),
    "é" * 127 + "/" + "👩‍🚀" * 20 + ".jpg",
]


@pytest.mark.parametrize("name", LONG_NAMES, ids=["ascii", "CJK", "emoji"])
def test_a_name_of_any_length_comes_back_whole_and_is_deleted_with_its_batch(images: ImageStore, name: str) -> None:
    key, other_key = (image_key(BATCH_ID, position, name) for position in (0, 1))
    images.create_batch(BATCH_ID, BatchRecord())
    images.put(key, b"pixels", name, only_if_new=True)
    images.put(other_key, b"pixels", f"{name}2")
    with pytest.raises(AlreadyExistsError):
        images.put(key, b"pixels", f"other/{name}", only_if_new=True)
    assert images.name(key) == name and images.head(key) == (name, 6)
    assert images.name(other_key) == f"{name}2"
    assert [entry.key for entry in images.list(BATCH_ID)] == [key, other_key]
    images.delete_batch(BATCH_ID)
    images.put(key, b"pixels", "a.jpg")
    assert images.name(key) == "a.jpg"


@pytest.mark.parametrize("name", LONG_NAMES, ids=["ascii", "CJK", "emoji"])
def test_metadata_stays_within_the_limit_of_s3(clients: Clients, embedded_images: ImageStore, name: str) -> None:
    key = image_key(BATCH_ID, 0, name)
    embedded_images.put(key, b"pixels", name, only_if_new=True)
    metadata = clients["s3"].head_object(Bucket=embedded_images.bucket, Key=key)["Metadata"]
    assert sum(len(entry) + len(value) for entry, value in metadata.items()) <= 2048
    embedded_images.delete_batch(BATCH_ID)
    assert not list(list_objects(clients["s3"], embedded_images.bucket, ""))


def test_an_image_is_replaced_unless_it_must_be_new(images: ImageStore) -> None:
    key = image_key(BATCH_ID, 0, "cat.jpg")
    images.put(key, b"first", "cat.jpg", only_if_new=True)
    with pytest.raises(AlreadyExistsError):
        images.put(key, b"second", "cat.jpg", only_if_new=True)
    assert images.get(key) == b"first"
    images.put(key, b"third", "cat.jpg")
    assert images.get(key) == b"third"


def test_only_one_of_many_that_must_be_new_wins(images: ImageStore) -> None:
    key = image_key(BATCH_ID, 0, "cat.jpg")

    def put(number: int) -> bool:
        try:
            images.put(key, str(number).encode(), "cat.jpg", only_if_new=True)
        except AlreadyExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(put, range(8)))
    assert won.count(True) == 1
    assert images.get(key) == str(won.index(True)).encode()


def test_an_image_above_the_limit_is_not_fetched(images: ImageStore) -> None:
    for position, size in enumerate((MAX_IMAGE_BYTES, MAX_IMAGE_BYTES + 1)):
        images.put(image_key(BATCH_ID, position, "cat.jpg"), bytes(size), "cat.jpg")
    assert len(images.get(image_key(BATCH_ID, 0, "cat.jpg"))) == MAX_IMAGE_BYTES
    with pytest.raises(ImageTooLargeError):
        images.get(image_key(BATCH_ID, 1, "cat.jpg"))


def test_a_batch_record_comes_back_and_is_not_an_image(images: ImageStore) -> None:
    record = BatchRecord("2026-03-01T00:00:00+00:00", "ada", "ü, a,b", cancelled=True)
    images.create_batch(BATCH_ID, record)
    assert images.read_batch(BATCH_ID) == record
    assert images.has_batch(BATCH_ID) and not images.has_batch(BATCH_ID[:-1] + ("0" if BATCH_ID[-1] == "f" else "f"))
    assert list(images.list(BATCH_ID)) == []


def test_changes_of_a_batch_record_at_the_same_time_all_take_effect(images: ImageStore) -> None:
    images.create_batch(BATCH_ID, BatchRecord(owner="ada"))

    def announce_one_more(record: BatchRecord) -> BatchRecord:
        return dataclasses.replace(record, announced=record.announced + 1)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _number: images.update_batch(BATCH_ID, announce_one_more), range(4)))
    assert images.read_batch(BATCH_ID) == BatchRecord(owner="ada", announced=4)
    assert images.update_batch(BATCH_ID, lambda record: record) == BatchRecord(owner="ada", announced=4)
    with pytest.raises(NotFoundError):
        images.update_batch("20260101-000000-ffffffffffff", announce_one_more)


def test_what_does_not_exist_is_not_found(images: ImageStore, results: ResultStore) -> None:
    key = image_key(BATCH_ID, 0, "cat.jpg")
    for read in (images.get, images.name, images.head, results.get, results.line):
        with pytest.raises(NotFoundError):
            read(key)
    with pytest.raises(NotFoundError):
        images.read_batch(BATCH_ID)
    assert not results.exists(key)


def test_a_missing_bucket_is_not_found(clients: Clients) -> None:
    with pytest.raises(NotFoundError):
        ImageStore(clients["s3"], f"absent-{RUN}").get(image_key(BATCH_ID, 0, "cat.jpg"))
    with pytest.raises(NotFoundError):
        list(ResultStore(clients["s3"], f"absent-{RUN}").list())


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_result_comes_back_as_it_was(results: ResultStore, name: str) -> None:
    original = result(image_key(BATCH_ID, 1, name), name)
    results.put(original)
    assert results.get(original.key) == original
    assert results.line(original.key) == original.line


def test_a_failure_comes_back_as_it_was(results: ResultStore) -> None:
    key = image_key(BATCH_ID, 1, "broken.jpg")
    original = ClassificationResult(key, "broken.jpg", failure=Failure("broken", "the image is damaged"))
    results.put(original)
    assert results.get(key) == original
    assert results.line(key) == "broken.jpg, error: the image is damaged"


def test_a_viewer_of_the_bucket_takes_a_result_for_a_text(clients: Clients, embedded_results: ResultStore) -> None:
    key = image_key(BATCH_ID, 1, "cat.jpg")
    embedded_results.put(result(key))
    stored = clients["s3"].head_object(Bucket=embedded_results.bucket, Key=key)
    assert stored["ContentType"] == "text/plain; charset=utf-8"
    assert stored["ContentDisposition"] == 'inline; filename="00001-cat.jpg.txt"'


def test_a_table_of_a_batch_is_replaced_and_deleted_with_it(results: ResultStore) -> None:
    assert results.table_digest(BATCH_ID) is None
    for digest in ("a" * 64, "b" * 64):
        results.put_table(BATCH_ID, io.BytesIO(b"image,label\r\n"), digest)
        assert results.table_digest(BATCH_ID) == digest
    results.delete_batch(BATCH_ID)
    assert results.table_digest(BATCH_ID) is None


def test_an_object_that_is_no_result_does_not_decode(
    results: ResultStore, put_result_body: Callable[[str, bytes], None]
) -> None:
    key = image_key(BATCH_ID, 1, "cat.jpg")
    put_result_body(key, b"\xff\xfe")
    with pytest.raises(DecodeError):
        results.get(key)
    with pytest.raises(DecodeError):
        results.line(key)


def test_a_listing_of_more_than_a_page_is_complete_and_in_order(results: ResultStore) -> None:
    keys = [image_key(BATCH_ID, position, "cat.jpg") for position in range(1003)]
    other_key = image_key(new_batch_id(datetime(2026, 3, 2, tzinfo=UTC)), 0, "dog.jpg")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: results.put(result(key)), [*reversed(keys), other_key]))
    listed = list(results.list(f"{BATCH_ID}/"))
    assert [entry.key for entry in listed] == keys
    assert len(list(results.list())) == 1004
    assert {entry.size_bytes for entry in listed} == {len(result(keys[0]).encode()[0])}
    assert abs((datetime.now(UTC) - listed[0].last_modified).total_seconds()) < 120
    assert all(entry.etag.startswith('"') and entry.etag.endswith('"') for entry in listed)


def test_results_that_are_stored_together_are_found_like_others(results: ResultStore) -> None:
    together = [result(image_key(BATCH_ID, position, name), name) for position, name in enumerate(ODD_NAMES)]
    alone = result(image_key(BATCH_ID, 3, "alone.jpg"), "alone.jpg")
    results.put(alone)
    results.put_together(together)
    everything = sorted([*together, alone], key=lambda each: each.key)
    for listed in (list(results.list(f"{BATCH_ID}/")), results.list_batch(BATCH_ID)[0], list(results.list())):
        assert [entry.key for entry in listed] == [each.key for each in everything]
        assert [entry.size_bytes for entry in listed] == [len(each.encode()[0]) for each in everything]
    assert [entry.key for entry in results.list(f"{BATCH_ID}/", start_after=alone.key)] == [
        each.key for each in everything if each.key > alone.key
    ]
    for each in everything:
        assert (results.get(each.key), results.line(each.key)) == (each, each.line)
        assert results.exists(each.key)
    results.delete_batch(BATCH_ID)
    assert results.list_batch(BATCH_ID) == ([], False)
    assert not any(results.exists(each.key) for each in everything)


def test_a_result_in_a_pack_takes_the_place_of_the_failure_of_a_dead_letter(results: ResultStore) -> None:
    answered, other = (result(image_key(BATCH_ID, position, "cat.jpg")) for position in (1, 2))
    results.put(dataclasses.replace(answered, predictions=(), failure=Failure("gave_up", "tried in vain")))
    before = [entry.etag for entry in results.list(f"{BATCH_ID}/")]
    results.put_together([answered, other])
    assert results.get(answered.key) == answered
    assert [entry.key for entry in results.list(f"{BATCH_ID}/")] == [answered.key, other.key]
    assert before != [entry.etag for entry in results.list(f"{BATCH_ID}/")][:1]
    assert results.get(answered.key) == answered


def test_what_a_process_has_not_listed_is_found_in_a_pack_all_the_same(
    clients: Clients, embedded_results: ResultStore
) -> None:
    together = [result(image_key(BATCH_ID, position, "cat.jpg")) for position in range(5)]
    embedded_results.put_together(together)
    for read in (ResultStore.get, ResultStore.line, ResultStore.exists):
        fresh = ResultStore(clients["s3"], embedded_results.bucket)
        assert read(fresh, together[3].key) in (together[3], together[3].line, True)
    assert not ResultStore(clients["s3"], embedded_results.bucket).exists(image_key(BATCH_ID, 3, "dog.jpg"))


def test_odd_keys_survive_a_listing(clients: Clients, embedded_results: ResultStore) -> None:
    bucket, keys = embedded_results.bucket, sorted(f"odd/{name}" for name in ODD_NAMES)
    for key in keys:
        clients["s3"].put_object(Bucket=bucket, Key=key, Body=b"")
    assert sorted(entry.key for entry in list_objects(clients["s3"], bucket, "odd/")) == keys


def test_a_listing_by_folder_has_its_folders(clients: Clients, embedded_results: ResultStore) -> None:
    for key in ("a/1", "a/2", "b/1", "c"):
        clients["s3"].put_object(Bucket=embedded_results.bucket, Key=key, Body=b"")
    page = clients["s3"].list_objects_v2(Bucket=embedded_results.bucket, Delimiter="/", FetchOwner=True)
    assert [entry["Prefix"] for entry in page["CommonPrefixes"]] == ["a/", "b/"]
    assert [(entry["Key"], "ID" in entry["Owner"]) for entry in page["Contents"]] == [("c", True)]
    old_page = clients["s3"].list_objects(Bucket=embedded_results.bucket)
    assert [entry["Key"] for entry in old_page["Contents"]] == ["a/1", "a/2", "b/1", "c"]


# --- permissions, deletion, lists of batches -----------------------------------------------------


def test_a_permission_stores_an_image_with_its_name(embedded_images: ImageStore) -> None:
    name = "Zoë's 猫, 100%.jpeg"
    key = image_key(BATCH_ID, 1, name)
    post = embedded_images.presign(key, name, 7, 60)
    answer = requests.post(post.url, data=post.fields, files={"file": ("x", b"1234567")}, timeout=PATIENCE_SECONDS)
    assert answer.status_code == 204
    assert embedded_images.head(key) == (name, 7)
    assert embedded_images.get(key) == b"1234567"


def test_a_permission_keeps_a_long_name(embedded_images: ImageStore) -> None:
    key = image_key(BATCH_ID, 1, LONG_NAMES[0])
    post = embedded_images.presign(key, LONG_NAMES[0], 7, 60)
    answer = requests.post(post.url, data=post.fields, files={"file": ("x", b"1234567")}, timeout=PATIENCE_SECONDS)
    assert answer.status_code == 204
    assert embedded_images.head(key) == (LONG_NAMES[0], 7)


def test_a_permission_is_for_one_key_one_size_and_a_short_time(embedded_images: ImageStore) -> None:
    """moto's S3 does not check a policy, S3 does: what it says is checked here."""
    key = image_key(BATCH_ID, 1, "a.jpg")
    fields = embedded_images.presign(key, "a.jpg", 7, 60).fields
    policy = json.loads(base64.b64decode(fields["policy"]))
    conditions = policy["conditions"]
    assert ["content-length-range", 7, 7] in conditions
    assert {"key": key} in conditions and {"bucket": embedded_images.bucket} in conditions
    assert {"x-amz-meta-name": "a.jpg"} in conditions and {"Content-Type": "application/octet-stream"} in conditions
    left = datetime.fromisoformat(policy["expiration"]) - datetime.now(UTC)
    assert timedelta(seconds=50) < left <= timedelta(seconds=61)
    assert fields["x-amz-algorithm"] == "AWS4-HMAC-SHA256"


def test_deleting_a_batch_takes_all_of_it_and_nothing_else(images: ImageStore, results: ResultStore) -> None:
    other = new_batch_id(datetime(2026, 3, 2, tzinfo=UTC))
    for batch_id in (BATCH_ID, other):
        images.create_batch(batch_id, BatchRecord())
        for position in range(3):
            key = image_key(batch_id, position, "a.jpg")
            images.put(key, b"x", "a.jpg")
            results.put(result(key))
    results.mark_cancelled(BATCH_ID)
    for _twice in range(2):
        images.delete_batch(BATCH_ID)
        results.delete_batch(BATCH_ID)
    assert not [*images.list(BATCH_ID), *results.list(f"{BATCH_ID}/")]
    assert len([*images.list(other), *results.list(f"{other}/")]) == 6
    with pytest.raises(NotFoundError):
        images.read_batch(BATCH_ID)
    assert images.read_batch(other) == BatchRecord()


def test_more_than_a_thousand_images_are_deleted(images: ImageStore) -> None:
    keys = [image_key(BATCH_ID, position, "a.jpg") for position in range(1005)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: images.put(key, b"x", "a.jpg"), keys))
    images.delete(keys)
    assert not list(images.list(BATCH_ID))


def test_a_result_that_must_be_new_never_takes_anothers_place(results: ResultStore) -> None:
    key = image_key(BATCH_ID, 0, "a.jpg")
    results.put(result(key, "first.jpg"), only_if_new=True)
    with pytest.raises(AlreadyExistsError):
        results.put(result(key, "second.jpg"), only_if_new=True)
    assert results.get(key).name == "first.jpg"
    results.put(result(key, "third.jpg"))
    assert results.get(key).name == "third.jpg"


def test_results_are_listed_after_a_key(results: ResultStore) -> None:
    keys = [image_key(BATCH_ID, position, "a.jpg") for position in range(4)]
    for key in keys:
        results.put(result(key))
    assert [entry.key for entry in results.list(f"{BATCH_ID}/", start_after=keys[1])] == keys[2:]


def test_the_buckets_can_be_looked_for(images: ImageStore, results: ResultStore) -> None:
    images.check()
    results.check()


def test_a_missing_bucket_does_not_pass_for_one(clients: Clients) -> None:
    with pytest.raises(NotFoundError):
        ImageStore(clients["s3"], f"absent-{RUN}").check()


def test_an_owners_batches_come_newest_first_page_by_page(index: BatchIndex | InMemoryBatchIndex) -> None:
    times = [datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC) + timedelta(seconds=step) for step in (0, 1, 2, 90, 10**7)]
    batch_ids = [new_batch_id(time) for time in times]
    for batch_id in batch_ids:
        index.add("another-owner", batch_id)
    index.add("third-owner", new_batch_id(times[0]))
    newest_first = batch_ids[::-1]
    assert index.page("another-owner", 2) == newest_first[:2]
    assert index.page("another-owner", 2, newest_first[1]) == newest_first[2:4]
    assert index.page("another-owner", 9, newest_first[3]) == newest_first[4:]
    for _twice in range(2):
        index.remove("another-owner", newest_first[0])
    assert index.page("another-owner", 9) == newest_first[1:]
    assert index.page("some", 9) == []


def test_deleted_batches_are_noted_until_they_are_forgotten(index: BatchIndex | InMemoryBatchIndex) -> None:
    for _twice in range(2):
        index.mark_deleted(BATCH_ID)
    [(batch_id, noted_at)] = index.deleted()
    assert batch_id == BATCH_ID and noted_at.tzinfo is not None
    for _twice in range(2):
        index.forget_deleted(BATCH_ID)
    assert list(index.deleted()) == []


def test_a_named_image_and_its_result_are_found_by_the_images_name(images: ImageStore, results: ResultStore) -> None:
    images.put("test_00.jpg", b"pixels", "test_00.jpg")
    images.put("Zoë 1.png", b"pixels", "Zoë 1.png")
    assert images.get("test_00.jpg") == b"pixels"
    assert images.head("test_00.jpg") == ("test_00.jpg", 6)
    assert images.name("Zoë 1.png") == "Zoë 1.png"
    of_batch, named = result(image_key(BATCH_ID, 0, "cat.jpg")), result("test_00.jpg", "test_00.jpg")
    results.put(of_batch)
    assert not results.exists("test_00.jpg") and list(results.list_named()) == []
    results.put(named)
    assert results.exists("test_00.jpg") and results.get("test_00.jpg") == named
    assert results.line("test_00.jpg") == "tabby, cat"
    assert list(results.list_named()) == ["test_00"] and list(results.list_named("test_00")) == []
    for _twice in range(2):
        results.delete("test_00.jpg")
    assert not results.exists("test_00.jpg") and results.get(of_batch.key) == of_batch


def test_graders_find_the_name_as_the_key_and_the_label_alone_as_the_value(
    clients: Clients, embedded_images: ImageStore, embedded_results: ResultStore
) -> None:
    embedded_images.put("test_00.jpg", b"pixels", "test_00.jpg")
    embedded_results.put(result("test_00.jpg", "test_00.jpg"))
    assert [entry.key for entry in list_objects(clients["s3"], embedded_images.bucket, "")] == ["test_00.jpg"]
    stored = clients["s3"].get_object(Bucket=embedded_results.bucket, Key="test_00")
    assert (stored["Body"].read(), stored["ContentType"]) == (b"tabby, cat", "text/plain; charset=utf-8")
