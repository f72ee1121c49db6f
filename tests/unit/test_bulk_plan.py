"""Planning of bulk runs: every included key is in one job, whatever the listing and wherever it was interrupted."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.bulk_columns import COLUMNS, Format, cells, csv_header, csv_line, jsonl_line
from core.bulk_plan import (
    MAX_SCANNED_PER_SEGMENT,
    check_columns,
    parse_address,
    plan_segments,
    selector,
    split_into_jobs,
)
from core.bulk_run import (
    JOBS_PER_SEGMENT,
    MAX_DOCUMENT_BYTES,
    MAX_MESSAGE_BYTES,
    BulkJob,
    BulkRun,
    LabelledImage,
    Segment,
    Status,
    cancelled,
    resumed,
)
from core.errors import ArgumentError, DecodeError
from core.jobs import Failure, Prediction
from core.object_keys import MAX_KEY_BYTES

RUN = BulkRun("20260102-030405-0123456789ab", "photos", "2026/", "labels", "out/", images_per_job=3)
# S3 accepts any character; a key has up to 1,024 bytes.
numbered_keys = st.lists(st.sampled_from("abcdefgh"), max_size=200).map(
    lambda letters: [f"2026/{number:03}{letter}" for number, letter in enumerate(letters)]
)
any_key = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("s3://photos", ("photos", "")),
        ("s3://photos/", ("photos", "")),
        ("s3://photos/2026/a b", ("photos", "2026/a b")),
        ("s3://my.photos-1/x", ("my.photos-1", "x")),
    ],
)
def test_an_address_names_bucket_and_prefix(text: str, address: tuple[str, str]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text", ["photos/2026", "s3:/photos", "s3://", "s3:///x", "s3://Photos/", "s3://a/", "http://x"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ArgumentError):
        parse_address(text)


@pytest.mark.parametrize(
    ("include", "key", "is_included"),
    [
        ((), "2026/a.jpg", True),
        ((), "2026/a/b.HEIC", True),
        ((), "2026/notes.txt", False),
        ((), "2026/folder.jpg/", False),
        (("*.png",), "2026/a/b.PNG", True),
        (("*.png",), "2026/a.jpg", False),
        (("a/*", "b/*"), "2026/b/x", True),
        (("a/*",), "2026/x/a/y", False),
        (("*",), "2026/notes.txt", True),
        (("*",), "2026/", False),
    ],
)
def test_patterns_choose_keys(include: tuple[str, ...], key: str, is_included: bool) -> None:
    assert selector(dataclasses.replace(RUN, include=include))(key) is is_included


def test_the_output_within_the_source_is_no_photo() -> None:
    run = dataclasses.replace(RUN, output_bucket="photos", output_prefix="2026/labels/", include=("*",))
    assert not selector(run)("2026/labels/labels-00000.csv")
    assert selector(run)("2026/labels-of-mine/a.jpg")


@given(keys=st.lists(any_key), max_images=st.integers(1, 5))
def test_jobs_have_all_keys_in_order_and_fit_into_a_message(keys: list[str], max_images: int) -> None:
    jobs = list(split_into_jobs(keys, max_images))
    assert [key for job in jobs for key in job] == keys
    assert all(0 < len(job) <= max_images for job in jobs)


@pytest.mark.parametrize("character", ["a", "ä", "猫", "🐈", '"', "\x01", "\ufffe"])
def test_a_message_is_one_request_to_sqs_whatever_the_characters(character: str) -> None:
    key = character * (MAX_KEY_BYTES // len(character.encode()))
    jobs = list(split_into_jobs([key] * 400, 500))
    for keys in jobs:
        body = BulkJob.of(RUN, 9_999_999, keys).encode()
        assert len(body.encode()) <= MAX_MESSAGE_BYTES
        assert not set(body) & {"\ufffe", "\uffff"}, "SQS refuses them"
        assert BulkJob.decode(body).keys == keys
    assert len(jobs) > 1


@pytest.mark.parametrize("change", [{"keys": ()}, {"run_id": ""}, {"keys": ("",)}, {"keys": ("x" * 1025,)}])
def test_a_message_that_is_no_job_is_refused(change: dict[str, Any]) -> None:
    body = dataclasses.replace(BulkJob.of(RUN, 1, ("a",)), **change).encode()
    with pytest.raises(DecodeError):
        BulkJob.decode(body)


@given(
    listing=numbered_keys,
    interruptions=st.lists(st.integers(1, 3), max_size=20),
)
def test_planning_that_is_interrupted_goes_on_where_it_was(listing: list[str], interruptions: list[int]) -> None:
    """A controller plans a few segments and is killed; the next one begins from the run's record."""

    def is_included(key: str) -> bool:
        return not key.endswith("a")

    run, segments = RUN, list[Segment]()
    for count in [*interruptions, 1000]:
        rest = (key for key in listing if key > run.cursor)
        for segment, _ in zip(plan_segments(run, rest, is_included), range(count), strict=False):
            segments.append(segment)
            run = run.planned(segment)
        if run.is_planned:
            break
    planned = [key for segment in segments for job in segment.jobs for key in job]
    assert planned == [key for key in listing if is_included(key)]
    assert [segment.number for segment in segments] == list(range(len(segments)))
    first_parts = [sum(len(before.jobs) for before in segments[:number]) for number in range(len(segments))]
    assert [segment.first_part for segment in segments] == first_parts
    assert (run.planned_images, run.skipped) == (len(planned), len(listing) - len(planned))
    assert [segment.is_last for segment in segments] == [False] * (len(segments) - 1) + [True]


def test_a_segment_fits_into_a_document_with_the_longest_keys() -> None:
    run = dataclasses.replace(RUN, images_per_job=500)
    for character in ("a", "\x01"):
        listing = (f"{number:024}" + character * 1000 for number in range(12_000))
        segments = list(plan_segments(run, listing, lambda key: True))
        assert max(len(segment.encode()) for segment in segments) <= MAX_DOCUMENT_BYTES
        assert sum(segment.images for segment in segments) == 12_000


def test_a_stretch_without_photos_ends_a_segment_too() -> None:
    listing = (f"{number:09}" for number in range(3 * MAX_SCANNED_PER_SEGMENT))
    segments = list(plan_segments(RUN, listing, lambda key: False))
    assert len(segments) == 4 and {segment.images for segment in segments} == {0}
    assert segments[0].cursor == f"{MAX_SCANNED_PER_SEGMENT - 1:09}"
    assert sum(segment.skipped for segment in segments) == 3 * MAX_SCANNED_PER_SEGMENT


def test_planning_takes_no_more_of_the_listing_than_one_segment_needs() -> None:
    taken = 0

    def listing() -> Any:
        nonlocal taken
        while True:
            taken += 1
            yield f"{taken:09}"

    next(plan_segments(RUN, listing(), lambda key: True))
    assert taken == JOBS_PER_SEGMENT * RUN.images_per_job


# --- what becomes of a run -----------------------------------------------------------------------


def test_a_run_is_cancelled_and_resumed() -> None:
    run = dataclasses.replace(RUN, sent_segments=7, done_segments=3)
    over = cancelled(run, 5.0)
    assert (over.status, over.finished_at, over.waiting_images) == (Status.CANCELLED, 5.0, 0)
    again = resumed(over)
    assert again == dataclasses.replace(run, sent_segments=3), "jobs that were sent may have been discarded"
    with pytest.raises(ArgumentError, match="is cancelled already"):
        cancelled(over, 6.0)
    with pytest.raises(ArgumentError, match="nothing to resume"):
        resumed(dataclasses.replace(run, status=Status.COMPLETE))


# --- tables --------------------------------------------------------------------------------------

ANSWERS = (
    LabelledImage('a,"b"\n.jpg', (Prediction("tabby, cat", 0.75), Prediction("lynx", 0.125))),
    LabelledImage("=SUM(1).jpg", failure=Failure("broken", "the image is damaged or incomplete"), note="cut off"),
    LabelledImage("猫.jpg", (Prediction("tabby, cat", 1.0),)),
)


def test_csv_has_every_cell() -> None:
    columns = tuple(COLUMNS)
    text = csv_header(columns) + b"".join(csv_line(cells(answer, "m@1", columns)) for answer in ANSWERS)
    rows = list(csv.DictReader(io.StringIO(text.decode(), newline="")))
    assert [row["image"] for row in rows] == [answer.image for answer in ANSWERS], "keys are not altered"
    assert [row["label"] for row in rows] == ["tabby, cat", "", "tabby, cat"]
    assert [row["score"] for row in rows] == ["0.75", "", "1.0"]
    assert [row["error"] for row in rows] == ["", "the image is damaged or incomplete", ""]
    assert [row["error_code"] for row in rows] == ["", "broken", ""]
    assert [row["note"] for row in rows] == ["", "cut off", ""]
    assert {row["model"] for row in rows} == {"m@1"}
    assert json.loads(rows[0]["top_k"]) == [{"label": "tabby, cat", "score": 0.75}, {"label": "lynx", "score": 0.125}]


def test_json_lines_have_null_where_there_is_no_value() -> None:
    lines = [jsonl_line(cells(answer, "m@1", ("image", "label", "error_code"))) for answer in ANSWERS]
    assert [json.loads(line) for line in lines] == [
        {"image": 'a,"b"\n.jpg', "label": "tabby, cat", "error_code": None},
        {"image": "=SUM(1).jpg", "label": None, "error_code": "broken"},
        {"image": "猫.jpg", "label": "tabby, cat", "error_code": None},
    ]
    assert all(line.count(b"\n") == 1 for line in lines)


def test_unknown_columns_are_refused() -> None:
    assert check_columns(["image", "score"], COLUMNS) == ("image", "score")
    with pytest.raises(ArgumentError, match="there is no column size; the columns are image, label"):
        check_columns(["image", "size"], COLUMNS)
    with pytest.raises(ArgumentError, match="named twice"):
        check_columns(["image", "image"], COLUMNS)


@pytest.mark.parametrize("format", Format)
def test_names_of_the_output(format: Format) -> None:
    run = dataclasses.replace(RUN, format=format)
    assert run.table_key(0) == f"out/labels-00000.{format}"
    assert run.segment_key(7) == "out/_plan/000007.json"
    assert run.part_key(12) == "out/_parts/part-0000012.json"
    assert run.part_number(run.part_key(12)) == 12
    assert BulkJob.of(run, 12, ("a",)).part_key == run.part_key(12)
