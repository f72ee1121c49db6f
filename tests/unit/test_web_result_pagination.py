"""Sweeping through results with a cursor misses nothing, whatever S3's whole seconds do."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aws.buckets import StoredObject
from web_tier.domain.result_pagination import OVERLAP_SECONDS, Cursor, CursorError, next_page


def stored(seconds: int, key: str) -> StoredObject:
    return StoredObject(key, 10, '"etag"', datetime.fromtimestamp(seconds, UTC))


@given(st.integers(0, 2**40), st.text(max_size=40), st.none() | st.integers(0, 2**40))
def test_a_cursor_survives_the_wire(seconds: int, key: str, newest: int | None) -> None:
    cursor = Cursor(seconds, key, newest)
    assert Cursor.decode(cursor.encode()) == cursor


def test_no_cursor_is_the_beginning() -> None:
    assert Cursor.decode("") == Cursor()


@pytest.mark.parametrize("text", ["x", "bm90IGpzb24", "WzFd", "WzEsMiwzXQ", "W3RydWUsIiIsbnVsbF0", "é", "=" * 9, "e30"])
def test_foreign_cursors_are_refused(text: str) -> None:
    with pytest.raises(CursorError):
        Cursor.decode(text)


def test_a_sweep_pages_through_everything_once() -> None:
    results = [stored(100 + number // 7, f"k{number:03d}") for number in range(50)]
    cursor, seen = Cursor(), []
    while True:
        page = next_page(results, cursor, 8)
        seen += [entry.key for entry in page.entries]
        cursor = page.cursor
        if not page.more:
            break
    assert seen == [entry.key for entry in results]


def test_the_next_sweep_begins_a_little_before_the_newest() -> None:
    results = [stored(100, "a"), stored(200, "b")]
    page = next_page(results, Cursor(), 10)
    assert (page.more, page.cursor) == (False, Cursor(200 - OVERLAP_SECONDS))
    assert [entry.key for entry in next_page(results, page.cursor, 10).entries] == ["b"]


def test_an_empty_batch_has_an_empty_page() -> None:
    page = next_page([], Cursor(), 10)
    assert (list(page.entries), page.more, page.cursor) == ([], False, Cursor())


@given(st.data())
def test_results_that_become_visible_late_are_not_missed(data: st.DataObject) -> None:
    """Each result is stamped, and becomes visible up to `OVERLAP_SECONDS` - 1 s later."""
    arrivals = data.draw(
        st.lists(st.tuples(st.integers(0, 12), st.integers(0, OVERLAP_SECONDS - 1)), max_size=40), label="arrivals"
    )
    results = [(stamp + delay, stored(1000 + stamp, f"k{n:02d}")) for n, (stamp, delay) in enumerate(arrivals)]
    limit = data.draw(st.integers(1, 5), label="limit")
    cursor, seen = Cursor(), set()
    now = 0
    while True:
        page = next_page([entry for visible_at, entry in results if visible_at <= now], cursor, limit)
        seen |= {entry.key for entry in page.entries}
        cursor = page.cursor
        if now > 20 and not page.more:
            break
        # Time may pass between two pages of a sweep, too.
        now += data.draw(st.integers(0, 3), label="pause") if now <= 20 else 0
        if not page.more and now <= 20:
            now += 1
    assert seen == {entry.key for _visible_at, entry in results}
