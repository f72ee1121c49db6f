"""Following results with a cursor misses nothing and repeats nothing, whatever S3's whole seconds do."""

from __future__ import annotations

import base64
import json
import random
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aws.buckets import StoredObject
from web_tier.domain.result_pagination import (
    MAX_CURSOR_CHARACTERS,
    OVERLAP_SECONDS,
    Cursor,
    CursorError,
    Delivered,
    next_page,
)

BATCH = "20260102-030405-0123456789ab"


def stored(seconds: int, position: int, etag: str = "etag", name: str = "a.jpg") -> StoredObject:
    key = f"{BATCH}/{position:05d}-{name}"
    return StoredObject(key, 10, f'"{etag}"', datetime.fromtimestamp(seconds, UTC))


def sweep(results: Sequence[StoredObject], cursor: Cursor, limit: int = 8) -> tuple[list[StoredObject], Cursor]:
    """Follows the pages until there are no more, with each cursor as it comes back from a client."""
    found: list[StoredObject] = []
    for _page in range(len(results) // limit + 2):
        page = next_page(results, Cursor.decode(cursor.encode()), limit)
        found += page.entries
        cursor = page.cursor
        if not page.more:
            return found, cursor
    raise AssertionError("the pages have no end")


counts = st.integers(0, 2**40)


@given(counts, st.lists(st.tuples(counts, st.lists(counts, max_size=6), counts), max_size=4))
def test_a_cursor_survives_the_wire(since: int, seconds: list[tuple[int, list[int], int]]) -> None:
    cursor = Cursor(since, tuple(Delivered(second, tuple(runs), checksum) for second, runs, checksum in seconds))
    assert Cursor.decode(cursor.encode()) == cursor


def test_no_cursor_is_the_beginning() -> None:
    assert Cursor.decode("") == Cursor()


def encoded(document: bytes) -> str:
    return base64.urlsafe_b64encode(zlib.compress(document)).decode()


@pytest.mark.parametrize(
    "text",
    [
        *("x", "bm90IGpzb24", "WzFd", "W3RydWUsIiIsbnVsbF0", "é", "=" * 9, "e30"),
        *map(encoded, (b"", b"[]", b"[-1,[]]", b'["1",[]]', b"[1,[[1,[-1],0]]]", b"[1,[1]]", b"[" * 9000)),
        encoded(b"[" + b" " * 10_000_000 + b"1,[]]"),
    ],
)
def test_foreign_cursors_are_refused(text: str) -> None:
    with pytest.raises(CursorError):
        Cursor.decode(text)


@pytest.mark.parametrize(
    ("fields", "since"), [([90, "", None], 90), ([95, "k", 90], 88), ([70, "k", 90], 70), ([0, "", 1], 0)]
)
def test_a_cursor_of_the_previous_version_continues(fields: list[object], since: int) -> None:
    text = base64.urlsafe_b64encode(json.dumps(fields).encode()).decode().rstrip("=")
    assert Cursor.decode(text) == Cursor(since)


@pytest.mark.parametrize("seconds_apart", [0, 1, 7])
def test_a_sweep_pages_through_everything_once(seconds_apart: int) -> None:
    results = [stored(100 + number // 7 * seconds_apart, number) for number in range(50)]
    found, cursor = sweep(results, Cursor())
    assert found == results
    for _poll in range(3):
        found, cursor = sweep(results, cursor)
        assert not found, "a finished batch has nothing new"


def test_a_result_that_becomes_visible_late_is_delivered_alone() -> None:
    results = [stored(100, 0), stored(100, 2), stored(101, 4)]
    _found, cursor = sweep(results, Cursor())
    late = stored(100, 1)
    found, cursor = sweep([*results, late], cursor)
    assert found == [late]
    assert not sweep([*results, late], cursor)[0]


@pytest.mark.parametrize("again", [stored(101, 0, "other"), stored(100, 0, "other"), stored(103, 0)])
def test_a_result_that_is_stored_again_is_delivered_again(again: StoredObject) -> None:
    _found, cursor = sweep([stored(100, 0), stored(101, 1)], Cursor())
    found, cursor = sweep([again, stored(101, 1)], cursor)
    assert again in found
    assert not sweep([again, stored(101, 1)], cursor)[0]


def test_two_results_of_one_position_are_both_delivered() -> None:
    first, second = stored(100, 0), stored(100, 0, name="b.jpg")
    _found, cursor = sweep([first], Cursor())
    found, cursor = sweep([first, second], cursor)
    assert second in found
    assert not sweep([first, second], cursor)[0]


def test_a_cursor_stays_short_however_many_results_come_in_a_second() -> None:
    """At 450 results a second of a batch of 10,000, in any order, nothing is repeated."""
    positions = random.Random(1).sample(range(10_000), 1350)
    results = [stored(100 + number // 450, position) for number, position in enumerate(positions)]
    found, cursor = sweep(results, Cursor(), limit=250)
    assert len(found) == len({entry.key for entry in found}) == 1350
    assert len(cursor.encode()) <= MAX_CURSOR_CHARACTERS
    assert not sweep(results, cursor, limit=250)[0]


def test_beyond_what_a_cursor_can_hold_nothing_is_missed_and_the_sweep_ends() -> None:
    positions = random.Random(2).sample(range(100_000), 9000)
    results = [stored(100 + number // 4500, position) for number, position in enumerate(positions)]
    found, cursor = sweep(results[:6000], Cursor(), limit=250)
    more, cursor = sweep(results, cursor, limit=250)
    assert {entry.key for entry in [*found, *more]} == {entry.key for entry in results}
    assert len(cursor.encode()) <= MAX_CURSOR_CHARACTERS
    assert not sweep(results, cursor, limit=250)[0]


def test_an_empty_batch_has_an_empty_page() -> None:
    page = next_page([], Cursor(), 10)
    assert (list(page.entries), page.more, page.cursor) == ([], False, Cursor())


@given(st.data())
def test_results_that_become_visible_late_are_not_missed_and_none_is_repeated(data: st.DataObject) -> None:
    """Each result is stamped, and becomes visible up to `OVERLAP_SECONDS` - 1 s later."""
    arrivals = data.draw(
        st.lists(st.tuples(st.integers(0, 12), st.integers(0, OVERLAP_SECONDS - 1)), max_size=40), label="arrivals"
    )
    positions = data.draw(st.permutations(range(len(arrivals))), label="positions")
    results = [
        (stamp + delay, stored(1000 + stamp, position))
        for position, (stamp, delay) in zip(positions, arrivals, strict=True)
    ]
    limit = data.draw(st.integers(1, 5), label="limit")
    cursor, seen = Cursor(), list[str]()
    now = 0
    while True:
        page = next_page([entry for visible_at, entry in results if visible_at <= now], cursor, limit)
        seen += [entry.key for entry in page.entries]
        cursor = Cursor.decode(page.cursor.encode())
        if now > 20 and not page.more:
            break
        # Time may pass between two pages of a sweep, too.
        now += data.draw(st.integers(0, 3), label="pause") if now <= 20 else 0
        if not page.more and now <= 20:
            now += 1
    assert sorted(seen) == sorted(entry.key for _visible_at, entry in results)
