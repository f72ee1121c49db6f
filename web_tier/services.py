"""What the views work with; `create_app` puts one object of it on the application."""

from __future__ import annotations

from dataclasses import dataclass

from flask import current_app

from aws.buckets import ImageStore, ResultStore
from aws.state import StateStore
from aws.tokens import UsageStore
from core.settings import Settings
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
from web_tier.single import SingleImages
from web_tier.uploads import UploadService

EXTENSION = "web_tier"


@dataclass(frozen=True, slots=True)
class Services:
    """Settings, the stores, and what the web tier does with them; all safe to share between threads."""

    settings: Settings
    images: ImageStore
    results: ResultStore
    state: StateStore
    uploads: UploadService
    direct: DirectUploads
    batches: BatchService
    endings: Endings
    single: SingleImages
    answers: AnswerWatch
    hub: BatchHub
    fleet: FleetReader
    readiness: Readiness
    metrics: Metrics
    tokens: KnownTokens
    ended_sessions: Known[bool]
    usage: UsageStore
    rates: Rates

    def close(self) -> None:
        """Ends what would go on for long, because the server is about to stop."""
        self.readiness.close()
        self.hub.close()
        self.answers.close()


def services() -> Services:
    """The services of the application that handles the current request."""
    found: Services = current_app.extensions[EXTENSION]
    return found
