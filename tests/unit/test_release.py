"""A worker learns what it is to be, gets its model, and says so where it cannot work."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app_tier.bundle import load_bundle
from app_tier.classifier import Classifier
from app_tier.decode import DecodedImage, DecodeLimits, decode_file
from app_tier.heartbeat import report_failure
from app_tier.release import FETCH_SECONDS, Assignment, assignment, find_bundle
from app_tier.smoke_test import smoke_test
from aws.in_memory import ManualClock
from aws.metadata import ENDPOINT_VARIABLE, InstanceMetadata, MetadataUnavailableError
from aws.models import ModelError
from core.errors import BundleError, CloudError
from core.heartbeat import Heartbeat
from core.releases import FIRST, MODEL_TAG, NUMBER_TAG, Release
from local_cloud.metadata_service import MetadataService
from tests.bundles import SHIPPED, SHIPPED_NAME


@pytest.fixture
def service() -> Iterator[MetadataService]:
    service = MetadataService()
    yield service
    service.close()


def test_an_instance_reads_from_its_tags_what_it_is_to_be(service: MetadataService) -> None:
    service.set_tags("i-1", Release(3, "ami-1", "m@2").tags | {"Name": "app-tier-1"})
    service.set_tags("i-2", FIRST.tags)
    seen = [InstanceMetadata({ENDPOINT_VARIABLE: service.endpoint(f"i-{number}")}) for number in (1, 2, 3)]
    found = [assignment(metadata, threading.Event(), ManualClock()) for metadata in seen]
    assert found == [Assignment(3, "m@2"), Assignment(0, ""), Assignment(0, "")]
    assert MODEL_TAG not in FIRST.tags


class Slow:
    """A metadata service that does not answer so many times."""

    def __init__(self, times: float) -> None:
        self.times = times

    def tag(self, key: str) -> str | None:
        self.times -= 1
        if self.times >= 0:
            raise MetadataUnavailableError("no answer in time")
        return {NUMBER_TAG: "7"}.get(key)


class Stop(threading.Event):
    """Waiting takes no time but the clock's."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self.clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        self.clock.advance(timeout or 0)
        return False


def test_a_metadata_service_that_is_slow_is_asked_again() -> None:
    clock = ManualClock()
    assert assignment(Slow(3), Stop(clock), clock) == Assignment(7, "")
    with pytest.raises(CloudError, match="tags cannot be read"):
        assignment(Slow(math.inf), Stop(clock), clock)


class Models:
    def __init__(self, *answers: Path | Exception) -> None:
        self.answers = list(answers)

    def fetch(self, full_name: str, cache: Path, baked_in: Path | None = None) -> Path:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def fetch(models: Models, clock: ManualClock, model: str = "m@2") -> Path:
    return find_bundle(model, Path("baked"), Path("cache"), models, Stop(clock), clock)


def test_a_store_that_is_away_for_a_moment_is_asked_again() -> None:
    away = CloudError("S3 is away")
    assert fetch(Models(away, away, Path("folder")), ManualClock()) == Path("folder")
    assert fetch(Models(), ManualClock(), model="") == Path("baked")
    with pytest.raises(CloudError):
        fetch(Models(*[away] * int(FETCH_SECONDS + 5)), ManualClock())
    with pytest.raises(ModelError):
        fetch(Models(ModelError("unknown"), Path("folder")), ManualClock())


@pytest.mark.parametrize("error", [CloudError("S3 is away"), RuntimeError("a fault")])
def test_a_worker_that_cannot_work_says_why_until_it_is_stopped(error: Exception) -> None:
    reported: list[bytes] = []
    stop = threading.Event()

    def put(body: bytes) -> None:
        reported.append(body)
        if len(reported) == 2:
            raise error  # which is no reason to give up
        if len(reported) == 3:
            stop.set()

    report_failure(put, Assignment(4, "m@2"), "it is broken", 0.001, stop)
    beats = [Heartbeat.decode(body) for body in reported]
    assert {(beat.release, beat.model, beat.failure) for beat in beats} == {(4, "m@2", "it is broken")}
    assert len(beats) == 3
    reported.clear()
    report_failure(put, Assignment(), "it is broken", 0.001, threading.Event(), patience_seconds=0.0)
    assert len(reported) == 1


def test_the_smoke_test_names_a_label_and_refuses_what_is_no_probability(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = load_bundle(SHIPPED)
    classifier = Classifier(bundle, 1, 1)

    def decode(body: bytes) -> DecodedImage:
        return decode_file(body, bundle.input.height, bundle.input.width, DecodeLimits(10**7, 10**7, 1000))

    assert smoke_test(classifier, decode) in bundle.labels
    count = len(bundle.labels)
    for bad in (np.full(count, np.nan), np.zeros(count), np.full(count, 1.0)):
        monkeypatch.setattr(classifier, "probabilities", lambda _images, bad=bad: np.array([bad], np.float32))
        with pytest.raises(BundleError, match=f"smoke test of {SHIPPED_NAME} failed"):
            smoke_test(classifier, decode)
