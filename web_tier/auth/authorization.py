"""Access control by owner: which batches, images and results a client may use.

Every view that concerns a batch comes through here.  `web_tier.auth.identity` authenticates the client; without
authentication every client is the one local owner.
"""

from __future__ import annotations

from flask import abort
from werkzeug.exceptions import Unauthorized

from core.batch_record import BatchRecord
from core.errors import NotFoundError
from core.jobs import batch_of, is_key
from web_tier.auth.identity import LOCAL_OWNER, identity
from web_tier.domain.batches import Batch, BatchCancelledError
from web_tier.services import services


def owner() -> str:
    """The owner whose batches the current request may use, and to whom a new batch belongs."""
    found = identity()
    if found is None:
        raise Unauthorized("an access token is needed")
    return found.owner


def owner_in(record: BatchRecord) -> str:
    """The owner named in a batch's record; records from before authentication name none."""
    return LOCAL_OWNER if record.owner is None else record.owner


def record_of(batch_id: str, *, fresh: bool = False) -> BatchRecord:
    """The record of a batch that the client may read and change.

    Args:
        fresh: read it from S3 although it is cached: it may have been deleted.

    Raises:
        NotFoundError: there is no such batch, or another owner has it: clients cannot distinguish the two.
    """
    return _own(services().batches.record(batch_id, fresh=fresh))


def _own(record: BatchRecord) -> BatchRecord:
    if owner_in(record) != owner():
        raise NotFoundError("there is no such batch")
    return record


def batch(batch_id: str, *, fresh: bool = False) -> Batch:
    """The current state of a batch that the client may read.

    Args:
        fresh: as for `BatchService.read`.

    Raises:
        NotFoundError: as for `record_of`.
    """
    record_of(batch_id)
    return services().batches.read(batch_id, fresh=fresh)


def check_key(key: str) -> None:
    """Checks that the client may read the image or the result under `key`.

    Raises:
        NotFoundError: it is no key, or its batch is not the client's.
    """
    if not is_key(key):
        raise NotFoundError("there is no such image")
    record_of(batch_of(key))


def open_batch(batch_id: str) -> BatchRecord:
    """The record of a batch to which the client may add images; see `BatchService.open_record`.

    Raises:
        NotFoundError: as for `record_of`.
        Conflict: it has been cancelled.
    """
    try:
        record = services().batches.open_record(batch_id)
    except BatchCancelledError as error:
        # Other owners must not learn that it exists: 404 for them.
        record_of(batch_id)
        abort(409, str(error))
    return _own(record)
