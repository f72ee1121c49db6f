"""The web tier: accepts uploads, enqueues their jobs, shows the results."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from flask import Flask

from aws.batch_index import BatchIndex
from aws.buckets import ImageStore, ResultStore
from aws.bulk_requests import BulkRequests
from aws.bulk_runs import BulkRunRecords
from aws.queue import JobQueue
from aws.response_queue import ResponseQueue
from aws.state import StateStore
from aws.tokens import TokenStore, UsageStore
from core.paths import REPOSITORY_ROOT
from core.settings import Settings
from web_tier import errors
from web_tier.api import batches as api_batches
from web_tier.api import bulk as api_bulk
from web_tier.api import classify as api_classify
from web_tier.api import events as api_events
from web_tier.api import images as api_images
from web_tier.api import openapi, request_body
from web_tier.api import results as api_results
from web_tier.api import system as api_system
from web_tier.auth import identity, sessions
from web_tier.auth.rate_limits import RateLimits
from web_tier.auth.token_cache import CACHE_SECONDS, TokenCache
from web_tier.domain.batch_lifecycle import BatchLifecycle
from web_tier.domain.batch_watcher import BatchWatcher
from web_tier.domain.batches import BatchService
from web_tier.domain.bulk_control import BulkControl
from web_tier.domain.bulk_reader import BulkReader
from web_tier.domain.fleet_reader import FleetReader
from web_tier.domain.job_batcher import JobBatcher
from web_tier.domain.memory import MemoryBudget
from web_tier.domain.presigned_uploads import PresignedUploads
from web_tier.domain.response_reader import ResponseReader
from web_tier.domain.result_waiter import ResultWaiter
from web_tier.domain.single_image import SingleImages
from web_tier.domain.upload_service import UploadService
from web_tier.languages import choice
from web_tier.observability import health, request_log
from web_tier.observability.metrics import Metrics
from web_tier.observability.readiness import Readiness
from web_tier.pages import batches as batch_pages
from web_tier.pages import bulk as bulk_pages
from web_tier.pages import compat, sign_in
from web_tier.pages import fleet as fleet_pages
from web_tier.security import body_limits, client_timeout, forwarded, request_origin, response_headers, trusted_hosts
from web_tier.services import EXTENSION, Services
from web_tier.ttl_cache import TTLCache

# The HTTP API's own version, apart from the program's in pyproject.toml: clients depend on the API alone.  A minor
# version adds, a patch version corrects; what breaks clients gets another base path.  See RELEASE.md.
API_VERSION = "1.3.0"
# Threads of a process that wait for S3, besides the server's threads that wait for clients.
STORE_THREADS = 16
FETCH_THREADS = 16
# Of the server's threads (see `web_tier.gunicorn_config`), how many event streams and waiting requests may occupy;
# the rest is for uploads and everything else.
MAX_VIEWERS = 256
MAX_WAITING = 192
# Memory of a process for JSON bodies above 64 KiB, and for images on their way to viewers; benchmarks/web_limits.py
# measures what a process takes at most.
JSON_MEMORY_BYTES = 256 * 1024 * 1024
IMAGE_MEMORY_BYTES = 128 * 1024 * 1024

_API = (api_batches, api_images, api_results, api_events, api_classify, api_system, api_bulk)
_OTHERS = (batch_pages, sign_in, fleet_pages, bulk_pages, compat, health, openapi)


def create_app(
    settings: Settings,
    images: ImageStore,
    results: ResultStore,
    queue: JobQueue,
    index: BatchIndex,
    state: StateStore,
    clock: Callable[[], float] = time.monotonic,
    responses: ResponseQueue | None = None,
) -> Flask:
    """Creates the WSGI application; it sends no request to the cloud but the one for the session key.

    Args:
        clock: monotonic seconds, by which cached values expire.
        responses: the response queue, if workers send answers to one.

    Raises:
        CloudError: with authentication, S3 failed while the key of the session cookies was read.
    """
    app = openapi.open_api(
        __name__,
        API_VERSION,
        template_folder=str(REPOSITORY_ROOT / "templates"),
        static_folder=str(REPOSITORY_ROOT / "static"),
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.jinja_options = {**app.jinja_options, "trim_blocks": True, "lstrip_blocks": True}
    services = _services(settings, images, results, queue, index, state, clock, responses)
    app.extensions[EXTENSION] = services
    request_log.init_app(app)
    services.metrics.init_app(app)
    for protection in (body_limits, client_timeout, trusted_hosts, request_origin, response_headers):
        protection.init_app(app)
    if settings.authentication != "off":
        sessions.init_app(app, sessions.session_key(settings, state))
    choice.init_app(app, settings)
    identity.init_app(app)
    request_body.init_app(app)
    errors.init_app(app)
    for part in _API:
        app.register_api(part.blueprint)
    for other in _OTHERS:
        app.register_blueprint(other.blueprint)
    forwarded.init_app(app, settings.forwarded_proxies)
    return app


def _services(
    settings: Settings,
    images: ImageStore,
    results: ResultStore,
    queue: JobQueue,
    index: BatchIndex,
    state: StateStore,
    clock: Callable[[], float],
    responses: ResponseQueue | None,
) -> Services:
    store = ThreadPoolExecutor(STORE_THREADS, thread_name_prefix="store")
    fetch = ThreadPoolExecutor(FETCH_THREADS, thread_name_prefix="fetch")
    uploads = UploadService(settings, images, results, JobBatcher(queue), store)
    batches = BatchService(images, results, index, fetch, clock)
    result_waiter = ResultWaiter(results, MAX_WAITING)
    fleet = FleetReader(state, clock)
    bulk_runs, bulk_requests = BulkRunRecords(state), BulkRequests(state)
    starts_runs = settings.bulk_start == "web" and bool(settings.bulk_queue_name)
    return Services(
        settings=settings,
        images=images,
        results=results,
        state=state,
        uploads=uploads,
        presigned_uploads=PresignedUploads(settings, images, results, uploads, store),
        batches=batches,
        lifecycle=BatchLifecycle(images, results, index, store),
        single_images=SingleImages(batches, uploads, result_waiter, results.get),
        result_waiter=result_waiter,
        response_reader=None if responses is None else ResponseReader(responses, result_waiter),
        watcher=BatchWatcher(batches.read, fleet.known_status, MAX_VIEWERS),
        fleet=fleet,
        bulk=BulkReader(bulk_runs, bulk_requests if starts_runs else None, clock),
        bulk_control=BulkControl(bulk_requests, bulk_runs, is_enabled=starts_runs),
        readiness=Readiness(images, results, queue, clock),
        metrics=Metrics(),
        tokens=TokenCache(TokenStore(state).find, clock),
        ended_sessions=TTLCache(partial(sessions.has_ended, state), CACHE_SECONDS, clock=clock),
        usage=UsageStore(state),
        rate_limits=RateLimits(settings),
        json_memory=MemoryBudget(JSON_MEMORY_BYTES),
        image_memory=MemoryBudget(max(IMAGE_MEMORY_BYTES, settings.max_image_bytes)),
    )
