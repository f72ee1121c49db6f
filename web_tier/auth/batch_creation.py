"""Creation of a client's batch, from the API or from the page: limited by owner, recorded in the audit log."""

from __future__ import annotations

from datetime import UTC, datetime

from web_tier.auth import authorization
from web_tier.security import audit_log
from web_tier.services import services


def create_batch(name: str = "", announced: int = 0) -> str:
    """Creates an empty batch of the current request's owner; returns its id.

    Raises:
        TooManyRequests: the owner has created too many in an hour.
        CloudError: S3 failed.
    """
    found, owner = services(), authorization.owner()
    if found.settings.authentication != "off":
        found.rate_limits.count_batch(owner)
    batch_id = found.batches.create(datetime.now(UTC), owner, name, announced=announced)
    audit_log.record("batch_created", batch_id=batch_id)
    return batch_id
