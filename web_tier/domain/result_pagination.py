"""Pages and cursors of a batch's results: which of them are new to a client.

S3 stamps objects with whole seconds, and an object may be listed a little after its stamp.  A client
therefore *sweeps*: it follows pages, oldest results first, until there is no more, and its next sweep begins
`OVERLAP_SECONDS` before the newest result that was known when this one began.  Nothing is missed; a few
results come twice, which clients recognise by their key.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from aws.buckets import StoredObject
from core.errors import DecodeError, ElasticError
from core.versioned_json import Row, decode_record, encode_record, record

OVERLAP_SECONDS = 2
# S3's longest key has 1,024 bytes; ours are far shorter.
_MAX_CURSOR_BYTES = 1024


class CursorError(ElasticError):
    """the cursor was not issued by this service"""


@record("a cursor", version=None, max_bytes=_MAX_CURSOR_BYTES)
@dataclass(frozen=True, slots=True)
class Cursor(Row):
    """A client's position in its sweep.

    Results after (`seconds`, `key`) in the order of their stamps are still to come; `newest_seconds` is the
    newest stamp that the sweep saw when it began, None between two sweeps.
    """

    seconds: int = 0
    key: str = ""
    newest_seconds: int | None = None

    def encode(self) -> str:
        """The cursor as clients send it back: URL-safe and opaque."""
        return base64.urlsafe_b64encode(encode_record(self)).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> Cursor:
        """Reads what `encode` wrote; an empty text is the beginning.

        Raises:
            CursorError: `text` was not written by `encode`.
        """
        if not text:
            return cls()
        try:
            return decode_record(cls, base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        except (ValueError, DecodeError) as error:
            raise CursorError from error


@dataclass(frozen=True, slots=True)
class PageOfResults:
    """Some results, oldest first, the cursor to continue with, and whether there are more at this moment."""

    entries: Sequence[StoredObject]
    cursor: Cursor
    more: bool


def next_page(results: Sequence[StoredObject], cursor: Cursor, limit: int) -> PageOfResults:
    """The first `limit` of `results` after `cursor`."""
    stamped = sorted((_seconds(entry), entry.key, entry) for entry in results)
    fresh = [item for item in stamped if item[:2] > (cursor.seconds, cursor.key)]
    page, more = fresh[:limit], len(fresh) > limit
    newest = cursor.newest_seconds
    if newest is None:
        newest = stamped[-1][0] if stamped else 0
    following = Cursor(page[-1][0], page[-1][1], newest) if more else Cursor(max(0, newest - OVERLAP_SECONDS))
    return PageOfResults([entry for *_stamp, entry in page], following, more)


def _seconds(entry: StoredObject) -> int:
    return int(entry.last_modified.timestamp())
