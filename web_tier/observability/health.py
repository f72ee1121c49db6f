"""Health, readiness and metrics endpoints for operators and load balancers."""

from __future__ import annotations

from flask import Blueprint, Response, abort, request
from flask.typing import ResponseReturnValue

from web_tier.auth.identity import identity
from web_tier.errors import try_again
from web_tier.services import services

blueprint = Blueprint("operations", __name__)


@blueprint.before_request
def refuse_clients_of_a_proxy() -> None:
    """Respond with 404 to what a trusted proxy forwards, but to the liveness: readiness and metrics are for operators.

    A proxy's own rule on paths compares the path as it was sent, so that ``/%72eadyz`` would pass.
    """
    is_forwarded = services().settings.forwarded_proxies > 0 and "X-Forwarded-For" in request.headers
    if is_forwarded and request.endpoint != f"{blueprint.name}.{health.__name__}":
        abort(404)


@blueprint.get("/healthz")
def health() -> ResponseReturnValue:
    """Liveness: this process serves requests, whatever the state of the cloud behind it."""
    return {"status": "ok"}


@blueprint.get("/readyz")
def ready() -> ResponseReturnValue:
    """Readiness: S3 and SQS answer this process."""
    problems = services().readiness.problems()
    if not problems:
        return {"status": "ready"}
    # Which service does not answer is shown to authenticated clients only.
    return try_again("; ".join(problems) if identity() is not None else "not ready")


@blueprint.get("/metrics")
def metrics() -> ResponseReturnValue:
    """Prometheus metrics of all processes of this machine."""
    body, media_type = services().metrics.exposition()
    return Response(body, content_type=media_type)
