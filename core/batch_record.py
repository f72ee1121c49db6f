"""The record of a batch: one small JSON object in the input bucket, beside the batch's images."""

from __future__ import annotations

from dataclasses import dataclass

from core.versioned_json import Count, Record, Seconds, record

_MAX_BYTES = 16 * 1024
# Announced images are no longer expected when nothing of the batch has changed for this long: a batch whose upload was
# given up is then complete.  Its upload can be resumed all the same, which announces the rest again.
ABANDONED_AFTER_SECONDS = 3600.0


@record("the record of a batch", version=None, max_bytes=_MAX_BYTES)
@dataclass(frozen=True, slots=True)
class BatchRecord(Record):
    """A batch's owner, name and time of creation, what was announced, and whether it was cancelled.

    Attributes:
        created_at: ISO 8601, in UTC.
        owner: None in a record that was written before batches had owners.
        name: the name that its owner gave it; may be empty.
        listed: whether it is in its owner's list; those that single images share are not.
        announced: how many images the batch will have in all; 0: not announced, so every image may be the last.
        announced_at: when that was written, in seconds since the epoch.
        closed: whether its owner expects no more of the announced images.
    """

    created_at: str = ""
    owner: str | None = None
    name: str = ""
    cancelled: bool = False
    listed: bool = True
    announced: Count = 0
    announced_at: Seconds = 0.0
    closed: bool = False

    def missing(self, accepted: int, changed_at: float, now: float) -> int:
        """How many of the announced images are still expected.

        Args:
            accepted: how many images the batch has.
            changed_at: when the last image or result was stored, in seconds since the epoch; 0 if there is none.
            now: the time, in seconds since the epoch.
        """
        abandoned = now - max(self.announced_at, changed_at) > ABANDONED_AFTER_SECONDS
        if self.cancelled or self.closed or abandoned:
            return 0
        return max(0, self.announced - accepted)
