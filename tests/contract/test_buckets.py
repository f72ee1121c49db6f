"""ImageStore and ResultStore on the embedded S3."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from aws.buckets import ImageStore, ResultStore
from aws.clients import Clients
from core.errors import AlreadyExistsError, DecodeError, NotFoundError
from core.jobs import ClassificationResult, Failure, Prediction, image_key, new_batch_id
from core.settings import Settings

BATCH_ID = new_batch_id(datetime(2026, 3, 1, tzinfo=UTC))
ODD_NAMES = [
    "a, b.jpg",
    'say "cheese".png',
    "Zoë's 猫 🐈.jpeg",
    "100% real+fake & <b>.gif",
    "  spaces  .bmp",
    "no extension",
]


@pytest.fixture
def images(clients: Clients, settings: Settings) -> ImageStore:
    return ImageStore(clients["s3"], settings.input_bucket)


@pytest.fixture
def results(clients: Clients, settings: Settings) -> ResultStore:
    return ResultStore(clients["s3"], settings.output_bucket)


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
    stored = images.get(key)
    assert (stored.body, stored.name) == (b"\x00\xff bytes", name)
    assert [entry.key for entry in images.list(BATCH_ID)] == [key]


def test_an_image_is_replaced_unless_it_must_be_new(images: ImageStore) -> None:
    key = image_key(BATCH_ID, 0, "cat.jpg")
    images.put(key, b"first", "cat.jpg", only_if_new=True)
    with pytest.raises(AlreadyExistsError):
        images.put(key, b"second", "cat.jpg", only_if_new=True)
    assert images.get(key).body == b"first"
    images.put(key, b"third", "cat.jpg")
    assert images.get(key).body == b"third"


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
    assert images.get(key).body == str(won.index(True)).encode()


def test_a_batch_record_comes_back_and_is_not_an_image(images: ImageStore) -> None:
    record = {"count": 3, "names": ["ü", "a,b"]}
    images.create_batch(BATCH_ID, record)
    assert images.read_batch(BATCH_ID) == record
    assert list(images.list(BATCH_ID)) == []


def test_what_does_not_exist_is_not_found(images: ImageStore, results: ResultStore, clients: Clients) -> None:
    key = image_key(BATCH_ID, 0, "cat.jpg")
    for read in (images.get, results.get, results.line, images.read_batch, ImageStore(clients["s3"], "no-bucket").get):
        with pytest.raises(NotFoundError):
            read(key)
    with pytest.raises(NotFoundError):
        list(ResultStore(clients["s3"], "no-bucket").list())


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


def test_an_object_that_is_no_result_does_not_decode(results: ResultStore, clients: Clients) -> None:
    key = image_key(BATCH_ID, 1, "cat.jpg")
    clients["s3"].put_object(Bucket=results.bucket, Key=key, Body=b"\xff\xfe")
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


def test_odd_keys_survive_a_listing(clients: Clients, results: ResultStore) -> None:
    keys = sorted(f"odd/{name}" for name in ODD_NAMES)
    for key in keys:
        clients["s3"].put_object(Bucket=results.bucket, Key=key, Body=b"")
    assert sorted(entry.key for entry in results.list("odd/")) == keys


def test_a_listing_by_folder_has_its_folders(clients: Clients, results: ResultStore) -> None:
    for key in ("a/1", "a/2", "b/1", "c"):
        clients["s3"].put_object(Bucket=results.bucket, Key=key, Body=b"")
    page = clients["s3"].list_objects_v2(Bucket=results.bucket, Delimiter="/", FetchOwner=True)
    assert [entry["Prefix"] for entry in page["CommonPrefixes"]] == ["a/", "b/"]
    assert [(entry["Key"], "ID" in entry["Owner"]) for entry in page["Contents"]] == [("c", True)]
    old_page = clients["s3"].list_objects(Bucket=results.bucket)
    assert [entry["Key"] for entry in old_page["Contents"]] == ["a/1", "a/2", "b/1", "c"]
