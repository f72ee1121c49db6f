"""The embedded S3 itself, in this process: requests that overlap."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from flask.testing import FlaskClient
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import create_backend_app
from moto.s3.models import FakeKey, s3_backends
from werkzeug.test import Client

from local_cloud import moto_s3
from local_cloud.s3_object_requests import ObjectRequests

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

# The client of a request; the signature is not checked.
_SIGNED = {
    "HTTP_AUTHORIZATION": (
        "AWS4-HMAC-SHA256 Credential=test/20260301/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
    )
}

pytestmark = pytest.mark.own_emulator


@pytest.fixture
def client() -> Iterator[FlaskClient]:
    uninstall = moto_s3.install()
    client = create_backend_app("s3").test_client()
    client.environ_base |= _SIGNED
    assert client.put("/bucket").status_code == 200
    yield client
    s3_backends.reset()
    uninstall()


def test_an_object_is_not_seen_before_its_metadata(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    stored, may_go_on = threading.Event(), threading.Event()
    set_metadata = FakeKey.set_metadata

    def slow_set_metadata(self: FakeKey, *args: Any) -> None:
        stored.set()
        may_go_on.wait(0.3)
        set_metadata(self, *args)

    monkeypatch.setattr(FakeKey, "set_metadata", slow_set_metadata)
    with ThreadPoolExecutor(2) as pool:
        put = pool.submit(client.put, "/bucket/key", data=b"body", headers={"x-amz-meta-result": "tabby"})
        assert stored.wait(5)
        get = pool.submit(client.get, "/bucket/key")
        response = get.result()
        assert response.headers["x-amz-meta-result"] == "tabby"
        assert put.result().status_code == 200


def test_of_two_conditional_writes_one_wins(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = threading.Barrier(2)
    init = FakeKey.__init__

    def slow_init(self: FakeKey, *args: Any, **kwargs: Any) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):  # no other request came this far
            checked.wait(0.3)
        init(self, *args, **kwargs)

    monkeypatch.setattr(FakeKey, "__init__", slow_init)
    with ThreadPoolExecutor(2) as pool:
        puts = [
            pool.submit(client.put, "/bucket/key", data=body, headers={"If-None-Match": "*"}) for body in (b"1", b"2")
        ]
        assert sorted(put.result().status_code for put in puts) == [200, 412]


def test_a_listing_is_what_moto_would_write(client: FlaskClient) -> None:
    for key in ("a/1", "a/2 &<", "b/'\""):
        client.put(f"/bucket/{key}", data=b"body", headers={"x-amz-sdk-checksum-algorithm": "CRC32"})
    queries = ["list-type=2", "list-type=2&max-keys=2&fetch-owner=true", "list-type=2&delimiter=/", "prefix=no", ""]

    def listings() -> list[list[str]]:
        # Elements may come in another order.
        return [sorted(client.get(f"/bucket?{query}").text.replace("><", ">\n<").splitlines()) for query in queries]

    ours = listings()
    moto_s3.install()()
    assert ours == listings()


_META = {"x-amz-meta-name": "cat.jpg", "x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
_CHECKSUM = {"x-amz-sdk-checksum-algorithm": "CRC32", "x-amz-checksum-crc32": "2Pvh6A=="}
_AS_FILE = {"Content-Disposition": 'inline; filename="a.txt"', "Content-Type": "text/plain; charset=utf-8"}
_KEYS = [f"a/{name}.jpg" for name in ("plain", "named", "checked", "result", "tagged", "none")] + [
    "a/typed.csv",
    "a/empty",
]
_REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("PUT", "/bucket/a/plain.jpg", {"data": b"body"}),
    ("PUT", "/bucket/a/named.jpg", {"data": b"body", "headers": _META}),
    ("PUT", "/bucket/a/checked.jpg", {"data": b"body", "headers": _CHECKSUM}),
    ("PUT", "/bucket/a/unchecked.jpg", {"data": b"body", "headers": {"x-amz-sdk-checksum-algorithm": "CRC32"}}),
    ("PUT", "/bucket/a/typed.csv", {"data": b"a,b", "content_type": "text/csv"}),
    ("PUT", "/bucket/a/result.jpg", {"data": b"a, b", "headers": _AS_FILE | {"If-None-Match": "*"}}),
    ("PUT", "/bucket/a/result.jpg", {"data": b"a, c", "headers": _AS_FILE}),
    ("PUT", "/bucket/a/empty", {"data": b""}),
    ("PUT", "/bucket/a/plain.jpg?x-id=PutObject", {"data": b"another body"}),
    ("PUT", "/bucket/a/new.jpg", {"data": b"1", "headers": {"If-None-Match": "*"}}),
    ("PUT", "/bucket/a/new.jpg", {"data": b"2", "headers": {"If-None-Match": "*"}}),
    ("PUT", "/bucket/a/copy.jpg", {"headers": {"x-amz-copy-source": "/bucket/a/plain.jpg"}}),
    ("PUT", "/bucket/a/tagged.jpg", {"data": b"body", "headers": {"x-amz-tagging": "a=b"}}),
    ("PUT", "/bucket/name%20with%20%C3%A4", {"data": b"body"}),
    ("PUT", "/no-bucket/key", {"data": b"body"}),
    *(
        (method, f"/bucket/{key}", {"headers": headers})
        for method in ("GET", "HEAD")
        for key in _KEYS
        for headers in ({}, {"x-amz-checksum-mode": "ENABLED"}, {"Range": "bytes=1-2"}, {"If-None-Match": '"x"'})
    ),
    ("GET", "/bucket/a/plain.jpg?x-id=GetObject", {}),
    ("GET", "/bucket/a/plain.jpg?response-content-type=text/plain", {}),
    ("GET", "/bucket/a/tagged.jpg?tagging", {}),
    ("GET", "/bucket/name%20with%20%C3%A4", {}),
    ("GET", "/no-bucket/key", {}),
    ("DELETE", "/bucket/a/plain.jpg", {}),
    ("GET", "/bucket/a/plain.jpg", {}),
]
# The last is switched off in the emulator.
_LEFT_OUT = {"x-amzn-requestid", "x-amz-request-id", "last-modified", "date", "access-control-allow-origin"}


def _responses(client: Client) -> list[tuple[int, dict[str, str], bytes]]:
    found = []
    for method, path, options in _REQUESTS:
        response = client.open(path, method=method, environ_base=_SIGNED, **options)
        headers = {name.lower(): value for name, value in response.headers.items()}
        body = re.sub(rb"<(RequestId|HostId|LastModified)>.*?</\1>", b"", response.get_data())
        found.append((response.status_code, {n: v for n, v in headers.items() if n not in _LEFT_OUT}, body))
    return found


@pytest.mark.parametrize("kind", ["plain", "versioned"])
def test_requests_for_objects_are_answered_as_moto_answers_them(client: FlaskClient, kind: str) -> None:
    if kind == "versioned":
        body = "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>"
        assert client.put("/bucket?versioning", data=body).status_code == 200
    by_moto: list[str] = []

    def moto(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        by_moto.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        return client.application(environ, start_response)

    ours = _responses(Client(ObjectRequests(moto)))
    passed_on = len(by_moto)
    s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets["bucket"].keys.clear()
    motos = _responses(Client(client.application))
    for request, our, expected in zip(_REQUESTS, ours, motos, strict=True):
        assert our == expected, request
    assert (passed_on < len(_REQUESTS)) == (kind == "plain")
    # As workers store results.
    assert ("PUT /bucket/a/result.jpg" in by_moto[:passed_on]) == (kind == "versioned")
