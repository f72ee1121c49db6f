"""Prometheus metrics: requests, uploads, viewers and waiting requests.

Under gunicorn a request for /metrics reaches one of several processes.  Where ``PROMETHEUS_MULTIPROC_DIR`` is set, as
`web_tier.gunicorn_config` does, each process writes its metrics into files there, and /metrics sums up all of them.
"""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager

from flask import Flask, Response, g, request

from web_tier.domain.upload_service import UploadReport

DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_LATENCY_BUCKETS_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Metrics:
    """The metrics of one application."""

    def __init__(self) -> None:
        # Imported here: on its import the library chooses between files and memory.
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self._registry = CollectorRegistry()
        self._requests = Counter("eic_requests", "requests", ("method", "route", "status"), registry=self._registry)
        self._latency = Histogram(
            "eic_request_seconds",
            "time until an answer begins",
            ("method", "route"),
            buckets=_LATENCY_BUCKETS_SECONDS,
            registry=self._registry,
        )
        self._files = Counter("eic_upload_files", "uploaded files", ("outcome",), registry=self._registry)
        self._bytes = Counter("eic_upload_bytes", "bytes of uploaded files", registry=self._registry)
        self._rejected = Counter("eic_rejected_files", "files refused at once", ("code",), registry=self._registry)
        self._viewers = Gauge(
            "eic_event_viewers", "viewers of events", registry=self._registry, multiprocess_mode="livesum"
        )
        self._waiting = Gauge(
            "eic_waiting_requests",
            "requests that wait for an answer",
            registry=self._registry,
            multiprocess_mode="livesum",
        )

    def init_app(self, app: Flask) -> None:
        """Counts the requests to `app`."""
        app.after_request(self._count_request)

    def reported(self, report: UploadReport) -> None:
        """Counts the files of a request by what became of them, and their bytes."""
        self._bytes.inc(report.received_bytes)
        self._files.labels("accepted").inc(len(report.accepted))
        self._files.labels("rejected").inc(len(report.rejected))
        self._files.labels("not_stored").inc(len(report.not_stored))
        for file in report.rejected:
            self._rejected.labels(file.failure.code).inc()

    def viewing(self) -> AbstractContextManager[None]:
        """Counts a viewer of events for the duration of the context."""
        return self._viewers.track_inprogress()

    def waiting(self) -> AbstractContextManager[None]:
        """Counts a request that waits for its result for the duration of the context."""
        return self._waiting.track_inprogress()

    def exposition(self) -> tuple[bytes, str]:
        """All metrics in Prometheus' text format, and its media type."""
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest, multiprocess

        registry = self._registry
        if os.environ.get(DIRECTORY_VARIABLE):
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry), CONTENT_TYPE_LATEST

    def _count_request(self, response: Response) -> Response:
        # The rule, not the path: ids in labels would grow without bound.
        route = request.url_rule.rule if request.url_rule is not None else "none"
        # Clients can send any word as the method.
        method = request.method if request.method in ("GET", "HEAD", "POST", "DELETE", "OPTIONS") else "other"
        self._requests.labels(method, route, str(response.status_code)).inc()
        if "started_seconds" in g:
            self._latency.labels(method, route).observe(time.monotonic() - g.started_seconds)
        return response
