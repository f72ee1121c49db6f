"""Result packs: what is stored together is found as if each result were an object of its own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aws.in_memory import ManualClock
from aws.objects import StoredObject
from aws.result_packs import MAX_RESULTS, PackedResult, PackIndex, choose, decode_pack, encode_pack
from core.errors import NotFoundError
from core.jobs import ClassificationResult, Failure, Prediction, clean_name, image_key, new_batch_id

NOW = datetime(2026, 3, 1, tzinfo=UTC)
BATCH, OTHER = new_batch_id(NOW), new_batch_id(NOW)
names = st.text(min_size=1, max_size=30).map(clean_name)


def result(position: int, name: str = "dog.jpg", label: str = "beagle", batch: str = BATCH) -> ClassificationResult:
    return ClassificationResult(image_key(batch, position, name), name, (Prediction(label, 0.5),), model="m@1")


def stored(key: str, etag: str = "e", at: datetime = NOW) -> StoredObject:
    return StoredObject(key, 10, etag, at)


@given(st.dictionaries(st.integers(0, 99_999), names, min_size=1, max_size=MAX_RESULTS))
def test_a_pack_has_each_result_as_it_was(images: dict[int, str]) -> None:
    results = [result(position, name) for position, name in images.items()]
    key, body = encode_pack(results)
    assert key.startswith(f"{BATCH}/{max(images):05d}_")
    found = decode_pack(stored(key), body)
    assert {key: packed.decode(key) for key, packed in found.items()} == {each.key: each for each in results}
    assert encode_pack(results[::-1]) == (key, body), "the same object, in whichever order"


def test_a_listing_that_starts_before_an_image_has_each_pack_with_it() -> None:
    key, _ = encode_pack([result(7), result(12)])
    for image in (result(7).key, result(12).key):
        assert key > image[:-1]
    assert key < result(13).key


@pytest.mark.parametrize(
    "results",
    [
        [],
        [result(position) for position in range(MAX_RESULTS + 1)],
        [result(1), result(2, batch=OTHER)],
        [result(position, label="x" * 100_000) for position in range(20)],
    ],
    ids=["none", "too many", "two batches", "too long"],
)
def test_what_does_not_belong_together_is_refused(results: list[ClassificationResult]) -> None:
    with pytest.raises(ValueError, match=r"pack"):
        encode_pack(results)


def test_a_line_that_cannot_be_decoded_concerns_itself_alone() -> None:
    key, body = encode_pack([result(1), result(2), result(3, batch=BATCH)])
    first, second, third = body.splitlines()
    foreign = encode_pack([result(2, batch=OTHER)])[1].strip()
    for damaged in (b"{", b"\xff", second[:-9], foreign, b"[" * 5000):
        found = decode_pack(stored(key), b"\n".join((first, damaged, third)))
        assert set(found) == {result(1).key, result(3).key}
    assert decode_pack(stored(key), b"x" * 2_000_000) == {}


def packed(failure: str = "", minutes: float = 0, source: str = "a") -> PackedResult:
    answer = result(1)
    if failure:
        answer = ClassificationResult(answer.key, answer.name, failure=Failure(failure, "a sentence"))
    body, metadata = answer.encode()
    return PackedResult(body.decode(), metadata["result"], NOW + timedelta(minutes=minutes), source)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(packed(minutes=2), packed(minutes=1), id="the later one"),
        pytest.param(packed("broken", minutes=2), packed(minutes=1), id="another image under the same key"),
        pytest.param(packed(minutes=1), packed("gave_up", minutes=2), id="dead letter, answered after all"),
        pytest.param(packed(minutes=1), packed("cancelled", minutes=2), id="answered before it was cancelled"),
        pytest.param(packed("broken"), packed("missing", minutes=2), id="a worker's failure"),
        pytest.param(packed(), packed("broken"), id="in the same second"),
        pytest.param(packed("gave_up", minutes=2), packed("cancelled"), id="both provisional"),
        pytest.param(
            packed("gave_up"), PackedResult("?", "?", NOW + timedelta(days=1), "b"), id="one that cannot be decoded"
        ),
    ],
)
def test_which_of_several_results_counts(one: PackedResult, other: PackedResult) -> None:
    key = result(1).key
    assert choose(key, [one, other]) == choose(key, [other, one]) == one


class Reader:
    def __init__(self) -> None:
        self.objects: dict[str, list[ClassificationResult]] = {}
        self.read: list[str] = []

    def add(self, *results: ClassificationResult, etag: str = "e") -> StoredObject:
        key, _ = encode_pack(results)
        self.objects[key] = list(results)
        return stored(key, etag)

    def __call__(self, wanted: StoredObject) -> dict[str, PackedResult]:
        self.read.append(wanted.key)
        if wanted.key not in self.objects:
            raise NotFoundError
        return decode_pack(wanted, encode_pack(self.objects[wanted.key])[1])


def test_a_pack_is_read_once_and_again_only_if_it_has_changed() -> None:
    reader = Reader()
    index = PackIndex(reader)
    first, second = reader.add(result(1), result(2)), reader.add(result(3))
    for _ in range(3):
        assert set(index.load([first, second])) == {result(n).key for n in (1, 2, 3)}
    assert sorted(reader.read) == sorted([first.key, second.key])
    index.load([stored(second.key, "another")])
    assert reader.read.count(second.key) == 2


def test_a_pack_that_was_deleted_meanwhile_has_nothing_and_a_deleted_one_is_forgotten() -> None:
    reader = Reader()
    index = PackIndex(reader)
    there, gone = reader.add(result(1)), stored(encode_pack([result(2)])[0])
    assert set(index.load([there, gone])) == {result(1).key}
    assert index.find(result(1).key)
    index.keep_only(BATCH, [])
    assert not index.find(result(1).key)


def test_the_batches_that_were_used_last_are_kept() -> None:
    reader = Reader()
    index = PackIndex(reader, max_results=10)
    batches = [new_batch_id(NOW) for _ in range(4)]
    packs = [reader.add(*(result(position, batch=batch) for position in range(4))) for batch in batches]
    for pack in packs[:2]:
        index.load([pack])
    index.load([packs[0]])
    index.load([packs[2]])
    assert [bool(index.find(result(0, batch=batch).key)) for batch in batches] == [True, False, True, False]
    index.load([packs[1]])
    assert reader.read.count(packs[1].key) == 2


def test_a_batch_that_is_not_listed_any_more_is_forgotten() -> None:
    reader, clock = Reader(), ManualClock(0.0)
    index = PackIndex(reader, clock=clock)
    batches = [new_batch_id(NOW) for _ in range(4)]
    packs = [reader.add(result(0, batch=batch)) for batch in batches]
    index.load(packs[:2])
    clock.advance(500)
    index.load([packs[0]])
    index.load([packs[2]])
    clock.advance(200)
    index.load([packs[3]])
    assert [bool(index.find(result(0, batch=batch).key)) for batch in batches] == [True, False, True, True]
