"""The web tier: takes in images, enqueues their jobs, shows the results."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from flask import Flask
from PIL import Image

from aws.buckets import ImageStore, ResultStore
from aws.queue import JobQueue
from core.settings import Settings
from web_tier import api, failures, pages, request_log, security
from web_tier.batches import BatchService
from web_tier.services import EXTENSION, Services
from web_tier.uploads import UploadService

# Threads of a process that wait for S3, besides those of the server that wait for clients.
STORE_THREADS = 16
FETCH_THREADS = 16

_ROOT = Path(__file__).resolve().parent.parent


def create_app(settings: Settings, images: ImageStore, results: ResultStore, queue: JobQueue) -> Flask:
    """The application, ready to serve; opens nothing by itself."""
    app = Flask(__name__, template_folder=str(_ROOT / "templates"), static_folder=str(_ROOT / "static"))
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.jinja_options = {**app.jinja_options, "trim_blocks": True, "lstrip_blocks": True}
    store = ThreadPoolExecutor(STORE_THREADS, thread_name_prefix="store")
    fetch = ThreadPoolExecutor(FETCH_THREADS, thread_name_prefix="fetch")
    app.extensions[EXTENSION] = Services(
        settings=settings,
        images=images,
        uploads=UploadService(settings, images, results, queue, store),
        batches=BatchService(images, results, fetch),
    )
    _set_up_pillow(settings.max_image_pixels)
    request_log.init_app(app)
    security.init_app(app)
    failures.init_app(app)
    app.register_blueprint(pages.blueprint)
    app.register_blueprint(api.blueprint)
    return app


def _set_up_pillow(max_pixels: int) -> None:
    # Pillow's own limit would otherwise cap ours.
    Image.MAX_IMAGE_PIXELS = max_pixels
    # It warns of odd metadata and of many pixels; our checks decide, and a stranger's file must not fill the log.
    warnings.filterwarnings("ignore", module=r"PIL\.")
