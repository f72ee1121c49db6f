"""Batches over the API: create, list, read, cancel, delete."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from flask import abort, url_for

from core.errors import ConflictError
from core.jobs import is_batch_id
from core.webhooks import PendingWebhook, WebhookError, check_url, new_secret, secret_bytes
from web_tier.api.openapi import Answer, api_blueprint, json_body
from web_tier.api.request_body import read_json
from web_tier.api.schemas import (
    BatchAnswer,
    BatchList,
    BatchPath,
    Cancelled,
    Created,
    ListQuery,
    NewBatch,
    Webhook,
)
from web_tier.auth import authorization, batch_creation, batch_endings
from web_tier.domain.batch_state import counts, state_of
from web_tier.domain.batches import Batch
from web_tier.security import audit_log
from web_tier.services import services

blueprint = api_blueprint("api_batches", __name__)


@blueprint.post("/batches", responses={201: Created}, openapi_extensions=json_body(blueprint, NewBatch, required=False))
def create_batch() -> Answer:
    """Creates an empty batch.

    With a webhook, its completion is reported to an https address by a signed request (Standard Webhooks).
    """
    wanted = read_json(NewBatch, optional=True)
    secret = _check_webhook(wanted.webhook) if wanted.webhook is not None else None
    found = services()
    batch_id = batch_creation.create_batch(wanted.name, wanted.announced)
    fields = {
        "batch_id": batch_id,
        "url": url_for("pages.batch", batch_id=batch_id),
        "images_url": url_for("api_images.add_images", batch_id=batch_id),
        "results_url": url_for("api_results.results", batch_id=batch_id),
        "events_url": url_for("api_events.events", batch_id=batch_id),
    }
    if wanted.webhook is not None and secret is not None:
        pending = PendingWebhook(batch_id, wanted.webhook.url, secret, time.time())
        # The id is new: after a conflict, a retry within botocore has met its own first attempt.
        with contextlib.suppress(ConflictError):
            found.state.create(pending.key, pending.encode())
        fields["webhook_secret"] = secret
    return fields, 201, {"Location": url_for("api_batches.batch", batch_id=batch_id)}


@blueprint.get("/batches", responses={200: BatchList})
def list_batches(query: ListQuery) -> Answer:
    """Lists your batches, newest first, without their counts."""
    if query.cursor and not is_batch_id(query.cursor):
        abort(400, "the cursor was not issued by this service")
    page = services().batches.page(authorization.owner(), query.limit, query.cursor)
    return {
        "batches": [
            {
                "batch_id": batch_id,
                "name": record.name,
                "created_at": record.created_at,
                "url": url_for("pages.batch", batch_id=batch_id),
            }
            for batch_id, record in page.batches
        ],
        "next_cursor": page.after or None,
    }


@blueprint.get("/batches/<batch_id>", responses={200: BatchAnswer})
def batch(path: BatchPath) -> Answer:
    """A batch's state and counts."""
    return _fields(authorization.batch(path.batch_id))


@blueprint.post("/batches/<batch_id>/cancel", responses={200: Cancelled})
def cancel_batch(path: BatchPath) -> Answer:
    """Cancels a batch: every image without a result gets the failure `cancelled`, and no more images are accepted.

    Repeating it is harmless.  An image that a worker is processing at this moment may still be classified.
    """
    cancelled = services().lifecycle.cancel(authorization.batch(path.batch_id))
    services().batches.invalidate_open(path.batch_id)
    audit_log.record("batch_cancelled", batch_id=path.batch_id, cancelled=cancelled)
    return {"batch_id": path.batch_id, "cancelled": cancelled, **counts(authorization.batch(path.batch_id))}


@blueprint.post("/batches/<batch_id>/close", responses={200: BatchAnswer})
def close_batch(path: BatchPath) -> Answer:
    """Closes a batch: no more announced images are expected; it is complete when all that have come are answered.

    Repeating it is harmless.  Images may still be added.
    """
    batch_endings.close_batch(path.batch_id)
    return _fields(authorization.batch(path.batch_id))


@blueprint.delete("/batches/<batch_id>", responses={204: None})
def delete_batch(path: BatchPath) -> Answer:
    """Deletes a batch with its images, results and everything else.

    Repeating it is harmless: the batch is then unknown.
    """
    batch_endings.delete_batch(path.batch_id)
    return "", 204


def _fields(found: Batch) -> dict[str, Any]:
    return {
        "batch_id": found.batch_id,
        "name": found.name,
        "created_at": found.created_at,
        "state": state_of(found, services().fleet.known_status()),
        **counts(found),
    }


def _check_webhook(webhook: Webhook) -> str:
    """Checks a webhook; returns the secret to sign its requests with."""
    try:
        check_url(webhook.url, allow_private=bool(services().settings.webhook_allow_private))
        secret = webhook.secret or new_secret()
        secret_bytes(secret)
    except WebhookError as error:
        abort(422, str(error))
    return secret
