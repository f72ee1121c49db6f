"""What is kept of a batch beside its images: one small JSON object in the input bucket."""

from __future__ import annotations

from dataclasses import dataclass

from core.versioned_json import Record, record

_MAX_BYTES = 16 * 1024


@record("the record of a batch", version=None, max_bytes=_MAX_BYTES)
@dataclass(frozen=True, slots=True)
class BatchRecord(Record):
    """What is known of a batch when it is created, and whether it was cancelled since.

    Attributes:
        created_at: ISO 8601, in UTC.
        owner: whose it is; None in a record of a time when batches had no owners.
        name: as its owner calls it; may be empty.
    """

    created_at: str = ""
    owner: str | None = None
    name: str = ""
    cancelled: bool = False
