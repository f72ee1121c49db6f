"""What the service reports of itself: models, fleet, readiness, metrics, and the page to try the API."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from core.errors import CloudError
from core.fleet_status import FleetStatus, InstanceStatus
from core.heartbeat import Heartbeat, key_of
from core.prices import load_prices
from tests.bundles import SHIPPED_NAME
from tests.web import JPEG, WebBench


@pytest.fixture
def bench() -> WebBench:
    return WebBench()


def status(*instance_ids: str) -> FleetStatus:
    instances = tuple(InstanceStatus(one, f"app-tier-{one}", "running", 0.0) for one in instance_ids)
    return FleetStatus(1.0, "c", "", 0, 15, 2.0, 0.03, False, 30.0, None, 0.0, 0.0, 0, None, instances)


@pytest.mark.parametrize("path", ["/readyz", "/%72eadyz", "/metrics", "/metric%73"])
def test_readiness_and_metrics_are_for_requests_that_come_directly(path: str) -> None:
    behind = WebBench(forwarded_proxies=1, authentication="tokens")
    forwarded = {"X-Forwarded-For": "203.0.113.7"}
    admin = behind.token("ops", "admin", "read")
    assert behind.client.get(path, headers={**forwarded, **admin}).status_code == 404
    assert behind.client.get(path, headers=admin).status_code == 200
    assert behind.client.get("/healthz", headers=forwarded).status_code == 200


def test_the_fleet_is_reported_as_the_controller_reported_it(bench: WebBench) -> None:
    response = bench.client.get("/api/v1/fleet")
    assert (response.status_code, json.loads(response.data)["detail"]) == (404, "no controller has reported yet")
    other = WebBench()
    other.state.put("controller/status.json", status("i-1").encode())
    reported = other.get("/api/v1/fleet")
    costs = reported.pop("costs")
    assert reported == {**json.loads(json.dumps(asdict(status("i-1")))), "remarks": []}
    assert costs["standing"]["usd_per_hour"] == load_prices().standing_usd_per_hour
    assert costs["compute"] == {"usd_per_hour": None, "usd_per_1000_images": None}


def test_what_a_newer_controller_says_is_not_understood_and_no_error(bench: WebBench) -> None:
    bench.state.put("controller/status.json", b'{"v": 99}')
    assert bench.client.get("/api/v1/fleet").status_code == 404


def test_many_questions_about_the_fleet_are_one_to_s3(bench: WebBench) -> None:
    bench.state.put("controller/status.json", status().encode())
    for _number in range(20):
        bench.get("/api/v1/fleet")
    assert bench.state.count("get") <= 2


def test_models_are_those_that_living_workers_report(bench: WebBench) -> None:
    bench.state.put("controller/status.json", status("i-1", "i-2", "i-3").encode())
    beats = {"i-1": SHIPPED_NAME, "i-2": SHIPPED_NAME, "i-3": "other@2", "i-dead": "other@2"}
    for instance_id, model in beats.items():
        bench.state.put(key_of(instance_id), Heartbeat(1.0, 0.0, model).encode())
    found = {model["model"]: model for model in bench.get("/api/v1/models")["models"]}
    assert {name: (model["workers"], model["default"]) for name, model in found.items()} == {
        SHIPPED_NAME: (2, True),
        "other@2": (1, False),
    }
    assert len(found[SHIPPED_NAME]["labels"]) == 1000


def test_a_machine_without_the_bundle_reports_what_workers_report() -> None:
    bench = WebBench(model_bundle="nowhere")
    bench.state.put("controller/status.json", status("i-1").encode())
    bench.state.put(key_of("i-1"), Heartbeat(1.0, 0.0, "other@2").encode())
    assert bench.get("/api/v1/models")["models"] == [{"model": "other@2", "workers": 1, "default": False}]


@pytest.mark.parametrize(
    ("store", "method", "sentence"),
    [
        ("images", "check", "the bucket of images does not answer"),
        ("results", "check", "the bucket of results does not answer"),
        ("queue", "backlog", "the queue does not answer"),
    ],
)
def test_readiness_names_what_is_missing(bench: WebBench, store: str, method: str, sentence: str) -> None:
    getattr(bench, store).fail_next(method, error=CloudError("secret endpoint"))
    response = bench.client.get("/readyz")
    assert (response.status_code, response.content_type) == (503, "application/problem+json")
    assert json.loads(response.data)["detail"] == sentence
    assert bench.client.get("/healthz").status_code == 200


def test_probes_ask_the_cloud_once_a_second_at_most(bench: WebBench) -> None:
    for _number in range(50):
        assert bench.get("/readyz") == {"status": "ready"}
    assert bench.queue.count("backlog") <= 2


def metrics(bench: WebBench) -> dict[str, float]:
    response = bench.client.get("/metrics")
    assert response.mimetype == "text/plain"
    lines = [line for line in response.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_metrics_count_requests_and_files(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    bench.upload(batch_id, [("a.jpg", JPEG), ("empty.jpg", b""), ("c.jpg", b"no image")])
    bench.client.get("/nowhere/at/all")
    bench.client.open("/", method="PURGE")
    found = metrics(bench)
    assert found['eic_upload_files_total{outcome="accepted"}'] == 1
    assert (
        found['eic_rejected_files_total{code="empty"}'] == found['eic_rejected_files_total{code="not_an_image"}'] == 1
    )
    assert found["eic_upload_bytes_total"] == len(JPEG) + len(b"no image")
    route = 'method="POST",route="/api/v1/batches/<batch_id>/images"'
    assert found[f'eic_requests_total{{{route},status="200"}}'] == 1
    assert found[f"eic_request_seconds_count{{{route}}}"] == 1
    assert found['eic_requests_total{method="GET",route="none",status="404"}'] == 1
    assert not any(batch_id in name or "PURGE" in name for name in found), "labels must not grow without end"


def test_the_page_to_try_the_api_has_scripts_of_its_own_only(bench: WebBench) -> None:
    page = bench.client.get("/api/v1/docs")
    policy = page.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy and "connect-src 'self'" in policy
    assert "unsafe" not in bench.client.get("/").headers["Content-Security-Policy"]
    for line in page.text.splitlines():
        for attribute in ('src="', 'href="'):
            if attribute in line:
                path = line.partition(attribute)[2].partition('"')[0]
                assert path.startswith("/") and bench.client.get(path).status_code == 200, path


def test_requests_are_described_with_all_ways_to_send_an_image(bench: WebBench) -> None:
    document = bench.get("/api/v1/openapi.json")
    body: dict[str, Any] = document["paths"]["/api/v1/classify"]["post"]["requestBody"]["content"]
    assert set(body) == {"multipart/form-data", "application/json", "application/octet-stream", "image/*"}
    image = document["components"]["schemas"]["Base64Image"]
    assert set(image["properties"]) == {"name", "data"} and image["required"] == ["data"]
