"""Behind a proxy with a path prefix: no page, script, document or redirect names a URL outside of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from werkzeug.test import TestResponse

from core.paths import REPOSITORY_ROOT
from tests.web import JPEG, WebBench, form

PREFIX = "/photos/of-all"
# How the web tier learns its prefix: from a trusted proxy, or from its WSGI server.
WAYS: dict[str, dict[str, Any]] = {
    "X-Forwarded-Prefix": {"headers": {"X-Forwarded-Prefix": PREFIX}},
    "X-Forwarded-Prefix, with a slash": {"headers": {"X-Forwarded-Prefix": f"{PREFIX}/"}},
    "SCRIPT_NAME": {"environ_overrides": {"SCRIPT_NAME": PREFIX}},
}
SCRIPTS = sorted((REPOSITORY_ROOT / "static").glob("*.js"))
# A literal that begins with a slash, except for the regular expressions of JavaScript, which no quote precedes.
ABSOLUTE_IN_SCRIPT = re.compile(r"""["'`]/[\w$]""")
ABSOLUTE_IN_TEMPLATE = re.compile(r"""=\s*["']/|=/(?!>)|url\(\s*["']?/""")


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> dict[str, Any]:
    return WAYS[request.param]


class _Attributes(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [(name, value) for name, value in attrs if value is not None]


def strings(value: Any) -> Iterator[str]:
    """All texts in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings(item)


def absolute_paths(response: TestResponse) -> list[str]:
    """Everything in a response that begins with a slash, as a URL of this host does."""
    found = [response.headers["Location"]] if "Location" in response.headers else []
    if response.mimetype == "text/html":
        parser = _Attributes()
        parser.feed(response.text)
        found += [value for _name, value in parser.found]
    elif response.mimetype == "application/json":
        found += strings(json.loads(response.text))
    elif response.mimetype == "text/css":
        found += re.findall(r"url\(['\"]?([^'\")]+)", response.text)
    return [text for text in found if text.startswith("/")]


def links(response: TestResponse, url: str) -> list[str]:
    """What a browser would load or offer of the page with this URL, as paths that begin with a slash."""
    if response.mimetype != "text/html":
        return []
    parser = _Attributes()
    parser.feed(response.text)
    wanted = [value for name, value in parser.found if name in ("href", "src") and not value.startswith("#")]
    return [urljoin(url, value) for value in wanted]


def check(response: TestResponse) -> None:
    assert response.status_code < 400, (response.request.path, response.status_code)
    outside = [path for path in absolute_paths(response) if not path.startswith(f"{PREFIX}/")]
    assert outside == [], response.request.path


def crawl(bench: WebBench, way: dict[str, Any], start: str) -> set[str]:
    """Follows every link and redirect from a page on, as the proxy does it; returns the paths, without the prefix."""
    waiting, seen = [f"{PREFIX}{start}"], set[str]()
    while waiting:
        url = waiting.pop()
        parts = urlsplit(url)
        assert parts.path.startswith(f"{PREFIX}/"), parts
        path = parts.path.removeprefix(PREFIX)
        if path in seen:
            continue
        seen.add(path)
        response = bench.client.get(path, query_string=parts.query, **way)
        check(response)
        waiting += links(response, url)
        if "Location" in response.headers:
            waiting.append(response.headers["Location"])
    return seen


def test_every_link_and_redirect_stays_below_the_prefix(way: dict[str, Any]) -> None:
    bench = WebBench(forwarded_proxies=1)
    files = [(f"{number}.jpg", JPEG) for number in range(40)]
    created = bench.client.post("/batches", data=form([*files, ("text.jpg", b"no image")]), **way)
    check(created)
    bench.answer()
    seen = crawl(bench, way, "/")
    batch = created.headers["Location"].removeprefix(PREFIX)
    assert {"/", "/fleet", "/api/v1/docs", "/static/batch.css", batch, f"{batch}/images/00000-0.jpg"} <= seen


def test_every_url_in_the_apis_answers_stays_below_the_prefix(way: dict[str, Any]) -> None:
    bench = WebBench(forwarded_proxies=1, classify_wait_seconds=0)
    created = bench.client.post("/api/v1/batches", **way)
    check(created)
    base = created.headers["Location"].removeprefix(PREFIX)
    for method, path, options in (
        ("POST", f"{base}/images", {"data": form([("a.jpg", JPEG)])}),
        ("GET", f"{base}/results/00000-a.jpg", {}),
        ("GET", "/api/v1/batches", {}),
        ("POST", "/api/v1/classify", {"data": JPEG, "content_type": "image/jpeg"}),
    ):
        check(bench.client.open(path, method=method, **options, **way))
    bench.answer()
    for path in (base, f"{base}/results", f"{base}/results.json"):
        check(bench.client.get(path, **way))
    document = bench.client.get("/api/v1/openapi.json", **way).get_json()
    assert document["servers"] == [{"url": PREFIX}]


def test_signing_in_leads_back_below_the_prefix(way: dict[str, Any]) -> None:
    bench = WebBench(forwarded_proxies=1, authentication="tokens")
    token = bench.token("ada")["Authorization"].removeprefix("Bearer ")
    asked = bench.client.get("/fleet", query_string={"a": 1}, **way)
    check(asked)
    shown = bench.client.get(asked.headers["Location"].removeprefix(PREFIX), **way)
    check(shown)
    for after in (re.findall(r'name="next" value="([^"]+)"', shown.text)[0], ""):
        origin = {"Sec-Fetch-Site": "same-origin", **way.get("headers", {})}
        options = {**way, "headers": origin}
        signed_in = bench.client.post("/sign-in", data={"token": token, "next": after}, **options)
        check(signed_in)
        assert signed_in.headers["Location"] == f"{PREFIX}/fleet?a=1" if after else f"{PREFIX}/"
        check(bench.client.post("/sign-out", **options))


def test_without_a_trusted_proxy_the_header_has_no_effect() -> None:
    page = WebBench().client.get("/", headers={"X-Forwarded-Prefix": PREFIX})
    assert PREFIX not in page.text


@pytest.mark.parametrize("prefix", ["//evil.example", "/\\evil.example", "https://evil.example", "/a b", "/%2F", "a"])
def test_a_prefix_that_is_no_path_is_refused(prefix: str) -> None:
    response = WebBench(forwarded_proxies=1).client.get("/", headers={"X-Forwarded-Prefix": prefix})
    assert response.status_code == 400
    assert "evil" not in response.text


# --- what the responses above may not show ---------------------------------------------------------


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_no_script_has_an_absolute_url(script: Any) -> None:
    lines = script.read_text("utf-8").splitlines()
    code = [line for line in lines if not line.lstrip().startswith("//")]
    assert [line for line in code if ABSOLUTE_IN_SCRIPT.search(line)] == []


def test_no_template_or_style_has_an_absolute_url() -> None:
    files = [*(REPOSITORY_ROOT / "templates").glob("*.html"), *(REPOSITORY_ROOT / "static").glob("*.css")]
    assert len(files) > 10
    found = [
        f"{path.name}: {line.strip()}"
        for path in files
        for line in path.read_text("utf-8").splitlines()
        if ABSOLUTE_IN_TEMPLATE.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("line", ['fetch("/healthz")', "open('GET', `/api/v1`)", "const url = '/x';"])
def test_an_absolute_url_in_a_script_is_found(line: str) -> None:
    assert ABSOLUTE_IN_SCRIPT.search(line)


@pytest.mark.parametrize("line", ['<a href="/fleet">', "<img src='/x.svg'>", "background: url(/x.svg)"])
def test_an_absolute_url_in_a_template_is_found(line: str) -> None:
    assert ABSOLUTE_IN_TEMPLATE.search(line)
