"""The codec: every document becomes a record that can be written again, or a `DecodeError`; nothing else happens."""

from __future__ import annotations

import dataclasses
import enum
import importlib
import json
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import app_tier
import aws
import controller
import core
import web_tier
from aws.lease import Claim
from aws.models import ModelVersion, StoredFile
from aws.result_packs import PackLine
from aws.tokens import Usage
from controller.scaling.executor import _Announcement
from controller.status.prediction_monitor import ReferenceRecord
from core.batch_record import BatchRecord
from core.bulk_columns import Format
from core.bulk_request import Action, BulkRequest
from core.bulk_run import BulkJob, BulkRun, LabelledImage, Manifest, Part, Segment, Status, TableFile
from core.errors import DecodeError
from core.fleet_status import (
    Decision,
    FleetStatus,
    InstanceStatus,
    QualityStatus,
    RolloutStatus,
    Sample,
    ShadowStatus,
)
from core.heartbeat import Heartbeat
from core.jobs import ClassificationJob, ClassificationResult, Failure, Prediction, _ResultDetail, image_key
from core.periodic_task import TaskHealth
from core.prediction_counts import AnswerCounts
from core.releases import Outcome, Phase, Release, ReleaseRecord
from core.shadow import Shadow
from core.tokens import new_token
from core.versioned_json import (
    MAX_DEPTH,
    MAX_NUMBER,
    RECORDS,
    Count,
    Record,
    Row,
    SharedText,
    between,
    decode_record,
    encode_record,
    parse_json,
    record,
    shortened,
)
from core.webhooks import PendingWebhook, new_secret
from web_tier.domain.result_pagination import Cursor, Delivered, _EarlierCursor

BATCH = "20260102-030405-0123456789ab"
KEY = image_key(BATCH, 7, "dög.jpg")
COUNTS = AnswerCounts({"beagle": 3, "Zoë's 猫": 1}, (0, 0, 0, 1, 0, 0, 0, 0, 0, 3))
PREDICTIONS = (Prediction("beagle", 0.75), Prediction("tabby, cat", 0.25))
RELEASE = Release(3, "ami-1", "m@2")
FILES = {name: StoredFile("0" * 64, 5) for name in ("bundle.json", "model.tflite", "labels.txt")}

# One record of each type, with a value in every field.
EXAMPLES: list[Any] = [
    Heartbeat(2.0, 1.0, "m@1", 3, 40, 2, 5.5, 0.03, 1.5, True, 3, "it is broken", COUNTS, "m@2", 10, 9),
    ClassificationJob("1234", BATCH, "elastic-input", KEY, "Zoë's 犬.jpg"),
    _ResultDetail("1234", "m@1", "i-1", PREDICTIONS, {"decode": 1.5}, Failure("broken", "it is damaged")),
    FleetStatus(
        at=2.0,
        controller_id="c",
        profile="balanced",
        min_size=0,
        max_size=15,
        target_latency_seconds=2.0,
        mean_service_seconds=0.03,
        mean_service_measured=True,
        expected_boot_seconds=30.0,
        oldest_job_age_seconds=1.5,
        since=1.0,
        instance_seconds=100.5,
        answered=40,
        cost_per_1000_images_usd=0.02,
        instances=(InstanceStatus("i-1", "app-tier-1", "running", 1.0, 2.0, 3, 40, 5.5, "m@1", 3),),
        history=(Sample(1.0, 2, 3, 4, 5, 6, 7.5), Sample(2.0, 0, 0, 0, 0, 0, 0.0)),
        decisions=(Decision(1.0, 4, -2, "because"),),
        rollout=RolloutStatus("rolling", "release 3", "waiting", 1.0),
        quality=QualityStatus("m@1", 1000, 500, 0.1, None, ""),
        shadow=ShadowStatus("m@2", 10, 9),
        tasks=(TaskHealth("janitor", 15.0, 1.0, 2.0, 3, 1, "it failed"),),
    ),
    ReleaseRecord(
        Release(1),
        Release(0),
        RELEASE,
        Phase.ROLLING,
        proven=True,
        trying=("i-1",),
        failed=("i-2",),
        reason="it goes on",
        started_at=1.0,
        progress_at=2.0,
        last_number=3,
        past=(Outcome(RELEASE, "failed", "no worker proved itself", 3.0),),
    ),
    Shadow("m@2", 0.25),
    new_token("ada", ["read", "upload"], 1.0, name="laptop", expires_days=1, images_per_day=5)[1],
    PendingWebhook(BATCH, "https://example.org/hook?a=1", new_secret(), 1.0, 2, 3.0),
    ModelVersion("photos", "2", FILES, 0.75, 1.0),
    Claim("controller-1", 3, 40, 15.0, '{"a note": 1}', released=True),
    Usage("2026-11-21", 40),
    BatchRecord("2026-01-02T03:04:05+00:00", "ada", "holidays", cancelled=True),
    _Announcement(3, "0123", 1.0, RELEASE),
    ReferenceRecord("m@1", COUNTS),
    Cursor(5, (Delivered(6, (0, 2, 1, 1), 7),)),
    _EarlierCursor(5, KEY, 7),
    PackLine(KEY, "dog.jpg, beagle\n", '{"job_id":"a"}'),
    BulkRun(
        run_id=BATCH,
        source_bucket="photos",
        source_prefix="2026/",
        output_bucket="labels",
        output_prefix="out/",
        include=("*.jpg",),
        format=Format.JSONL,
        columns=("image", "top_k"),
        images_per_job=100,
        requester_pays=True,
        max_instances=4,
        finish_by=3.0,
        ceiling=5,
        created_at=1.0,
        status=Status.FAILED,
        problem="it failed",
        finished_at=2.0,
        cursor="2026/b.jpg",
        is_planned=True,
        planned_segments=3,
        planned_jobs=50,
        planned_images=5000,
        skipped=7,
        sent_segments=2,
        done_segments=1,
        done_segment_images=1900,
        done_images=2000,
        failed_images=3,
    ),
    BulkRequest(
        BATCH,
        Action.START,
        5.0,
        "eve",
        "s3://photos/2026/",
        "s3://labels/out/",
        ("*.png",),
        Format.JSONL,
        ("image",),
        images_per_job=20,
        requester_pays=True,
        max_instances=3,
        finish_within_seconds=60.0,
    ),
    Manifest(
        BATCH, "s3://photos/2026/", Format.CSV, ("image",), 100, 3, ("m@1",), (TableFile("out/labels.csv", 100, 999),)
    ),
    Segment(BATCH, 3, 60, (("a.jpg", "Zoë's 犬.jpg"), ("b.jpg",)), "b.jpg", 2, is_last=True),
    BulkJob(BATCH, 61, "photos", "labels", "out/", ("a.jpg", "Zoë's 犬.jpg"), requester_pays=True),
    Part(
        BATCH,
        61,
        "m@1",
        (LabelledImage("a.jpg", PREDICTIONS, note="cut off"), LabelledImage("b", failure=Failure("broken", "damaged"))),
    ),
]
BY_TYPE = {type(example): example for example in EXAMPLES}

any_text = st.text() | st.sampled_from(["", "5", "\ud800", "a\udfffb", "\x00", "x" * 5000, "[" * 200])
any_scalar = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**18)
    | st.floats()
    | any_text
    | st.sampled_from([-1, 0, 10**400, -(10**20), 1e308, -1e308, 5e-324])
)
any_json = st.recursive(
    any_scalar, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4), max_leaves=12
)


def ours() -> list[type]:
    """Every record type of the program, in whichever module it is."""
    for package in (core, aws, controller, app_tier, web_tier):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(("__main__", "wsgi", "gunicorn_config")):
                importlib.import_module(module.name)
    return [cls for cls in RECORDS if not cls.__module__.startswith("tests")]


def test_every_record_type_has_an_example_here() -> None:
    assert {cls.__qualname__ for cls in ours()} == {cls.__qualname__ for cls in BY_TYPE}


each_type = pytest.mark.parametrize("cls", BY_TYPE, ids=lambda cls: cls.__name__)


def decodes_or_is_refused(cls: type[Any], document: bytes) -> None:
    try:
        found = decode_record(cls, document)
    except DecodeError:
        return
    again = encode_record(found)
    json.loads(again, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    if len(again) <= RECORDS[cls].max_bytes:
        assert decode_record(cls, again) == found


@each_type
def test_a_record_comes_back_as_it_was(cls: type) -> None:
    example = BY_TYPE[cls]
    assert decode_record(cls, encode_record(example)) == example
    assert decode_record(cls, encode_record(example).decode()) == example
    in_ascii = json.dumps(json.loads(encode_record(example)))  # as older versions wrote them
    if len(in_ascii) <= RECORDS[cls].max_bytes:
        assert decode_record(cls, in_ascii) == example


@each_type
@settings(max_examples=40)
@given(data=st.data())
def test_any_value_in_place_of_any_field_decodes_or_is_refused(cls: type, data: st.DataObject) -> None:
    document = json.loads(encode_record(BY_TYPE[cls]))
    places = list(places_in(document))
    for container, place in data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=3)):
        container[place] = data.draw(any_json)
    decodes_or_is_refused(cls, json.dumps(document).encode())


def places_in(value: Any) -> Any:
    """Every place of a JSON document that holds a value, as container and key or index."""
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places_in(value[key])


@given(document=any_json)
def test_any_json_decodes_or_is_refused(document: Any) -> None:
    for cls in BY_TYPE:
        decodes_or_is_refused(cls, json.dumps(document).encode())


@given(document=st.binary() | any_text.map(lambda text: text.encode(errors="surrogatepass")))
def test_any_bytes_decode_or_are_refused(document: bytes) -> None:
    for cls in BY_TYPE:
        decodes_or_is_refused(cls, document)


@given(place=st.integers(0, 10**6), length=st.integers(0, 20), instead=st.binary(max_size=5))
def test_an_altered_document_decodes_or_is_refused(place: int, length: int, instead: bytes) -> None:
    for cls, example in BY_TYPE.items():
        document = bytearray(encode_record(example))
        at = place % len(document)
        document[at : at + length] = instead
        decodes_or_is_refused(cls, bytes(document))


HOSTILE = {
    "nested arrays": b"[" * 20_000,
    "nested objects": b'{"v":' * 20_000,
    "nested in a field": b'{"v": 1, "model": ' + b"[" * 1900 + b"]" * 1900 + b"}",
    "brackets after a quote": rb'["\\", ' + b"[" * 20_000,
    "an endless string": b'{"v": 1, "model": "' + b"\\" * 100_001,
    "a long number": b"9" * 5000,
    "a huge number": b'{"v": 1, "at": 1e999, "started_at": 1}',
    "a huge version": b'{"v": 1e999}',
    "NaN": b'{"v": 1, "at": NaN, "started_at": 1}',
    "Infinity": b'{"v": 1, "at": -Infinity, "started_at": 1}',
    "a lone surrogate": rb'{"v": 1, "at": 1, "started_at": 1, "model": "\ud800"}',
    "a lone surrogate in a key": rb'{"v": 1, "at": 1, "started_at": 1, "\udc00": 1}',
    "half a pair": rb'{"v": 1, "at": 1, "started_at": 1, "model": "\uD83D \uDE00"}',
    "UTF-16": '{"v": 1}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"v": 1}',
    "nothing": b"",
}


@each_type
@pytest.mark.parametrize("document", HOSTILE.values(), ids=HOSTILE)
def test_hostile_documents_are_refused(cls: type, document: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_record(cls, document)


@each_type
def test_a_document_that_is_too_long_is_refused_before_it_is_parsed(cls: type) -> None:
    example = encode_record(BY_TYPE[cls])
    padding = b" " * (RECORDS[cls].max_bytes - len(example))
    assert decode_record(cls, example + padding) == BY_TYPE[cls]
    with pytest.raises(DecodeError, match="longer than"):
        decode_record(cls, example + padding + b" ")


# --- one type of every kind ----------------------------------------------------------------------


class Colour(enum.StrEnum):
    RED = enum.auto()
    BLUE = enum.auto()


@dataclass(frozen=True, slots=True)
class Point(Row):
    x: int
    y: float

    def check(self) -> None:
        if self.x == 13:
            raise ValueError("not 13")


@record("a sample", version=2, max_bytes=500)
@dataclass(frozen=True, slots=True)
class Everything(Record):
    text: str
    flag: bool = False
    whole: int = 0
    real: float = 0.0
    maybe: int | None = None
    colour: Colour = Colour.RED
    points: tuple[Point, ...] = ()
    shares: Mapping[str, float] = dataclasses.field(default_factory=dict)
    percent: Annotated[float, between(0, 100)] = 0.0
    short: Annotated[str, shortened(3)] = ""
    shared: SharedText = ""
    count: Count = 0


def decoded(**fields: Any) -> Everything:
    return Everything.decode(json.dumps({"v": 2, "text": "x", **fields}).encode())


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ({}, Everything("x")),
        ({"flag": True, "whole": -5, "real": 2}, Everything("x", True, -5, 2.0)),
        ({"maybe": None}, Everything("x")),
        ({"maybe": 3}, Everything("x", maybe=3)),
        ({"colour": "blue"}, Everything("x", colour=Colour.BLUE)),
        ({"points": [[1, 2], [3, 4.5]]}, Everything("x", points=(Point(1, 2.0), Point(3, 4.5)))),
        ({"shares": {"a": 1, "ü": 0.5}}, Everything("x", shares={"a": 1.0, "ü": 0.5})),
        ({"whole": MAX_NUMBER}, Everything("x", whole=MAX_NUMBER)),
        ({"short": "abcdef"}, Everything("x", short="abc")),
    ],
)
def test_what_annotations_allow_is_read(fields: dict[str, Any], value: Everything) -> None:
    assert decoded(**fields) == value


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"text": None}, "text: a text expected"),
        ({"text": 5}, "text: a text expected, not int"),
        ({"flag": 1}, "flag: true or false"),
        ({"whole": True}, "whole: a whole number expected, not bool"),
        ({"whole": "5"}, "whole: a whole number expected, not str"),
        ({"whole": 5.0}, "whole: a whole number expected, not float"),
        ({"whole": MAX_NUMBER + 1}, "whole: a number is too large"),
        ({"real": False}, "real: a number expected, not bool"),
        ({"real": "1.5"}, "real: a number expected"),
        ({"real": 10**300}, "real: a number is too large"),
        ({"maybe": "3"}, "maybe: a whole number"),
        ({"colour": "green"}, "colour: "),
        ({"colour": []}, "colour: a text expected"),
        ({"points": {}}, "points: an array"),
        ({"points": [{"x": 1, "y": 2}]}, "points: an array expected"),
        ({"points": [[1]]}, "points: 1 items instead of 2"),
        ({"points": [[1, 2, 3]]}, "points: 3 items"),
        ({"points": [[13, 2]]}, "not 13"),
        ({"shares": [1]}, "shares: an object"),
        ({"shares": {"a": "1"}}, "shares: a number"),
        ({"percent": 101}, "percent: outside of 0 to 100"),
        ({"count": -1}, "count: outside"),
        ({"unknown": 1}, "the field 'unknown' is unknown"),
        ({"v": 1}, "not of version 2"),
        ({"v": True}, "not of version 2"),
        ({"v": 2.0}, "not of version 2"),
    ],
)
def test_what_annotations_do_not_allow_is_refused_with_its_place(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(DecodeError, match=f"not a sample: .*{message}"):
        decoded(**fields)


def test_a_text_may_have_brackets_quotes_and_any_character() -> None:
    odd = Everything('a "quoted\\" 🐈 ' + "[{" * 50)
    assert Everything.decode(odd.encode()) == odd


def test_what_is_no_character_is_written_as_a_question_mark() -> None:
    assert Everything.decode(Everything("a\ud800b", shares={"\udfff": 1.0}).encode()) == Everything(
        "a?b", shares={"?": 1.0}
    )


def test_a_field_without_a_default_must_be_there() -> None:
    with pytest.raises(DecodeError, match="the field 'text' is missing"):
        Everything.decode(b'{"v": 2}')


def test_equal_shared_texts_are_one_object() -> None:
    first, second = decoded(shared="a label that is long"), decoded(shared="a label that is long")
    assert first.shared is second.shared


def test_a_row_is_an_array_and_the_version_comes_first() -> None:
    body = Everything("x", points=(Point(1, 2.0),)).encode()
    assert body.startswith(b'{"v":2,"text":"x"') and b'"points":[[1,2.0]]' in body


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_is_not_json_is_not_written(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        Everything("x", real=number).encode()


def test_a_type_that_the_codec_does_not_know_is_a_fault_of_the_program() -> None:
    @record("an odd one", version=1, max_bytes=100)
    @dataclass(frozen=True)
    class Odd:
        when: set[int]

    try:
        with pytest.raises(TypeError, match="no codec"):
            decode_record(Odd, b'{"v": 1, "when": []}')
    finally:
        del RECORDS[Odd]


def test_a_record_without_a_version_may_grow() -> None:
    assert BatchRecord.decode(b'{"owner": "ada", "colour": "red"}') == BatchRecord(owner="ada")


@pytest.mark.parametrize("depth", [MAX_DEPTH, MAX_DEPTH + 1])
def test_json_may_nest_so_deep_and_no_deeper(depth: int) -> None:
    for document in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth):
        if depth <= MAX_DEPTH:
            assert parse_json(document, 1000, "a document")
        else:
            with pytest.raises(DecodeError, match="nested"):
                parse_json(document, 1000, "a document")


@given(any_json)
def test_parsed_json_is_what_the_standard_library_reads(value: Any) -> None:
    text = json.dumps(value)
    try:
        found = parse_json(text, 10**6, "a document")
    except DecodeError:
        return
    assert found == json.loads(text)


# --- results: a line and metadata ----------------------------------------------------------------


@given(body=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode(errors="surrogatepass")))
def test_any_body_of_a_result_decodes_or_is_refused(body: bytes) -> None:
    _same, metadata = ClassificationResult(KEY, "x", PREDICTIONS).encode()
    try:
        found = ClassificationResult.decode(KEY, body, metadata)
    except DecodeError:
        return
    assert ClassificationResult.decode(KEY, *found.encode()) == found


@pytest.mark.parametrize("body", [b'"a\rb, c', b"a\rb, c\n", b"a\x00, b\n", b"x" * 9000 + b", b\n"])
def test_odd_lines_are_read_or_refused(body: bytes) -> None:
    _same, metadata = ClassificationResult(KEY, "x", PREDICTIONS).encode()
    try:
        ClassificationResult.decode(KEY, body, metadata)
    except DecodeError:
        return
