"""The record of a batch: one small JSON object in the input bucket, beside the batch's images."""

from __future__ import annotations

from dataclasses import dataclass

from core.versioned_json import Record, record

_MAX_BYTES = 16 * 1024


@record("the record of a batch", version=None, max_bytes=_MAX_BYTES)
@dataclass(frozen=True, slots=True)
class BatchRecord(Record):
    """A batch's owner, name and time of creation, and whether it was cancelled.

    Attributes:
        created_at: ISO 8601, in UTC.
        owner: None in a record that was written before batches had owners.
        name: the name that its owner gave it; may be empty.
        listed: whether it is in its owner's list; those that single images share are not.
    """

    created_at: str = ""
    owner: str | None = None
    name: str = ""
    cancelled: bool = False
    listed: bool = True
