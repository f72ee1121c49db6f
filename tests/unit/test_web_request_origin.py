"""Forged requests: which origin a request that changes something may name, and who needs to name one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.web import JPEG, WebBench, form
from web_tier.security.request_origin import refusal

OWN = "https://photos.example"


@pytest.mark.parametrize(
    ("method", "site", "origin", "own_origin", "with_cookie", "allowed"),
    [
        # What changes nothing is open to links from everywhere.
        ("GET", "cross-site", None, OWN, True, True),
        ("HEAD", "cross-site", "https://evil.example", OWN, True, True),
        ("OPTIONS", "cross-site", "https://evil.example", OWN, True, True),
        # Sec-Fetch-Site decides where there is one.
        ("POST", "same-origin", OWN, OWN, True, True),
        ("POST", "same-origin", None, OWN, True, True),
        ("POST", "same-origin", OWN, "http://photos.example", True, True),  # TLS ends in a proxy that does not say so
        ("POST", "none", None, OWN, True, True),
        ("POST", "cross-site", None, OWN, True, False),
        ("POST", "cross-site", OWN, OWN, True, False),
        ("POST", "same-site", OWN, OWN, True, False),
        ("POST", "cross-site", "https://evil.example", OWN, False, False),
        ("POST", "something new", OWN, OWN, True, False),
        ("POST", "", OWN, OWN, True, False),
        ("POST", "SAME-ORIGIN", OWN, OWN, True, False),
        ("DELETE", "cross-site", None, OWN, False, False),
        ("PUT", "same-site", None, OWN, False, False),
        ("get", "cross-site", None, OWN, True, False),  # methods are case-sensitive
        # Without it the whole origin is compared: scheme, host and port.
        ("POST", None, OWN, OWN, True, True),
        ("DELETE", None, OWN, OWN, True, True),
        ("POST", None, "HTTPS://Photos.Example", OWN, True, True),
        ("POST", None, OWN, "https://PHOTOS.example", True, True),
        ("POST", None, "http://localhost:8080", "http://localhost:8080", True, True),
        ("POST", None, "http://[::1]:8080", "http://[::1]:8080", True, True),
        ("POST", None, "http://photos.example", OWN, True, False),
        ("POST", None, OWN, "http://photos.example", True, False),
        ("POST", None, "https://photos.example:8443", OWN, True, False),
        ("POST", None, "http://localhost:9999", "http://localhost:8080", True, False),
        ("POST", None, "http://localhost", "http://127.0.0.1", True, False),
        ("POST", None, "https://sub.photos.example", OWN, True, False),
        ("POST", None, "https://photos.example.evil.example", OWN, True, False),
        ("POST", None, "https://evil.example/https://photos.example", OWN, True, False),
        ("POST", None, "https://photos.example@evil.example", OWN, True, False),
        ("POST", None, "https://evil.example", OWN, False, False),
        ("POST", None, "null", OWN, True, False),
        ("POST", None, "null", OWN, False, False),
        ("POST", None, "", OWN, True, False),
        ("POST", None, "", OWN, False, False),
        ("POST", None, f"{OWN}/", OWN, True, False),
        ("POST", None, f"{OWN}, https://evil.example", OWN, True, False),
        # A program, or a browser from before 2020.
        ("POST", None, None, OWN, False, True),
        ("DELETE", None, None, OWN, False, True),
        ("POST", None, None, OWN, True, False),
        ("DELETE", None, None, OWN, True, False),
    ],
)
def test_requests_that_pass(
    method: str, site: str | None, origin: str | None, own_origin: str, with_cookie: bool, allowed: bool
) -> None:
    reason = refusal(method, site, origin, own_origin, origin_required=with_cookie)
    assert (reason is None) == allowed, reason


@given(st.text(max_size=30), st.booleans())
def test_no_other_origin_than_our_own_passes(origin: str, origin_required: bool) -> None:
    allowed = refusal("POST", None, origin, OWN, origin_required=origin_required) is None
    assert allowed == (origin.lower() == OWN)


@pytest.mark.parametrize("path", ["/batches", "/api/v1/batches"])
@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}, True),
        ({"Origin": "http://localhost"}, True),
        ({"Host": "localhost:8080", "Origin": "http://localhost:8080"}, True),
        ({"Host": "localhost:8080", "Origin": "http://localhost"}, False),
        ({"Origin": "https://localhost"}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
    ],
)
def test_a_page_of_another_site_cannot_post(path: str, headers: dict[str, str], allowed: bool) -> None:
    bench = WebBench()
    body: dict[str, Any] = {"data": form([("a.jpg", JPEG)])} if path == "/batches" else {"json": {}}
    response = bench.client.post(path, headers=headers, **body)
    assert (response.status_code < 400) == allowed
    assert bool(bench.images.batches) == allowed
    if not allowed:
        assert response.status_code == 403


@pytest.mark.parametrize(
    ("forwarded_proxies", "headers", "status"),
    [
        (1, {"Origin": "https://photos.example", "X-Forwarded-Proto": "https"}, 201),
        (1, {"Origin": "http://photos.example", "X-Forwarded-Proto": "https"}, 403),
        (1, {"Origin": "https://photos.example"}, 403),
        # Nothing in front: any client can write this header, so it is not believed.
        (0, {"Origin": "https://photos.example", "X-Forwarded-Proto": "https"}, 403),
        (0, {"Origin": "http://photos.example", "X-Forwarded-Proto": "https"}, 201),
    ],
)
def test_the_origins_scheme_is_the_one_that_the_load_balancer_reports(
    forwarded_proxies: int, headers: dict[str, str], status: int
) -> None:
    bench = WebBench(authentication="tokens", trusted_hosts="photos.example", forwarded_proxies=forwarded_proxies)
    sent = {**bench.token("ada"), **headers, "Host": "photos.example"}
    assert bench.client.post("/api/v1/batches", headers=sent).status_code == status


def test_reading_is_open_to_links_from_elsewhere() -> None:
    assert WebBench().client.get("/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200
