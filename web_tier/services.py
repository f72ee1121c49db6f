"""What the views work with; `create_app` puts one object of it on the application."""

from __future__ import annotations

from dataclasses import dataclass

from flask import current_app

from aws.buckets import ImageStore
from core.settings import Settings
from web_tier.batches import BatchService
from web_tier.uploads import UploadService

EXTENSION = "web_tier"


@dataclass(frozen=True, slots=True)
class Services:
    """Settings, the stored images, the upload service and the batches."""

    settings: Settings
    images: ImageStore
    uploads: UploadService
    batches: BatchService


def services() -> Services:
    """The services of the application that handles the current request."""
    found: Services = current_app.extensions[EXTENSION]
    return found
