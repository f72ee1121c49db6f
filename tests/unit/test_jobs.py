"""Jobs and results survive the wire; everything that is not one is a `DecodeError`."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DecodeError
from core.jobs import (
    MAX_MESSAGE_BYTES,
    MAX_NAME_CHARACTERS,
    ClassificationJob,
    ClassificationResult,
    Failure,
    Prediction,
    clean_name,
    image_key,
    is_batch_id,
    is_key,
    new_batch_id,
    new_job_id,
    parse_result_line,
    position_of,
    result_line,
)

BATCH = new_batch_id(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
any_name = st.text(min_size=1, max_size=300)


def a_job(name: str = "dog.jpg", position: int = 7) -> ClassificationJob:
    return ClassificationJob(new_job_id(), BATCH, "elastic-input", image_key(BATCH, position, name), name)


@given(any_name)
def test_any_file_name_makes_a_valid_job_within_the_message_limit(raw: str) -> None:
    name = clean_name(raw)
    job = ClassificationJob(new_job_id(), BATCH, "b" * 63, image_key(BATCH, 99_999, name), name)
    body = job.encode()
    assert len(body.encode()) <= MAX_MESSAGE_BYTES
    assert ClassificationJob.decode(body) == job
    assert len(name) <= MAX_NAME_CHARACTERS
    assert is_key(job.key) and position_of(job.key) == 99_999


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("dog.jpg", "dog.jpg"),
        ("C:\\photos\\dog.jpg", "dog.jpg"),
        ("../../etc/passwd", "passwd"),
        ("a\x00b\nc.jpg", "abc.jpg"),
        ("‮gpj.exe", "gpj.exe"),
        ("", "unnamed"),
        ("/", "unnamed"),
        ("  spaced.png ", "spaced.png"),
        ("naïve 犬.jpg", "naïve 犬.jpg"),
    ],
)
def test_names_lose_what_could_mislead(raw: str, clean: str) -> None:
    assert clean_name(raw) == clean


@pytest.mark.parametrize(
    ("name", "key_name"),
    [("dog.jpg", "dog.jpg"), ("naïve.jpg", "naive.jpg"), ("犬", "image"), ("a b/c.png", "a_b_c.png"), ("...", "image")],
)
def test_keys_hold_only_safe_characters(name: str, key_name: str) -> None:
    assert image_key(BATCH, 3, name) == f"{BATCH}/00003-{key_name}"


@pytest.mark.parametrize("position", [-1, 100_000])
def test_positions_outside_five_digits_are_refused(position: int) -> None:
    with pytest.raises(ValueError, match="position"):
        image_key(BATCH, position, "dog.jpg")


def altered(**changes: object) -> str:
    fields = json.loads(a_job().encode())
    fields.update(changes)
    return json.dumps({name: value for name, value in fields.items() if value is not None})


@pytest.mark.parametrize(
    "body",
    [
        "",
        "not json",
        "null",
        "[]",
        "{}",
        '{"v": 1}',
        altered(v=2),
        altered(key=None),
        altered(key=""),
        altered(key="elsewhere/00001-dog.jpg"),
        altered(key=f"{BATCH}/../../00001-dog.jpg"),
        altered(name=5),
        altered(extra="field"),
    ],
)
def test_what_is_not_a_job_is_a_decode_error(body: str) -> None:
    with pytest.raises(DecodeError):
        ClassificationJob.decode(body)


@given(any_name, any_name)
def test_result_lines_are_one_line_and_read_back(name: str, answer: str) -> None:
    name, answer = clean_name(name), clean_name(answer)
    line = result_line(name, answer)
    assert "\n" not in line and parse_result_line(line) == (name, answer)


@pytest.mark.parametrize(
    ("name", "answer", "line"),
    [
        ("dog.jpg", "beagle", "dog.jpg, beagle"),
        ("a,b.jpg", "beagle", '"a,b.jpg", beagle'),
        ("cat.jpg", "Siamese cat, Siamese", 'cat.jpg, "Siamese cat, Siamese"'),
        ('say "hi".png', "church", '"say ""hi"".png", church'),
    ],
)
def test_result_lines_quote_only_where_needed(name: str, answer: str, line: str) -> None:
    assert result_line(name, answer) == line


RESULTS = [
    ClassificationResult(
        key=image_key(BATCH, 1, "dog.jpg"),
        name="犬, the dog.jpg",
        predictions=(Prediction("beagle", 0.75), Prediction("church", 0.25)),
        job_id="1234",
        model="resnet50@1",
        worker_id="i-1",
        stage_milliseconds={"decode": 1.5},
    ),
    ClassificationResult(key=image_key(BATCH, 2, "x"), name="x", failure=Failure("broken", "the image is damaged")),
]


@pytest.mark.parametrize("result", RESULTS, ids=["classified", "failed"])
def test_results_survive_the_bucket(result: ClassificationResult) -> None:
    body, metadata = result.encode()
    assert body.decode() == f"{result.line}\n"
    assert ClassificationResult.decode(result.key, body, metadata) == result


def test_a_failed_result_says_so_in_its_line() -> None:
    assert RESULTS[1].line == "x, error: the image is damaged"
    assert RESULTS[1].label is None and RESULTS[1].score is None


def test_metadata_of_the_largest_result_fits_into_s3() -> None:
    result = ClassificationResult(
        key=image_key(BATCH, 1, "x"),
        name="x",
        predictions=tuple(Prediction("ü" * 40, 0.12345) for _ in range(5)),
        job_id=new_job_id(),
        model="m" * 64 + "@1.2.3",
        worker_id="i-0123456789abcdef0",
        stage_milliseconds=dict.fromkeys(("fetch", "decode", "classify"), 12345.6),
    )
    metadata = result.encode()[1]
    assert sum(len(key) + len(value) for key, value in metadata.items()) < 2048
    assert all(value.isascii() for value in metadata.values())


@pytest.mark.parametrize(
    ("body", "metadata"),
    [
        (b"\xff", {"result": "{}"}),
        (b"one field\n", {"result": "{}"}),
        (b"a, b\n", {}),
        (b"a, b\n", {"result": "not json"}),
        (b"a, b\n", {"result": '{"predictions": []}'}),
        (b"a, b\nc, d\n", RESULTS[0].encode()[1]),
    ],
)
def test_what_is_not_a_result_is_a_decode_error(body: bytes, metadata: dict[str, str]) -> None:
    with pytest.raises(DecodeError):
        ClassificationResult.decode("key", body, metadata)


def test_a_result_has_predictions_or_a_failure_never_both_or_none() -> None:
    for predictions, failure in (((), None), ((Prediction("a", 1.0),), Failure("c", "s"))):
        with pytest.raises(ValueError, match="either"):
            ClassificationResult(key="k", name="n", predictions=predictions, failure=failure)


def test_batch_ids_are_valid_and_do_not_repeat() -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    ids = {new_batch_id(now) for _ in range(1000)}
    assert len(ids) == 1000 and all(map(is_batch_id, ids))
    assert not is_batch_id("../" + BATCH) and not is_batch_id(BATCH + "\n")
