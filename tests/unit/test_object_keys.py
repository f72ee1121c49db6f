"""The grammar of keys: what a family makes it reads, and nothing else."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aws.batch_index import batches_in, index_key
from aws.objects import StoredObject, only_ours
from core import object_keys
from core.jobs import batch_of, image_key, is_batch_id, is_key, position_of
from core.object_keys import FAMILIES, HEARTBEATS, IMAGES, KeyFamily

BATCH = "20260102-030405-0123456789ab"
any_family = st.sampled_from(FAMILIES)
each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: f"{family.prefix}*{family.suffix}")


def test_every_family_is_listed() -> None:
    assert set(FAMILIES) == {value for value in vars(object_keys).values() if isinstance(value, KeyFamily)}


@given(family=any_family, data=st.data())
def test_a_name_becomes_a_key_and_comes_back(family: KeyFamily, data: st.DataObject) -> None:
    name = data.draw(st.from_regex(family.name, fullmatch=True))
    key = family.key_of(name)
    assert key.startswith(family.prefix) and key.endswith(family.suffix)
    assert family.owns(key) and family.name_of(key) == name


@given(family=any_family, data=st.data())
def test_a_key_is_of_one_family_at_most(family: KeyFamily, data: st.DataObject) -> None:
    key = family.key_of(data.draw(st.from_regex(family.name, fullmatch=True)))
    assert [other for other in FAMILIES if other.owns(key)] == [family]


@given(family=any_family, text=st.text(max_size=60), data=st.data())
def test_foreign_keys_are_refused(family: KeyFamily, text: str, data: st.DataObject) -> None:
    key = family.key_of(data.draw(st.from_regex(family.name, fullmatch=True)))
    for foreign in (
        text,
        f"{family.prefix}{text}/x/y/z",
        f"{key}\n",
        f"{key}/",
        f" {key}",
        f"x/{key}",
        f"{key}/{text}",
    ):
        assert not family.owns(foreign)
        with pytest.raises(ValueError, match="is not a key"):
            family.name_of(foreign)


@each_family
@pytest.mark.parametrize("name", ["", "/", "..", "../x", "a b", "x" * 200, "ä", "\ud800", "a\n"])
def test_a_name_that_does_not_fit_makes_no_key(family: KeyFamily, name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a part"):
        family.key_of(name)


@given(position=st.integers(0, 99_999), name=st.text(max_size=100))
def test_every_image_has_a_key_of_its_family(position: int, name: str) -> None:
    key = image_key(BATCH, position, name)
    assert IMAGES.owns(key) and is_key(key)
    assert (batch_of(key), position_of(key)) == (BATCH, position)


@pytest.mark.parametrize(
    "key",
    [
        f"{BATCH}/anything.jpg",
        f"{BATCH}/1-a.jpg",
        f"{BATCH}/00001-",
        f"{BATCH}/00001-a/b.jpg",
        f"{BATCH}/٠٠٠٠١-a.jpg",
        f"{BATCH}/",
        f"{BATCH}/cancelled",
        f"x{BATCH}/00001-a.jpg",
    ],
)
def test_what_lies_beside_images_is_none(key: str) -> None:
    assert not is_key(key)


def test_digits_are_ascii() -> None:
    assert is_batch_id(BATCH) and not is_batch_id(BATCH.replace("2026", "٢٠٢٦"))


def test_a_list_of_batches_is_read_from_its_keys() -> None:
    key = index_key("ada", BATCH)
    wrong_time = f"owners/ada/00000000000000-{BATCH}"
    assert batches_in([key, wrong_time, "owners/ada/photo.jpg", "owners/ada/"]) == [BATCH]


def test_foreign_objects_are_reported_once_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    listing = [
        StoredObject(key, 1, '"1"', datetime(2026, 1, 1, tzinfo=UTC))
        for key in ("workers/", "workers/i-1.json", "workers/photo.jpg")
    ]
    with caplog.at_level(logging.DEBUG, "aws.objects"):
        for _twice in range(2):
            found = [stored.key for stored in only_ours(listing, "a-bucket-of-this-test/workers/", HEARTBEATS)]
            assert found == ["workers/i-1.json"]
    assert [record.levelname for record in caplog.records] == ["WARNING", "DEBUG"]
    assert "2 foreign objects are ignored, such as 'workers/photo.jpg'" in caplog.text
