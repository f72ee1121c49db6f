"""The layouts of results: of a batch's images, and of named images, as graders of courses expect them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.image_layouts import is_named, result_key, without_ending
from core.jobs import (
    MAX_NAMED_KEY_BYTES,
    ClassificationJob,
    ClassificationResult,
    Failure,
    Prediction,
    batch_of,
    image_key,
    named_key,
    new_job_id,
)

BATCH = "20260101-000000-0123456789ab"
OF_BATCH = image_key(BATCH, 0, "test_00.jpg")
BEAGLE, BROKEN = (Prediction("beagle", 0.75),), Failure("broken", "the image is damaged")


@pytest.mark.parametrize(
    ("key", "expected_key", "label_body", "failure_body"),
    [
        (OF_BATCH, OF_BATCH, b"test_00.jpg, beagle\n", b"test_00.jpg, error: the image is damaged\n"),
        ("test_00.jpg", "test_00", b"beagle", b"error: the image is damaged"),
    ],
)
def test_key_and_body_of_a_result(key: str, expected_key: str, label_body: bytes, failure_body: bytes) -> None:
    assert result_key(key) == expected_key
    for result, body in (
        (ClassificationResult(key, "test_00.jpg", BEAGLE), label_body),
        (ClassificationResult(key, "test_00.jpg", failure=BROKEN), failure_body),
    ):
        encoded, metadata = result.encode()
        assert encoded == body
        assert ClassificationResult.decode(key, encoded, metadata) == result


@pytest.mark.parametrize(
    ("name", "without"),
    [("test_00.jpg", "test_00"), ("a.tar.gz", "a.tar"), ("README", "README"), (".jpg", ".jpg"), ("a.", "a")],
)
def test_a_name_without_its_ending(name: str, without: str) -> None:
    assert without_ending(name) == without


@given(st.text(max_size=300))
def test_a_name_is_the_key_of_an_image_that_belongs_to_no_batch(name: str) -> None:
    """Its job fits into a message of 1 KiB, which graders demand of the queue."""
    key = named_key(name)
    assert is_named(key) and batch_of(key) == "" and len(key.encode()) <= MAX_NAMED_KEY_BYTES
    job = ClassificationJob(new_job_id(), "", "b" * 63, key, key)
    assert ClassificationJob.decode(job.encode()) == job
    assert len(job.encode()) <= 1024


def test_a_plain_name_is_kept_and_a_long_one_keeps_its_ending() -> None:
    assert named_key("folder/test_00.jpg") == "test_00.jpg"
    one, other = named_key("x" * 200 + ".jpg"), named_key("x" * 201 + ".jpg")
    assert one != other and one.endswith(".jpg") and other.endswith(".jpg")
