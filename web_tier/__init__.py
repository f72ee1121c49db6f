"""The web tier: takes in images, enqueues their jobs, shows the results."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from flask import Flask
from PIL import Image
from werkzeug.middleware.proxy_fix import ProxyFix

from aws.batch_index import BatchIndex
from aws.buckets import ImageStore, ResultStore
from aws.queue import JobQueue
from aws.state import StateStore
from aws.tokens import TokenStore, UsageStore
from core.settings import Settings
from web_tier import (
    api_batches,
    api_classify,
    api_events,
    api_images,
    api_results,
    api_system,
    authentication,
    compat,
    documents,
    failures,
    fleet_pages,
    operations,
    pages,
    request_log,
    security,
    sessions,
    sign_in,
)
from web_tier.answers import AnswerWatch
from web_tier.batches import BatchService
from web_tier.direct import DirectUploads
from web_tier.endings import Endings
from web_tier.fleet import FleetReader
from web_tier.hub import BatchHub
from web_tier.known_tokens import Known, KnownTokens
from web_tier.metrics import Metrics
from web_tier.rates import Rates
from web_tier.readiness import Readiness
from web_tier.sender import JobSender
from web_tier.services import EXTENSION, Services
from web_tier.single import SingleImages
from web_tier.uploads import UploadService

API_VERSION = "1.1.0"
# Threads of a process that wait for S3, besides those of the server that wait for clients.
STORE_THREADS = 16
FETCH_THREADS = 16
# Of the server's threads (see `web_tier.gunicorn_config`), how many may be kept by viewers and by waiting requests;
# the rest is for uploads and everything else.
MAX_VIEWERS = 256
MAX_WAITING = 192

_ROOT = Path(__file__).resolve().parent.parent
_API = (api_batches, api_images, api_results, api_events, api_classify, api_system)
_OTHERS = (pages, sign_in, fleet_pages, compat, operations, documents)


def create_app(
    settings: Settings,
    images: ImageStore,
    results: ResultStore,
    queue: JobQueue,
    index: BatchIndex,
    state: StateStore,
) -> Flask:
    """The application, ready to serve; opens nothing by itself.

    Raises:
        CloudError: with authentication, the key of the session cookies is in S3, and S3 failed.
    """
    app = documents.open_api(
        __name__, API_VERSION, template_folder=str(_ROOT / "templates"), static_folder=str(_ROOT / "static")
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.jinja_options = {**app.jinja_options, "trim_blocks": True, "lstrip_blocks": True}
    services = _services(settings, images, results, queue, index, state)
    app.extensions[EXTENSION] = services
    _set_up_pillow(settings.max_image_pixels)
    request_log.init_app(app)
    services.metrics.init_app(app)
    security.init_app(app)
    if settings.authentication != "off":
        sessions.init_app(app, sessions.session_key(settings, state))
    authentication.init_app(app)
    failures.init_app(app)
    for part in _API:
        app.register_api(part.blueprint)
    for other in _OTHERS:
        app.register_blueprint(other.blueprint)
    if count := settings.forwarded_proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=count, x_proto=count)  # type: ignore[method-assign]
    return app


def _services(
    settings: Settings,
    images: ImageStore,
    results: ResultStore,
    queue: JobQueue,
    index: BatchIndex,
    state: StateStore,
) -> Services:
    store = ThreadPoolExecutor(STORE_THREADS, thread_name_prefix="store")
    fetch = ThreadPoolExecutor(FETCH_THREADS, thread_name_prefix="fetch")
    uploads = UploadService(settings, images, results, JobSender(queue), store)
    batches = BatchService(images, results, index, fetch)
    answers = AnswerWatch(results, MAX_WAITING)
    fleet = FleetReader(state)
    return Services(
        settings=settings,
        images=images,
        results=results,
        state=state,
        uploads=uploads,
        direct=DirectUploads(settings, images, results, uploads, store),
        batches=batches,
        endings=Endings(images, results, index, store),
        single=SingleImages(batches, uploads, answers, results.get),
        answers=answers,
        hub=BatchHub(batches.read, fleet.known_status, MAX_VIEWERS),
        fleet=fleet,
        readiness=Readiness(images, results, queue),
        metrics=Metrics(),
        tokens=KnownTokens(TokenStore(state).find),
        ended_sessions=Known(lambda session_id: sessions.has_ended(state, session_id)),
        usage=UsageStore(state),
        rates=Rates(settings),
    )


def _set_up_pillow(max_pixels: int) -> None:
    # Pillow's own limit would otherwise cap ours.
    Image.MAX_IMAGE_PIXELS = max_pixels
    # It warns of odd metadata and of many pixels; our checks decide, and a stranger's file must not fill the log.
    warnings.filterwarnings("ignore", module=r"PIL\.")
