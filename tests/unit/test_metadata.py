"""Workers learn who they are, and that EC2 takes the instance back, from the metadata service."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import requests

from app_tier.interruption import watch_for_interruption
from aws.metadata import DISABLED_VARIABLE, ENDPOINT_VARIABLE, InstanceMetadata, MetadataUnavailableError
from local_cloud.metadata_service import MetadataService
from tests.waiting import PATIENCE_SECONDS


@pytest.fixture(scope="module")
def service() -> Iterator[MetadataService]:
    service = MetadataService()
    yield service
    service.close()


def metadata_of(service: MetadataService, instance_id: str) -> InstanceMetadata:
    return InstanceMetadata({ENDPOINT_VARIABLE: service.endpoint(instance_id)})


def test_an_instance_knows_its_id(service: MetadataService) -> None:
    assert metadata_of(service, "i-1").instance_id() == "i-1"


def test_the_service_wants_a_session_token(service: MetadataService) -> None:
    assert (
        requests.get(f"{service.endpoint('i-1')}/latest/meta-data/instance-id", timeout=PATIENCE_SECONDS).status_code
        == 401
    )


@pytest.mark.parametrize(
    ("notice", "reason"), [("interrupt", "spot interruption notice"), ("rebalance", "rebalance recommendation")]
)
def test_a_notice_stops_the_worker_of_that_instance_only(service: MetadataService, notice: str, reason: str) -> None:
    stop, other = threading.Event(), threading.Event()
    metadata = metadata_of(service, f"i-{notice}")
    assert metadata.interruption() is None
    watch_for_interruption(metadata, stop, poll_seconds=0.01)
    watch_for_interruption(metadata_of(service, "i-other"), other, poll_seconds=0.01)
    assert not stop.wait(0.1)
    body = {"action": "terminate", "time": "2026-01-01T00:00:00Z"}
    requests.post(f"{service.endpoint(f'i-{notice}')}/{notice}", json=body, timeout=PATIENCE_SECONDS)
    assert stop.wait(5) and not other.is_set()
    other.set()
    assert str(metadata.interruption()).startswith(reason)


def test_an_expired_token_is_renewed(service: MetadataService) -> None:
    metadata = metadata_of(service, "i-1")
    metadata._token = "expired"
    assert metadata.instance_id() == "i-1"


@pytest.mark.parametrize(
    "environment",
    [{DISABLED_VARIABLE: "true"}, {ENDPOINT_VARIABLE: "http://127.0.0.1:9"}],
    ids=["disabled", "no service"],
)
def test_off_ec2_there_is_no_metadata(environment: dict[str, str]) -> None:
    metadata = InstanceMetadata(environment)
    with pytest.raises(MetadataUnavailableError):
        metadata.instance_id()


@pytest.mark.parametrize("error", [MetadataUnavailableError("away"), RuntimeError("a fault")])
def test_a_look_that_fails_does_not_end_the_watch(error: Exception) -> None:
    class Failing:
        looks = 0

        def interruption(self) -> str | None:
            self.looks += 1
            if self.looks < 3:
                raise error
            return "spot interruption notice"

    stop = threading.Event()
    watch_for_interruption(Failing(), stop, poll_seconds=0.001)  # type: ignore[arg-type]
    assert stop.wait(10)
