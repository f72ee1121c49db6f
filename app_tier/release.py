"""The release that an instance is assigned, and the model bundle of that release."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from aws.metadata import MetadataUnavailableError
from core.errors import CloudError
from core.releases import MODEL_TAG, NUMBER_TAG, Release

log = logging.getLogger(__name__)

# How long to retry fetching a model before the failure is reported, since S3 may be unavailable for a while.
FETCH_SECONDS = 60.0
FETCH_PAUSE_SECONDS = 1.0
TAGS_SECONDS = 30.0
TAGS_PAUSE_SECONDS = 0.2


class Tags(Protocol):
    """The methods used of `aws.metadata.InstanceMetadata`."""

    def tag(self, key: str) -> str | None: ...


class Models(Protocol):
    """The methods used of `aws.models.ModelStore`."""

    def fetch(self, full_name: str, cache: Path, baked_in: Path | None = None) -> Path: ...


@dataclass(frozen=True, slots=True)
class Assignment:
    """The release that an instance's tags assign to it: its number, and a model, or empty for the image's model."""

    release: int = 0
    model: str = ""


def assignment(metadata: Tags, stop: threading.Event, clock: Callable[[], float]) -> Assignment:
    """Read this instance's assignment; retry while the metadata service does not respond, as on a busy machine.

    Args:
        clock: monotonic seconds.

    Raises:
        CloudError: the metadata service did not respond in time.
    """
    deadline = clock() + TAGS_SECONDS
    while True:
        try:
            tags = {key: value for key in (NUMBER_TAG, MODEL_TAG) if (value := metadata.tag(key)) is not None}
            return Assignment(Release.number_of(tags), tags.get(MODEL_TAG, ""))
        except MetadataUnavailableError as error:
            if clock() > deadline or stop.wait(TAGS_PAUSE_SECONDS):
                raise CloudError(f"the instance's tags cannot be read: {error}") from error


def find_bundle(
    model: str,
    baked_in: Path,
    cache: Path,
    models: Models,
    stop: threading.Event,
    clock: Callable[[], float],
) -> Path:
    """Return the folder of the assigned model's bundle: `baked_in` if `model` is empty.

    Args:
        clock: monotonic seconds.

    Raises:
        ModelError: the store has no such model, or its files are damaged.
        CloudError: the store could not be reached in time.
    """
    if not model:
        return baked_in
    deadline = clock() + FETCH_SECONDS
    while True:
        try:
            return models.fetch(model, cache, baked_in)
        except CloudError as error:
            if clock() > deadline or stop.wait(FETCH_PAUSE_SECONDS):
                raise
            log.warning("%s; trying again", error)
