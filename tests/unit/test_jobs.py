"""Jobs and results survive the wire; everything that is not one is a `DecodeError`."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.errors import DecodeError
from core.image_layouts import parse_result_line, result_line
from core.jobs import (
    MAX_MESSAGE_BYTES,
    MAX_NAME_BYTES,
    MAX_RESULT_BYTES,
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
    position_of,
)
from core.response_time import ResponseTime

BATCH = new_batch_id(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
any_name = st.text(min_size=1, max_size=300)
# What people's folders hold: long components, as deep as a file system allows, in any script.
LONG_NAMES = [
    "/".join(["d" * 255] * 15 + ["a.jpg"]),
    "/".join(["夏" * 85] * 12 + ["写真.jpg"]),
    "/".join(['"' * 255] * 15 + ['".jpg']),
    "ü" * 127 + "/" + "👩‍🚀" * 20 + ".jpg",
]


def a_job(name: str = "dog.jpg", position: int = 7) -> ClassificationJob:
    return ClassificationJob(new_job_id(), BATCH, "elastic-input", image_key(BATCH, position, name), name)


@example("x" * 5000)
@example("夏" * 5000)
@example('"' * 5000)
@given(any_name)
def test_any_file_name_makes_a_valid_job_within_the_message_limit(raw: str) -> None:
    name = clean_name(raw)
    job = ClassificationJob(new_job_id(), BATCH, "b" * 63, image_key(BATCH, 99_999, name), name)
    body = job.encode()
    assert len(body.encode()) <= MAX_MESSAGE_BYTES
    assert ClassificationJob.decode(body) == job
    assert len(name.encode()) <= MAX_NAME_BYTES and clean_name(name) == name
    assert is_key(job.key) and position_of(job.key) == 99_999


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("dog.jpg", "dog.jpg"),
        ("set_1/image_1.jpg", "set_1/image_1.jpg"),
        ("C:\\photos\\dog.jpg", "photos/dog.jpg"),
        ("C:/C:/dog.jpg", "dog.jpg"),
        ("\\\\server\\share\\dog.jpg", "server/share/dog.jpg"),
        ("/home/ada/dog.jpg", "home/ada/dog.jpg"),
        ("../../etc/passwd", "etc/passwd"),
        ("a/../..\\..//./b.jpg", "a/b.jpg"),
        ("..jpg", "..jpg"),
        ("a\x00b\nc.jpg", "a\ufffdb\ufffdc.jpg"),
        ("\u202egpj.exe", "\ufffdgpj.exe"),
        ("\udce9\uffff.jpg", "\ufffd\ufffd.jpg"),
        ("", "unnamed"),
        ("/", "unnamed"),
        ("..", "unnamed"),
        (" ", "unnamed"),
        ("  spaced.png ", "  spaced.png "),
        ("naïve 犬.jpg", "naïve 犬.jpg"),
        ("nai\u0308ve.jpg", "nai\u0308ve.jpg"),
        ("👩\u200d🚀.jpg", "👩\u200d🚀.jpg"),
        ("می\u200cخواهم.jpg", "می\u200cخواهم.jpg"),
        ("\u200eWhatsApp Image.jpg", "\u200eWhatsApp Image.jpg"),
        ("\U0001fae8.jpg", "\U0001fae8.jpg"),  # an emoji of Unicode 15: not assigned in Python 3.11's tables
    ],
)
def test_names_keep_all_but_what_could_mislead(raw: str, clean: str) -> None:
    assert clean_name(raw) == clean


@given(st.text(alphabet=st.sampled_from("./\\\\: aC\0\u202e…"), max_size=40))
def test_no_name_leads_out_of_a_folder(raw: str) -> None:
    name = clean_name(raw)
    assert clean_name(name) == name and "\\" not in name
    assert all(part not in ("", ".", "..") for part in name.split("/"))


@pytest.mark.parametrize("name", LONG_NAMES, ids=["ascii", "CJK", "escaped", "emoji"])
def test_a_long_name_arrives_whole_in_the_job_and_in_the_result(name: str) -> None:
    assert clean_name(name) == name and len(name.encode()) <= MAX_NAME_BYTES
    job = a_job(name)
    assert ClassificationJob.decode(job.encode()).name == name
    result = ClassificationResult(job.key, name, failure=Failure("broken", "the image is damaged or incomplete"))
    body, metadata = result.encode()
    assert len(body) <= MAX_RESULT_BYTES and ClassificationResult.decode(job.key, body, metadata).name == name


def test_ten_of_the_longest_jobs_fit_into_one_request_to_sqs() -> None:
    assert 10 * MAX_MESSAGE_BYTES <= 256 * 1024


def test_names_above_the_limit_stay_different() -> None:
    names = [clean_name(f"{'a' * 3000}{middle}{'b' * 3000}.jpg") for middle in ("", "x", "é")]
    assert len(set(names)) == 3
    assert all(name.startswith("aaa") and name.endswith("b.jpg") for name in names)


def test_a_message_of_the_previous_version_is_a_job() -> None:
    body = json.dumps(
        {"v": 1, **{field: getattr(a_job(), field) for field in ("job_id", "batch_id", "bucket", "key", "name")}}
    )
    assert ClassificationJob.decode(body).name == "dog.jpg"


@pytest.mark.parametrize(
    ("name", "key_name"),
    [
        ("dog.jpg", "dog.jpg"),
        ("naïve.jpg", "naive.jpg"),
        ("犬", "image"),
        ("a/b c.png", "b_c.png"),
        ("犬/dog.jpg", "dog.jpg"),
        ("...", "image"),
    ],
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
        response_time=ResponseTime(1_790_000_000.125, 0.5, 3.25, 0.004),
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
        response_time=ResponseTime(1_790_000_000.125, 12345.678, 12345.678, 12345.678),
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
        ClassificationResult.decode(image_key(BATCH, 0, "a.jpg"), body, metadata)


def test_a_result_has_predictions_or_a_failure_never_both_or_none() -> None:
    for predictions, failure in (((), None), ((Prediction("a", 1.0),), Failure("c", "s"))):
        with pytest.raises(ValueError, match="either"):
            ClassificationResult(key="k", name="n", predictions=predictions, failure=failure)


def test_batch_ids_are_valid_and_do_not_repeat() -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    ids = {new_batch_id(now) for _ in range(1000)}
    assert len(ids) == 1000 and all(map(is_batch_id, ids))
    assert not is_batch_id("../" + BATCH) and not is_batch_id(BATCH + "\n")
