"""Headers on every answer, and requests that another site's page sends are refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.web import JPEG, WebBench, form

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bench() -> WebBench:
    return WebBench()


@pytest.mark.parametrize("path", ["/", "/healthz", "/api/v1/limits", "/static/app.css", "/nothing", "/api/v1/nothing"])
def test_every_answer_has_the_security_headers(bench: WebBench, path: str) -> None:
    headers = bench.client.get(path).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize("path", ["/batches", "/api/v1/batches"])
@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Origin": "http://localhost"}, True),
        ({"Origin": "https://localhost"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "http://localhost:9999"}, False),
        ({"Origin": "http://localhost.evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": ""}, False),
    ],
)
def test_a_page_of_another_site_cannot_post(bench: WebBench, path: str, headers: dict[str, str], allowed: bool) -> None:
    response = bench.client.post(path, data=form([("a.jpg", JPEG)]), headers=headers)
    assert (response.status_code < 400) == allowed
    assert bool(bench.images.batches) == allowed
    if not allowed:
        assert response.status_code == 403


def test_reading_is_open_to_links_from_elsewhere(bench: WebBench) -> None:
    assert bench.client.get("/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


def test_templates_have_no_inline_script_or_style_and_escape_everything() -> None:
    for path in (ROOT / "templates").glob("*.html"):
        text = path.read_text()
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)|\|\s*safe\b", text), path.name


def test_the_page_is_small_and_complete_in_itself() -> None:
    files = [*(ROOT / "static").iterdir(), *(ROOT / "templates").iterdir()]
    assert sum(path.stat().st_size for path in files) < 100_000
    for path in files:
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//cdn|@import|innerHTML|insertAdjacentHTML|document\.write", text), path.name
