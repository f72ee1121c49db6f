"""Closing and deletion of a client's batch, from the API or from its page, recorded in the audit log."""

from __future__ import annotations

from core.webhooks import PendingWebhook
from web_tier.auth import authorization
from web_tier.security import audit_log
from web_tier.services import services


def close_batch(batch_id: str) -> None:
    """Closes a batch: no more announced images are expected.  Repeating it is harmless.

    Raises:
        NotFoundError: there is no such batch, or another owner has it.
        CloudError: S3 failed.
    """
    authorization.record_of(batch_id, fresh=True)
    found = services()
    found.lifecycle.close(batch_id)
    found.batches.invalidate_open(batch_id)
    audit_log.record("batch_closed", batch_id=batch_id)


def delete_batch(batch_id: str) -> None:
    """Deletes a batch with its images, its results and everything else.

    Raises:
        NotFoundError: there is no such batch, or no longer, or another owner has it.
        CloudError: S3 failed; repeating it completes what is left.
    """
    record = authorization.record_of(batch_id, fresh=True)
    found = services()
    found.lifecycle.delete(batch_id, authorization.owner_in(record))
    found.batches.invalidate_open(batch_id)
    found.state.delete(PendingWebhook(batch_id, "", "", 0.0).key)
    audit_log.record("batch_deleted", batch_id=batch_id)
