"""The entry point for WSGI servers: ``gunicorn --config python:web_tier.gunicorn_config web_tier.wsgi:app``."""

from __future__ import annotations

import logging
import os

from flask import Flask

from aws.batch_index import BatchIndex
from aws.buckets import ImageStore, ResultStore
from aws.clients import Clients
from aws.queue import JobQueue
from aws.response_queue import ResponseQueue
from aws.state import StateStore
from core import log_format
from core.settings import Settings
from web_tier import FETCH_THREADS, STORE_THREADS, create_app
from web_tier.gunicorn_config import threads
from web_tier.security import audit_log


def _create() -> Flask:
    log_format.configure()
    audit_log.to_stream()
    # At INFO it logs where it found each credential and endpoint.
    logging.getLogger("botocore").setLevel(logging.WARNING)
    settings = Settings.from_environment(os.environ)
    clients = Clients(max_connections=threads + STORE_THREADS + FETCH_THREADS)
    app = create_app(
        settings,
        ImageStore(clients["s3"], settings.input_bucket, settings.max_image_bytes),
        ResultStore(clients["s3"], settings.output_bucket),
        JobQueue(clients["sqs"], settings.queue_name),
        BatchIndex(clients["s3"], settings.input_bucket),
        StateStore(clients["s3"], settings.state_bucket),
        responses=ResponseQueue(clients["sqs"], settings.response_queue_name) if settings.response_queue_name else None,
    )
    # Gunicorn forks its processes after this: they share memory, but must not share a connection.
    clients.close()
    return app


app = _create()
