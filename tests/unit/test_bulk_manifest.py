"""Manifests and progress of bulk runs: what is listed is read, what is wrong is named with its line."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from core.bulk_manifest import keys_of_one_bucket, read_manifest
from core.bulk_progress import Rate, seconds_left, usd_so_far
from core.bulk_run import BulkRun, Status
from core.errors import ArgumentError
from core.prices import load_prices

RUN = BulkRun("20260102-030405-0123456789ab", "photos", "", "labels", "out/")


def manifest(folder: Path, text: str, name: str = "photos.csv") -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "text", "photos"),
    [
        ("a.csv", "key\na.jpg\nb c.jpg\n", [("photos", "a.jpg"), ("photos", "b c.jpg")]),
        ("a.csv", "Bucket, KEY ,size\nothers,a.jpg,5\n", [("others", "a.jpg")]),
        ("a.csv", "\ufefflabel,image\ncat,s3://b-1/x/ü.jpg\n", [("b-1", "x/ü.jpg")]),
        ("a.CSV", 'key\n"a,""b""\n.jpg"\n', [("photos", 'a,"b"\n.jpg')]),
        ("a.jsonl", '"a.jpg"\n\n{"key": "b.jpg", "bucket": "others"}\n', [("photos", "a.jpg"), ("others", "b.jpg")]),
        ("a.jsonl", '{"url": "s3://b-1/a.jpg", "size": 5}', [("b-1", "a.jpg")]),
        ("a.csv", "key\n", []),
    ],
)
def test_photos_of_a_manifest(tmp_path: Path, name: str, text: str, photos: list[tuple[str, str]]) -> None:
    assert list(read_manifest(manifest(tmp_path, text, name), "photos")) == photos


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.txt", "key\na", "a manifest ends in .csv or .jsonl"),
        ("a.csv", "", "the manifest's first line names no column key or image or path or url"),
        ("a.csv", "name\na.jpg", "the manifest's first line names no column"),
        ("a.csv", "key\na.jpg\n,\n", "line 3: there is no key"),
        ("a.csv", f"key\n{'x' * 1025}", "line 2: a key has 1 to 1024 bytes"),
        ("a.jsonl", "{", "line 1 of the manifest is not JSON"),
        ("a.jsonl", '"a"\n5\n', "line 2: there is no key"),
        ("a.jsonl", '"a"\n[["b"]]\n', "line 2: there is no key"),
        ("a.jsonl", '"\\ud800"', "line 1: the key is not text"),
        ("a.jsonl", "[" * 20_000, "line 1 of the manifest is not JSON"),
        ("a.jsonl", '{"key": "s3://B/a"}', "B cannot be the name of a bucket"),
    ],
)
def test_what_is_wrong_in_a_manifest_is_named(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    with pytest.raises(ArgumentError, match=sentence):
        list(read_manifest(manifest(tmp_path, text, name), "photos"))


def test_a_manifest_without_buckets_needs_a_source(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"line 2: a.jpg has no bucket; give SOURCE"):
        list(read_manifest(manifest(tmp_path, "key\na.jpg\n")))


def test_a_manifest_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"key\n\xff\xfe\n")
    with pytest.raises(ArgumentError, match="cannot be read"):
        list(read_manifest(path, "photos"))


def test_a_run_has_one_bucket() -> None:
    bucket, keys = keys_of_one_bucket([("photos", "a"), ("photos", "b")])
    assert (bucket, list(keys)) == ("photos", ["a", "b"])
    bucket, keys = keys_of_one_bucket([("photos", "a"), ("others", "b")])
    with pytest.raises(ArgumentError, match="names the buckets photos and others: start a run for each"):
        list(keys)
    with pytest.raises(ArgumentError, match="lists no photo"):
        keys_of_one_bucket([])


# --- progress ------------------------------------------------------------------------------------


def test_the_rate_is_that_of_the_last_minute() -> None:
    rate = Rate()
    assert rate.per_second is None
    for second in range(200):
        rate.add(second, 0 if second < 100 else 50 * (second - 100))
        if second == 99:
            assert rate.per_second is None
    assert rate.per_second == pytest.approx(50.0)


@pytest.mark.parametrize(
    ("fields", "images_per_second", "expected"),
    [
        ({"is_planned": True, "planned_images": 1000, "done_images": 400}, 60.0, 10.0),
        ({"is_planned": False, "planned_images": 1000}, 60.0, None),
        ({"is_planned": True, "planned_images": 1000}, None, None),
        ({"is_planned": True, "planned_images": 1000, "status": Status.COMPLETE}, 60.0, 0.0),
    ],
)
def test_the_time_left(fields: dict[str, object], images_per_second: float | None, expected: float | None) -> None:
    run = dataclasses.replace(RUN, **fields)  # type: ignore[arg-type]
    assert seconds_left(run, images_per_second) == expected


def test_the_money_is_that_of_the_requests_and_of_the_instances() -> None:
    prices = load_prices()
    million = dataclasses.replace(
        RUN, is_planned=True, planned_images=1_000_000, planned_jobs=6667, done_images=1_000_000
    )
    requests = usd_so_far(million, prices, None)
    # A read of each photo is 0.40; a write and three requests to SQS for each of 6,667 jobs, a list of 1,000 keys.
    assert requests == pytest.approx(0.40 + 6667 * (5e-6 + 4e-7 + 3 * 4e-7) + 1000 * 5e-6, abs=0.005)
    assert usd_so_far(million, prices, 0.0005) == pytest.approx(requests + 0.5)
    assert usd_so_far(RUN, prices, 0.0005) == 0
