"""Requests about bulk runs, of the API and of the page: who asks is noted, and they may be switched off."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from flask import abort

from core.bulk_request import Action, BulkRequest
from core.errors import ArgumentError, ConflictError
from web_tier.auth import authorization
from web_tier.security import audit_log
from web_tier.services import services

_SWITCHED_OFF = "bulk runs are started by `elastic bulk` alone here; EIC_BULK_START=web allows it to page and API"


def require_enabled() -> None:
    """End the current request with 403 where requests are switched off."""
    if not services().bulk_control.is_enabled:
        abort(403, _SWITCHED_OFF)


def new() -> BulkRequest:
    """A request of the current client for a run with a new id."""
    return services().bulk_control.new_request(authorization.owner())


def start(request: BulkRequest) -> None:
    """Have a run started.

    Raises:
        ArgumentError: it could not be started whatever the controller may do.
    """
    require_enabled()
    services().bulk_control.start(request)
    _note("bulk_start_requested", request.run_id, source=request.source, output=request.output)


def cancel(run_id: str) -> None:
    """Have a run cancelled; ends the current request with 409 where that is not possible."""
    require_enabled()
    with _conflicts():
        services().bulk_control.cancel(run_id, authorization.owner())
    _note("bulk_cancel_requested", run_id)


def resume(run_id: str) -> None:
    """Have a run resumed; ends the current request with 409 where that is not possible."""
    require_enabled()
    with _conflicts():
        services().bulk_control.resume(run_id, authorization.owner())
    _note("bulk_resume_requested", run_id)


def to_start() -> list[BulkRequest]:
    """The requests for runs that the controller has not taken up yet, newest first."""
    return [request for request in services().bulk.requests() if is_startable(request)]


def is_startable(request: BulkRequest) -> bool:
    """Whether a request is one for a run, and no other program's, which the controller drops."""
    with contextlib.suppress(ArgumentError):
        return request.action is Action.START and bool(request.run().run_id)
    return False


@contextlib.contextmanager
def _conflicts() -> Iterator[None]:
    try:
        yield
    except (ArgumentError, ConflictError) as error:
        abort(409, str(error))


def _note(event: str, run_id: str, **details: str) -> None:
    services().bulk.invalidate()
    audit_log.record(event, run_id=run_id, **details)
