"""The embedded S3 itself, in this process: requests that overlap."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask.testing import FlaskClient
from moto.moto_server.werkzeug_app import create_backend_app
from moto.s3.models import FakeKey, s3_backends

from local_cloud import moto_s3

pytestmark = pytest.mark.own_emulator


@pytest.fixture
def client() -> Iterator[FlaskClient]:
    uninstall = moto_s3.install()
    client = create_backend_app("s3").test_client()
    # The client of the request; the signature is not checked.
    client.environ_base["HTTP_AUTHORIZATION"] = (
        "AWS4-HMAC-SHA256 Credential=test/20260301/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
    )
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
