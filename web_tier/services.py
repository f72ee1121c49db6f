"""The service objects that views use; `create_app` stores them on the application."""

from __future__ import annotations

from dataclasses import dataclass

from flask import current_app

from aws.buckets import ImageStore, ResultStore
from aws.state import StateStore
from aws.tokens import UsageStore
from core.periodic_task import StopSignal
from core.settings import Settings
from web_tier.auth.rate_limits import RateLimits
from web_tier.auth.token_cache import TokenCache
from web_tier.domain.batch_lifecycle import BatchLifecycle
from web_tier.domain.batch_watcher import BatchWatcher
from web_tier.domain.batches import BatchService
from web_tier.domain.bulk_control import BulkControl
from web_tier.domain.bulk_reader import BulkReader
from web_tier.domain.fleet_reader import FleetReader
from web_tier.domain.memory import MemoryBudget
from web_tier.domain.presigned_uploads import PresignedUploads
from web_tier.domain.response_reader import ResponseReader
from web_tier.domain.result_waiter import ResultWaiter
from web_tier.domain.single_image import SingleImages
from web_tier.domain.upload_service import UploadService
from web_tier.observability.metrics import Metrics
from web_tier.observability.readiness import Readiness
from web_tier.ttl_cache import TTLCache

EXTENSION = "web_tier"


@dataclass(frozen=True, slots=True)
class Services:
    """Settings, stores and the services built on them; all safe to share between threads."""

    settings: Settings
    images: ImageStore
    results: ResultStore
    state: StateStore
    uploads: UploadService
    presigned_uploads: PresignedUploads
    batches: BatchService
    lifecycle: BatchLifecycle
    single_images: SingleImages
    result_waiter: ResultWaiter
    response_reader: ResponseReader | None
    watcher: BatchWatcher
    fleet: FleetReader
    bulk: BulkReader
    bulk_control: BulkControl
    readiness: Readiness
    metrics: Metrics
    tokens: TokenCache
    ended_sessions: TTLCache[[str], bool]
    usage: UsageStore
    rate_limits: RateLimits
    json_memory: MemoryBudget
    image_memory: MemoryBudget

    def start(self, stop: StopSignal) -> None:
        """Starts what runs beside the requests of this process, until `stop` is set."""
        if self.response_reader is not None:
            self.response_reader.start(stop)

    def close(self) -> None:
        """Ends event streams and waiting requests, and reports the process as not ready, before the server stops."""
        self.readiness.close()
        self.watcher.close()
        self.result_waiter.close()


def services() -> Services:
    """The services of the application that handles the current request."""
    found: Services = current_app.extensions[EXTENSION]
    return found
