"""Malformed requests: every header of a request may hold anything, and the response is never 500."""

from __future__ import annotations

import base64
import io
import itertools
import json
import logging
import sys
import zlib
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http.body import ChunkedReader
from gunicorn.http.errors import ParseException
from gunicorn.http.unreader import IterUnreader
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import run_wsgi_app

from core.errors import CloudError
from core.log_format import FORMAT, OneLineFormatter
from tests.properties import examples
from tests.web import JPEG, WebBench
from web_tier.observability.gunicorn_log import OneLineLogger
from web_tier.security.forwarded import is_well_formed

BATCH = "20260101-000000-0123456789ab"
HEADERS = [
    "HTTP_HOST",
    "HTTP_ORIGIN",
    "HTTP_SEC_FETCH_SITE",
    "HTTP_AUTHORIZATION",
    "HTTP_COOKIE",
    "HTTP_LAST_EVENT_ID",
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_FORWARDED_PREFIX",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_ACCEPT",
    "HTTP_ACCEPT_LANGUAGE",
    "HTTP_IF_NONE_MATCH",
    "HTTP_IF_MODIFIED_SINCE",
    "HTTP_RANGE",
    "HTTP_EXPECT",
    "CONTENT_TYPE",
    "CONTENT_LENGTH",
    "QUERY_STRING",
    "PATH_INFO",
    "SCRIPT_NAME",
    "REMOTE_ADDR",
]


def packed(text: bytes, *, compressed: bool = True) -> str:
    return base64.urlsafe_b64encode(zlib.compress(text) if compressed else text).decode()


ODD = [
    "",
    "http://[",
    "http://[::1",
    "[",
    "[::1",
    "//[",
    "a" * 3000,
    "a" * 64 + ".example",
    "a..b",
    ".",
    "xn--a",
    "xn--" + "a" * 59,
    "localhost:99999999",
    "localhost:x",
    "\xff\xfe",
    "%00%ff",
    "a\x00b",
    "\u00e4".encode().decode("latin-1"),
    "-1",
    "9" * 5000,
    "1e999",
    "Bearer",
    "Bearer eic_" + "0" * 16 + "_" + "\xff" * 43,
    "eic_session=\xff; eic_session=a.b.c",
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "multipart/form-data; boundary=" + "x" * 3000,
    "multipart/form-data; boundary*=utf-8''%ff",
    "application/json; charset=nonsense",
    "bytes=-1-",
    "cursor=%ff&page=x&offset=1e9&wait_seconds=nan&limit=" + "9" * 5000,
    *(packed(b"[" * depth + b"]" * depth, compressed=zipped) for depth in (3000, 100_000) for zipped in (True, False)),
    packed(b"[" * 100_000),
    packed(b'["\\ud800",[]]'),
    packed(b"[1e999,[]]"),
    packed(b"9" * 5000),
    packed(b"\xff"),
    packed(bytes(5_000_000)),
    "/api/v1/batches/\xff\xfe/events",
    "/batches/" + "a/" * 500,
]


@pytest.fixture(scope="module")
def benches() -> list[WebBench]:
    """A web tier without authentication, and one with it behind a proxy."""
    limits: dict[str, Any] = dict.fromkeys(
        ("requests_per_minute", "stranger_requests_per_minute", "sign_ins_per_minute", "batches_per_hour"), 10**6
    )
    waits: dict[str, Any] = {"classify_wait_seconds": 0.0, "compat_wait_seconds": 0.0}
    open_bench = WebBench(**waits)
    return [open_bench, WebBench(authentication="tokens", forwarded_proxies=1, **waits, **limits)]


def routes(bench: WebBench) -> list[tuple[str, str]]:
    """A method and a path of every route."""
    values = {"batch_id": BATCH, "file": "00000-a.jpg", "rest": "00000-a.jpg", "filename": "app.css", "run_id": BATCH}
    adapter = bench.app.url_map.bind("localhost")
    return [
        (method, adapter.build(rule.endpoint, {name: values[name] for name in rule.arguments}))
        for rule in bench.app.url_map.iter_rules()
        for method in ("GET", "POST", "DELETE")
        if method in (rule.methods or ())
    ]


def status_of(bench: WebBench, method: str, path: str, headers: dict[str, str], variables: dict[str, str]) -> int:
    """The status of a request with these WSGI variables; an exception ends the test."""
    environ = bench.app.test_request_context(path, method=method, headers=headers).request.environ
    body, status, _headers = run_wsgi_app(bench.app, {**environ, **variables})
    if hasattr(body, "close"):
        body.close()
    return int(status.split()[0])


@pytest.mark.parametrize("header", HEADERS)
def test_no_value_of_a_header_makes_the_server_fail(benches: list[WebBench], header: str) -> None:
    with_token = [bench.token("ada") if bench.settings.authentication == "tokens" else {} for bench in benches]
    # Each value meets some routes, and each route some values; the views that read most headers, all values.
    reading = [("GET", f"/api/v1/batches/{BATCH}/events"), ("POST", "/api/v1/batches")]
    others = itertools.cycle(routes(benches[0]))
    for number, value in enumerate(ODD):
        for method, path in (reading[number // 2 % 2], next(others)):
            bench, token = benches[number % 2], with_token[number % 2]
            status = status_of(bench, method, path, token, {header: value})
            assert status < 500 or status == 503, (header, value[:100], method, path, status)


@given(st.sampled_from(HEADERS), st.text(st.characters(max_codepoint=255), max_size=60))
@settings(max_examples=examples(3))
def test_any_text_in_a_header_is_refused_or_ignored(header: str, value: str) -> None:
    status = status_of(ANY, "POST", "/api/v1/batches", {}, {header: value})
    assert status < 500 or status == 503


ANY = WebBench()


@pytest.mark.parametrize(
    ("host", "valid"),
    [
        ("", True),
        ("localhost", True),
        ("localhost:8080", True),
        ("photos.example.org.", True),
        ("under_score.example", True),
        ("xn--bcher-kva.example", True),
        ("192.0.2.1:80", True),
        ("[::1]:8080", True),
        ("[::1", False),
        ("a..b", False),
        ("a" * 64, False),
        ("a." * 150, False),
        ("xn--a", False),
        ("a b", False),
        ("a/b", False),
        ("user@host", False),
        ("host:port", False),
        ("b\u00fccher", False),
    ],
)
def test_what_a_host_looks_like(host: str, valid: bool) -> None:
    assert is_well_formed(host) is valid


class _Message:
    trailers: list[Any] = []  # noqa: RUF012 - gunicorn's own form
    cfg = Config()


@pytest.mark.parametrize("body", [b"x\r\n", b"-1\r\n", b"5;\x00=1\r\nabc", b"5\r\nabc", b"3\r\nabcdef\r\n0\r\n\r\n"])
@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        (f"/api/v1/batches/{BATCH}/images", "multipart/form-data; boundary=x"),
        ("/api/v1/batches", "application/json"),
        ("/api/v1/classify", "image/png"),
        ("/", "multipart/form-data; boundary=x"),
    ],
)
def test_chunks_that_cannot_be_read_are_a_malformed_request(body: bytes, path: str, content_type: str) -> None:
    bench = WebBench(classify_wait_seconds=0.0)
    path = path.replace(BATCH, bench.create_batch())
    reader = ChunkedReader(_Message(), IterUnreader(iter([body])))
    variables: dict[str, Any] = {
        "CONTENT_TYPE": content_type,
        "wsgi.input": _Input(reader),
        "wsgi.input_terminated": True,
    }
    assert status_of(bench, "POST", path, {}, variables) == 400


class _Input:
    """As gunicorn's `Body` reads a chunked body."""

    def __init__(self, reader: ChunkedReader) -> None:
        self._reader = reader

    def read(self, size: int = -1) -> bytes:
        return bytes(self._reader.read(size))


def test_gunicorn_still_names_its_errors_so() -> None:
    with pytest.raises((ParseException, OSError)):
        ChunkedReader(_Message(), IterUnreader(iter([b"x\r\n"]))).read(10)


# --- the log -------------------------------------------------------------------------------------

FORGED = '{"event": "sign_in"}'


def formatted(*arguments: Any, error: BaseException | None = None) -> str:
    info = (type(error), error, error.__traceback__) if error is not None else None
    record = logging.LogRecord("a", logging.WARNING, __file__, 1, "%s", arguments, info)
    return OneLineFormatter(FORMAT).format(record)


@given(st.text())
@settings(max_examples=examples(1))
def test_an_entry_is_one_line_whatever_its_values_are(value: str) -> None:
    text = formatted(value)
    assert len(text.splitlines()) == 1
    assert text.encode()
    assert all(ord(character) >= 32 for character in text)


@given(st.text())
@settings(max_examples=examples(0.5))
def test_a_traceback_is_indented_whatever_the_exception_says(value: str) -> None:
    try:
        raise RuntimeError(value)
    except RuntimeError as error:
        text = formatted("failed", error=error)
    assert all(line.startswith("    ") for line in text.splitlines()[1:])


def test_ordinary_texts_of_all_scripts_stay_as_they_are() -> None:
    assert formatted("Größe 写真 фото 🐶 'a\\b'").endswith("Größe 写真 фото 🐶 'a\\b'")


@pytest.mark.parametrize("path", ["/api/v1/batches/%s/results", "/batches/%s", "/api/v1/fleet%s"])
def test_no_path_forges_an_entry_of_the_audit_log(path: str) -> None:
    bench = WebBench()
    bench.images.fail_next("read_batch", times=9, error=CloudError(f"failed\n{FORGED}"))
    bench.state.fail_next("get", times=9, error=RuntimeError(f"failed\r\n{FORGED}"))
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(OneLineFormatter(FORMAT))
    logging.getLogger().addHandler(handler)
    try:
        for batch_id in (BATCH, f"{BATCH}%0a{FORGED}"):
            bench.app.config["PROPAGATE_EXCEPTIONS"] = False
            bench.client.get(path % batch_id)
    finally:
        logging.getLogger().removeHandler(handler)
    assert not [line for line in stream.getvalue().splitlines() if line.startswith("{")]


def test_every_process_logs_in_this_format(monkeypatch: pytest.MonkeyPatch) -> None:
    from core import log_format

    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    log_format.configure(root.level)
    [handler] = root.handlers
    assert isinstance(handler.formatter, OneLineFormatter)
    config = Config()
    config.set("errorlog", "-")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    logger = OneLineLogger(config)
    assert all(isinstance(each.formatter, OneLineFormatter) for each in logger.error_log.handlers)


# --- empty batches -------------------------------------------------------------------------------


def test_an_owner_creates_a_limited_number_of_batches_in_an_hour() -> None:
    bench = WebBench(authentication="tokens", batches_per_hour=3)
    ada, other_ada, bob = bench.token("ada"), bench.token("ada"), bench.token("bob")
    codes = [bench.client.post("/api/v1/batches", headers=ada).status_code for _ in range(2)]
    form = {"images": (io.BytesIO(JPEG), "a.jpg")}
    codes.append(bench.client.post("/batches", headers=other_ada, data=form).status_code)
    assert codes == [201, 201, 303]
    refused = bench.client.post("/api/v1/batches", headers=ada)
    assert refused.status_code == 429 and int(refused.headers["Retry-After"]) >= 1
    assert "an hour" in json.loads(refused.data)["detail"]
    assert bench.client.post("/api/v1/batches", headers=bob).status_code == 201
    assert len(bench.images.batches) == 4
