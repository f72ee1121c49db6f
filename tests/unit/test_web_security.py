"""Headers on every answer, and pages that load nothing from elsewhere."""

from __future__ import annotations

import re
from typing import Any

import pytest

from core.paths import REPOSITORY_ROOT
from tests.web import WebBench


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


# Inline styles and scripts, but for data, which browsers do not run; and text that is not escaped.
INLINE = re.compile(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\s(?:src=|type=\"application/json\"))|\|\s*safe\b")


def test_templates_have_no_inline_script_or_style_and_escape_everything() -> None:
    for path in (REPOSITORY_ROOT / "templates").glob("*.html"):
        text = path.read_text()
        assert not INLINE.search(text), path.name


def test_the_pages_are_complete_in_themselves() -> None:
    files = [*(REPOSITORY_ROOT / "static").iterdir(), *(REPOSITORY_ROOT / "templates").iterdir()]
    for path in files:
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//cdn|@import|innerHTML|insertAdjacentHTML|document\.write", text), path.name


@pytest.mark.parametrize(
    ("base_url", "headers", "settings", "secure"),
    [
        ("http://localhost", {}, {}, False),
        ("https://localhost", {}, {}, True),
        ("http://localhost", {"X-Forwarded-Proto": "https"}, {}, False),
        ("http://localhost", {"X-Forwarded-Proto": "https"}, {"forwarded_proxies": 1}, True),
    ],
)
def test_browsers_are_asked_to_stay_with_https(
    base_url: str, headers: dict[str, str], settings: dict[str, Any], secure: bool
) -> None:
    answer = WebBench(**settings).client.get("/healthz", base_url=base_url, headers=headers)
    assert answer.headers.get("Strict-Transport-Security") == (
        "max-age=31536000; includeSubDomains" if secure else None
    )


@pytest.mark.parametrize("path", ["/api/v1/planted", "/planted"])
def test_nothing_of_a_stack_trace_leaves(bench: WebBench, path: str) -> None:
    def planted() -> str:
        raise RuntimeError("a secret detail")

    bench.app.add_url_rule(path, "planted", planted)
    answer = bench.client.get(path)
    assert answer.status_code == 500 and "something went wrong on our side" in answer.text.lower()
    for trace in ("secret", "Traceback", "RuntimeError", "planted", ".py"):
        assert trace not in answer.text
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
