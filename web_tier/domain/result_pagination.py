"""Pages and cursors of a batch's results: which of them are new to a client.

S3 stamps objects with whole seconds, and an object may be listed a little after its stamp.  A client has therefore
received everything before `OVERLAP_SECONDS` ahead of the newest stamp that it has seen, and for each second since then
its cursor says what it has received.  So nothing is missed, and no result is delivered twice, unless it is stored again
or the response with the next cursor is lost.
"""

from __future__ import annotations

import base64
import zlib
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from aws.buckets import StoredObject
from core.errors import DecodeError, ElasticError
from core.jobs import position_of
from core.versioned_json import Count, Row, decode_record, encode_record, record

OVERLAP_SECONDS = 2
# Servers and proxies limit a request's first line to 4 KiB and more.
MAX_CURSOR_CHARACTERS = 3000
_MAX_DECODED_BYTES = 64 * 1024


class CursorError(ElasticError):
    """the cursor was not issued by this service"""


@dataclass(frozen=True, slots=True)
class Delivered(Row):
    """The delivered results among those of one second.

    Attributes:
        runs: their positions as the lengths of gaps and runs, in turn: ``(3, 2, 4, 1)`` are 3, 4 and 9.
        checksum: of their keys and entity tags.  Where it differs, at least one of them is another one now.
    """

    second: Count
    runs: tuple[Count, ...]
    checksum: Count


@record("a cursor", version=None, max_bytes=_MAX_DECODED_BYTES)
@dataclass(frozen=True, slots=True)
class Cursor(Row):
    """What a client has received: all results stamped before `since`, and since then those in `delivered`."""

    since: Count = 0
    delivered: tuple[Delivered, ...] = ()

    def encode(self) -> str:
        """The cursor as clients send it back: URL-safe and opaque."""
        packed = zlib.compress(encode_record(self), 9)
        return base64.urlsafe_b64encode(packed).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> Cursor:
        """Reads what `encode` wrote; an empty text is the beginning.

        Raises:
            CursorError: `text` was not written by `encode`.
        """
        if not text:
            return cls()
        try:
            packed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            if packed.startswith(b"["):
                return decode_record(_EarlierCursor, packed).converted()
            return decode_record(cls, zlib.decompressobj().decompress(packed, _MAX_DECODED_BYTES))
        except (ValueError, zlib.error, DecodeError) as error:
            raise CursorError from error


@record("a cursor", version=None, max_bytes=1024)
@dataclass(frozen=True, slots=True)
class _EarlierCursor(Row):
    """A cursor of version 0.2, which a page may hold while the web tier is updated."""

    seconds: Count
    key: str
    newest_seconds: Count | None

    def converted(self) -> Cursor:
        newest = self.seconds if self.newest_seconds is None else max(0, self.newest_seconds - OVERLAP_SECONDS)
        return Cursor(min(self.seconds, newest))


@dataclass(frozen=True, slots=True)
class PageOfResults:
    """Some results, oldest first, the cursor to continue with, and whether there are more at this moment."""

    entries: Sequence[StoredObject]
    cursor: Cursor
    more: bool


def next_page(results: Sequence[StoredObject], cursor: Cursor, limit: int) -> PageOfResults:
    """The first `limit` of `results` that `cursor` does not include."""
    recent = sorted((entry for entry in results if _second_of(entry) >= cursor.since), key=_order)
    received = _received(recent, cursor)
    fresh = [entry for entry in recent if entry.key not in received]
    page, more = fresh[:limit], len(fresh) > limit
    received.update(entry.key for entry in page)
    since = _second_of(recent[-1]) - OVERLAP_SECONDS if recent else 0
    if more:
        since = min(since, _second_of(page[-1]))
    since = max(since, cursor.since)
    kept = [entry for entry in recent if _second_of(entry) >= since]
    following = Cursor(since, _delivered([entry for entry in kept if entry.key in received]))
    if len(following.encode()) > MAX_CURSOR_CHARACTERS:
        # A shorter one for thousands of scattered positions: what is before the page's end, without the gaps in it.
        # Results may be repeated then: later ones that were received, and all of a second that gets a late one.
        before = [entry for entry in kept if not more or _order(entry) <= _order(page[-1])]
        following = Cursor(since, _delivered(before, gaps=False))
    return PageOfResults(page, following, more)


def _received(recent: Iterable[StoredObject], cursor: Cursor) -> set[str]:
    """The keys of the results that a cursor includes; none of a second in which one of them was stored again."""
    by_second = _by_second(recent)
    keys: set[str] = set()
    for delivered in cursor.delivered:
        bounds = list(accumulate(delivered.runs))
        # In a run, not in a gap: at an odd place among the bounds.
        entries = [e for e in by_second.get(delivered.second, ()) if bisect_right(bounds, position_of(e.key)) % 2]
        if _checksum(entries) == delivered.checksum:
            keys.update(entry.key for entry in entries)
    return keys


def _delivered(entries: Iterable[StoredObject], *, gaps: bool = True) -> tuple[Delivered, ...]:
    return tuple(
        Delivered(second, _runs((position_of(entry.key) for entry in included), gaps=gaps), _checksum(included))
        for second, included in _by_second(entries).items()
    )


def _runs(positions: Iterable[int], *, gaps: bool) -> tuple[int, ...]:
    """The lengths of gaps and runs, in turn, of positions; without `gaps`, one run from 0 to the last position."""
    bounds: list[int] = []
    for position in sorted(set(positions)):
        if bounds and (position == bounds[-1] or not gaps):
            bounds[-1] = position + 1
        else:
            bounds += [position if gaps else 0, position + 1]
    return tuple(end - start for start, end in pairwise([0, *bounds]))


def _checksum(entries: Iterable[StoredObject]) -> int:
    return zlib.crc32("\n".join(sorted(f"{entry.key} {entry.etag}" for entry in entries)).encode())


def _by_second(entries: Iterable[StoredObject]) -> dict[int, list[StoredObject]]:
    grouped: dict[int, list[StoredObject]] = defaultdict(list)
    for entry in entries:
        grouped[_second_of(entry)].append(entry)
    return grouped


def _second_of(entry: StoredObject) -> int:
    return int(entry.last_modified.timestamp())


def _order(entry: StoredObject) -> tuple[int, str]:
    return _second_of(entry), entry.key
