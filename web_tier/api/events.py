"""Server-sent events of a batch's progress over the API."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from flask import Response, request, stream_with_context

from aws.buckets import StoredObject
from web_tier.api.openapi import Answer, answer_of, api_blueprint
from web_tier.api.schemas import BatchPath, ResultsQuery
from web_tier.auth import authorization
from web_tier.domain.batch_watcher import Watch, WatchFailedError
from web_tier.domain.event_stream import RETRY_MILLISECONDS, Viewer, event, split_event_id
from web_tier.domain.result_fields import result_fields
from web_tier.domain.result_pagination import Cursor
from web_tier.services import Services, services

# Interval of comments, which keep proxies from closing the connection and reveal clients that are gone.
HEARTBEAT_SECONDS = 15.0
# Browsers reconnect by themselves, so that abandoned connections do not pile up.
LIFETIME_SECONDS = 300.0

blueprint = api_blueprint("api_events", __name__)

_STREAM = answer_of("text/event-stream", "events: lines `event:`, `id:` and `data:`, which is JSON, then an empty line")


@blueprint.get(
    "/batches/<batch_id>/events",
    responses={200: _STREAM, 204: None},
)
def events(path: BatchPath, query: ResultsQuery) -> Answer:
    """Streams new results, counts and the fleet's state as they change.

    The events are `started`, at once, `results`, `state`, `fleet`, `complete` and `deleted`; the stream ends after the
    last two, and after five minutes in any case.  `Last-Event-ID` or `cursor` say where to continue; `204` means that
    nothing follows.
    """
    cursor, answered = split_event_id(request.headers.get("Last-Event-ID") or query.cursor)
    authorization.record_of(path.batch_id, fresh=True)
    found = services()
    if answered is not None and not _more_than(path.batch_id, answered):
        # After 204 a browser does not reconnect.
        return "", 204
    stack = ExitStack()
    watch = stack.enter_context(found.watcher.watch(path.batch_id))
    stack.enter_context(found.metrics.viewing())
    response = Response(stream_with_context(_stream(found, watch, cursor, stack)), mimetype="text/event-stream")
    # Proxies would otherwise hold events back: to fill a buffer (nginx), or to compress them.
    response.headers["X-Accel-Buffering"] = "no"
    response.headers["Cache-Control"] = "no-store, no-transform"
    response.call_on_close(stack.close)
    return response


def _more_than(batch_id: str, answered: int) -> bool:
    current = authorization.batch(batch_id)
    return not current.complete or current.answered != answered


def _stream(found: Services, watch: Watch, cursor: Cursor, stack: ExitStack) -> Iterator[str]:
    viewer = Viewer(cursor, lambda entries: _render(found, entries))
    ends_at = time.monotonic() + LIFETIME_SECONDS
    version = 0
    with stack:
        # The event says to the viewer that nothing on the way holds events back, before there is anything to report.
        yield f"retry: {RETRY_MILLISECONDS}\n{event('started', {})}"
        while not watch.closed and (left := ends_at - time.monotonic()) > 0:
            try:
                snapshot = watch.wait(version, min(HEARTBEAT_SECONDS, left))
            except WatchFailedError:
                return  # viewers come back by themselves, and get an error where it is a lasting one
            if snapshot is None:
                yield ": still here\n\n"
                continue
            version = snapshot.version
            yield from viewer.events(snapshot)
            if snapshot.batch is None or snapshot.batch.complete:
                return


def _render(found: Services, entries: Sequence[StoredObject]) -> list[dict[str, Any]]:
    unsure_below = found.settings.unsure_below
    return [result_fields(result, unsure_below) for result in found.batches.fetch(entries)]
