"""What may be seen by whom.  Every view that is about a batch comes through here, and through nothing else.

Who asks is found out by `web_tier.auth.identity`; without authentication everybody is the one local owner.
"""

from __future__ import annotations

from typing import Any

from flask import abort
from werkzeug.exceptions import Unauthorized

from core.errors import NotFoundError
from core.jobs import batch_of, is_key
from web_tier.auth.identity import LOCAL_OWNER, identity
from web_tier.domain.batches import Batch, BatchCancelledError
from web_tier.services import services


def owner() -> str:
    """Whose batches the current request may see, and to whom a new one belongs."""
    found = identity()
    if found is None:
        raise Unauthorized("an access token is needed")
    return found.owner


def owner_in(record: dict[str, Any]) -> str:
    """Whose batch a record is about; records of older batches do not say it."""
    return str(record.get("owner", LOCAL_OWNER))


def record_of(batch_id: str, *, fresh: bool = False) -> dict[str, Any]:
    """The record of a batch that the requester may see and change.

    Args:
        fresh: ask S3 although the record is known: it may have been deleted.

    Raises:
        NotFoundError: there is no such batch, or it is somebody else's: the two look the same.
    """
    return _own(services().batches.record(batch_id, fresh=fresh))


def _own(record: dict[str, Any]) -> dict[str, Any]:
    if owner_in(record) != owner():
        raise NotFoundError("there is no such batch")
    return record


def batch(batch_id: str) -> Batch:
    """A batch that the requester may see, as it is now.

    Raises:
        NotFoundError: as for `record_of`.
    """
    record_of(batch_id)
    return services().batches.read(batch_id)


def check_key(key: str) -> None:
    """Checks that the requester may see the image or the result under `key`.

    Raises:
        NotFoundError: it is no key, or its batch is not the requester's.
    """
    if not is_key(key):
        raise NotFoundError("there is no such image")
    record_of(batch_of(key))


def open_batch(batch_id: str) -> dict[str, Any]:
    """The record of a batch to which the requester may add images; see `BatchService.open_record`.

    Raises:
        NotFoundError: as for `record_of`.
        Conflict: it has been cancelled.
    """
    try:
        record = services().batches.open_record(batch_id)
    except BatchCancelledError as error:
        # Whose it is decides whether its state may be told.
        record_of(batch_id)
        abort(409, str(error))
    return _own(record)
