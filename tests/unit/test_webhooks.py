"""Webhooks: signatures, whom one may call, and when a batch's completion is reported."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import http.server
import ipaddress
import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from aws.in_memory import InMemoryBatchIndex, InMemoryImageStore, InMemoryResultStore, InMemoryStateStore, ManualClock
from controller.housekeeping.deletions import KEEP_NOTES, Deletions
from controller.housekeeping.webhook_http import HttpSender, allowed_address
from controller.housekeeping.webhooks import GIVE_UP_SECONDS, MAX_ATTEMPTS, DeliveryError, Webhooks, retry_delay_seconds
from core.batch_record import ABANDONED_AFTER_SECONDS, BatchRecord
from core.errors import CloudError, ConflictError, DecodeError
from core.jobs import ClassificationResult, Prediction, image_key
from core.object_keys import PENDING_WEBHOOKS
from core.periodic_task import RoundError
from core.webhooks import (
    PendingWebhook,
    WebhookError,
    check_url,
    is_public,
    new_secret,
    secret_bytes,
    signed_headers,
)

BATCH = "20260101-000000-0123456789ab"
SECRET = new_secret()


# --- signatures and addresses --------------------------------------------------------------------


def test_the_signature_is_that_of_standard_webhooks() -> None:
    headers = signed_headers(SECRET, "msg_1", 1_700_000_000, b'{"a":1}')
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    expected = hmac.new(key, b'msg_1.1700000000.{"a":1}', hashlib.sha256).digest()
    assert headers == {
        "webhook-id": "msg_1",
        "webhook-timestamp": "1700000000",
        "webhook-signature": f"v1,{base64.b64encode(expected).decode()}",
    }


def test_a_known_signature() -> None:
    """The example of the Standard Webhooks libraries' own tests."""
    headers = signed_headers(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "whsec_%%%",
        "whsec_" + "A" * 28,
        pytest.param(SECRET[6:], id="without its prefix"),
        pytest.param("whsec_" + "A" * 400, id="too long"),
    ],
)
def test_a_secret_that_is_weak_or_malformed_is_refused(secret: str) -> None:
    with pytest.raises(WebhookError, match="must be whsec_ and 24 to 64 bytes"):
        secret_bytes(secret)


@pytest.mark.parametrize(
    ("url", "strict", "private"),
    [
        ("https://example.org/hook?a=b", True, True),
        ("https://example.org:8443/", True, True),
        ("https://bücher.example/", True, True),
        ("https://93.184.216.34/", True, True),
        ("http://example.org/", False, True),
        ("https://127.0.0.1/", False, True),
        ("https://10.1.2.3/", False, True),
        ("https://169.254.169.254/latest/meta-data/", False, True),
        ("https://[::1]/", False, True),
        ("https://[::ffff:127.0.0.1]/", False, True),
        ("https://user:password@example.org/", False, False),
        ("https://user@example.org/", False, False),
        ("https:///path", False, False),
        ("https://example.org:0/", False, False),
        ("https://example.org:99999/", False, False),
        ("https://[::1/", False, False),
        ("ftp://example.org/", False, False),
        ("file:///etc/passwd", False, False),
        ("//example.org/", False, False),
        ("", False, False),
        ("https://example.org/a b", False, False),
        ("https://example.org/\r\nX: y", False, False),
        ("https://example.org\\@evil.example/", False, False),
        ("https://example.org/" + "a" * 2000, False, False),
        ("https://" + "a" * 64 + ".example/", False, False),
    ],
)
def test_whom_one_may_name(url: str, strict: bool, private: bool) -> None:
    for allow_private, allowed in ((False, strict), (True, private)):
        if allowed:
            assert check_url(url, allow_private=allow_private).hostname
        else:
            with pytest.raises(WebhookError):
                check_url(url, allow_private=allow_private)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("::ffff:93.184.216.34", True),
        ("64:ff9b::5db8:d822", True),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("100.64.0.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("198.18.0.1", False),
        ("224.0.0.1", False),
        ("239.255.255.250", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:169.254.169.254", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("fc00::1", False),
        ("fd00:ec2::254", False),
        ("fe80::1", False),
        ("ff02::1", False),
    ],
)
def test_what_is_public(address: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) == public


def test_one_private_address_among_several_is_enough_to_refuse() -> None:
    public, private = ipaddress.ip_address("93.184.216.34"), ipaddress.ip_address("10.0.0.1")
    assert allowed_address([public, public], allow_private=False) == public
    assert allowed_address([private], allow_private=True) == private
    for addresses in ([public, private], [private], []):
        with pytest.raises(DeliveryError):
            allowed_address(addresses, allow_private=False)


# --- sending -------------------------------------------------------------------------------------


@contextmanager
def receiver(status: int, location: str = "") -> Iterator[tuple[int, list[tuple[str, str, bytes]]]]:
    """A server on loopback, and what it got: (path, Host, body)."""
    got: list[tuple[str, str, bytes]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.path, self.headers["Host"], self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.server_port, got
        finally:
            server.shutdown()
            thread.join()


def loopback(_host: str, _port: int) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    return [ipaddress.ip_address("127.0.0.1")]


def test_a_request_goes_to_the_resolved_address_with_the_name_as_host() -> None:
    with receiver(204) as (port, got):
        HttpSender(allow_private=True, resolve=loopback)(f"http://hooks.example:{port}/a?b=c", {}, b"body")
    assert got == [("/a?b=c", f"hooks.example:{port}", b"body")]


def test_a_name_that_resolves_to_the_own_network_is_not_called() -> None:
    with receiver(204) as (port, got), pytest.raises(DeliveryError, match="private network"):
        HttpSender(allow_private=False, resolve=loopback)(f"https://hooks.example:{port}/", {}, b"body")
    assert got == []


@pytest.mark.parametrize("status", [301, 307, 400, 500])
def test_only_2xx_counts_and_redirects_are_not_followed(status: int) -> None:
    sender = HttpSender(allow_private=True, resolve=loopback)
    with receiver(204) as (other, elsewhere), receiver(status, f"http://127.0.0.1:{other}/") as (port, got):
        url = f"http://hooks.example:{port}/"
        with pytest.raises(DeliveryError, match=str(status)):
            sender(url, {}, b"body")
    assert len(got) == 1 and elsewhere == []


def test_a_receiver_that_cannot_be_reached_is_one_sentence() -> None:
    with receiver(204) as (port, _got):
        pass
    with pytest.raises(DeliveryError, match="could not be reached"):
        HttpSender(allow_private=True, resolve=loopback)(f"http://hooks.example:{port}/", {}, b"body")
    with pytest.raises(DeliveryError, match="could not be reached"), receiver(204) as (port, _got):
        HttpSender(allow_private=True, resolve=loopback)(f"https://hooks.example:{port}/", {}, b"not TLS")


# --- when ----------------------------------------------------------------------------------------


class Bench:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.images = InMemoryImageStore(self.clock)
        self.results = InMemoryResultStore(self.clock)
        self.state = InMemoryStateStore(self.clock)
        self.sent: list[tuple[str, dict[str, str], bytes]] = []
        self.failures_left = 0
        self.webhooks = Webhooks(self.state, self.images, self.results, self.send, self.clock)  # type: ignore[arg-type]
        self.pending = PendingWebhook(BATCH, "https://example.org/", SECRET, self.clock())
        self.state.create(self.pending.key, self.pending.encode())

    def send(self, url: str, headers: dict[str, str], body: bytes) -> None:
        self.sent.append((url, headers, body))
        if self.failures_left > 0:
            self.failures_left -= 1
            raise DeliveryError("the receiver answered 500")

    def upload(self, position: int) -> None:
        self.images.put(image_key(BATCH, position, "a.jpg"), b"x", "a.jpg")

    def answer(self, position: int) -> None:
        key = image_key(BATCH, position, "a.jpg")
        self.results.put(ClassificationResult(key, "a.jpg", (Prediction("beagle", 1.0),)))

    def complete(self) -> None:
        self.upload(0)
        self.answer(0)
        self.clock.advance(60)


def test_a_batch_is_reported_when_it_is_complete_and_quiet_once() -> None:
    bench = Bench()
    bench.webhooks.round()
    bench.upload(0)
    bench.clock.advance(100)
    bench.webhooks.round()
    bench.answer(0)
    bench.webhooks.round()
    bench.clock.advance(5)
    bench.upload(1)
    bench.clock.advance(8)
    bench.webhooks.round()
    bench.answer(1)
    bench.clock.advance(8)
    bench.webhooks.round()
    assert bench.sent == []
    bench.clock.advance(8)
    bench.webhooks.round()
    bench.webhooks.round()
    [(url, headers, body)] = bench.sent
    message = json.loads(body)
    assert (url, message["type"], message["data"]["accepted"]) == ("https://example.org/", "batch.complete", 2)
    assert headers["webhook-id"] == f"batch-complete-{BATCH}"
    stamped = int(headers["webhook-timestamp"])
    assert signed_headers(SECRET, headers["webhook-id"], stamped, body).items() <= headers.items()
    assert not bench.state.objects


@pytest.mark.parametrize("end", ["arrival", "closing", "abandonment"])
def test_a_batch_is_not_reported_while_announced_images_are_missing(end: str) -> None:
    bench = Bench()
    bench.images.create_batch(BATCH, BatchRecord(announced=2, announced_at=bench.clock()))
    bench.complete()
    bench.webhooks.round()
    assert bench.sent == []
    if end == "arrival":
        bench.upload(1)
        bench.answer(1)
    elif end == "closing":
        bench.images.update_batch(BATCH, lambda record: dataclasses.replace(record, closed=True))
    else:
        bench.clock.advance(ABANDONED_AFTER_SECONDS)
    bench.clock.advance(11)
    bench.webhooks.round()
    [(_url, _headers, body)] = bench.sent
    assert json.loads(body)["data"]["answered"] == (2 if end == "arrival" else 1)


def test_it_is_tried_again_with_growing_delays_the_same_message_until_it_is_given_up() -> None:
    bench = Bench()
    bench.complete()
    bench.failures_left = 99
    times = []
    for _round in range(20_000):
        before = len(bench.sent)
        bench.webhooks.round()
        if len(bench.sent) > before:
            times.append(bench.clock())
        bench.clock.advance(5)
        if not bench.state.objects:
            break
    delays = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert len(times) == MAX_ATTEMPTS
    assert delays == [retry_delay_seconds(attempts) for attempts in range(1, MAX_ATTEMPTS)]
    assert len({body for _url, _headers, body in bench.sent}) == 1
    assert not bench.state.objects


def test_two_controllers_do_not_send_the_same_attempt() -> None:
    bench = Bench()
    bench.complete()
    bench.state.fail_next("replace", error=ConflictError())
    bench.webhooks.round()
    assert bench.sent == []


def test_a_controller_that_dies_after_its_claim_is_followed_by_another_attempt() -> None:
    bench = Bench()
    bench.complete()
    bench.state.fail_next("delete", error=CloudError())
    with pytest.raises(RoundError):
        bench.webhooks.round()
    bench.webhooks.round()
    assert len(bench.sent) == 1
    bench.clock.advance(retry_delay_seconds(1))
    bench.webhooks.round()
    assert len({headers["webhook-id"] for _url, headers, _body in bench.sent}) == 1 and len(bench.sent) == 2


def test_a_batch_that_never_completes_is_given_up() -> None:
    bench = Bench()
    bench.clock.advance(GIVE_UP_SECONDS + 1)
    bench.webhooks.round()
    assert bench.sent == [] and not bench.state.objects


def test_what_is_no_note_is_dropped_and_a_failing_cloud_is_waited_for() -> None:
    bench = Bench()
    bench.complete()
    bench.state.put(PENDING_WEBHOOKS.key_of("20200101-000000-0123456789ab"), b"nonsense")
    bench.images.fail_next("list")
    with pytest.raises(RoundError):
        bench.webhooks.round()
    assert bench.sent == [] and len(bench.state.objects) == 1
    bench.webhooks.round()
    assert len(bench.sent) == 1
    with pytest.raises(DecodeError):
        PendingWebhook.decode(b'{"v": 9}')


@pytest.mark.parametrize("error", [RuntimeError("poison"), CloudError()])
def test_one_webhook_that_fails_does_not_hold_up_the_others(error: Exception) -> None:
    bench = Bench()
    bench.complete()
    first = PendingWebhook("20250101-000000-0123456789ab", "https://example.org/", SECRET, bench.clock())
    bench.state.create(first.key, first.encode())
    bench.images.fail_next("list", error=error, where=lambda batch_id: batch_id == first.batch_id)
    with pytest.raises(RoundError, match=first.batch_id):
        bench.webhooks.round()
    assert len(bench.sent) == 1 and list(bench.state.objects) == [first.key]


# --- deletions -----------------------------------------------------------------------------------


def test_what_comes_back_under_a_deleted_batch_is_deleted_until_no_worker_can_hold_it() -> None:
    bench = Bench()
    index = InMemoryBatchIndex(bench.clock)
    now = lambda: datetime.fromtimestamp(bench.clock(), UTC)  # noqa: E731
    deletions = Deletions(index, bench.images, bench.results, now)  # type: ignore[arg-type]
    index.mark_deleted(BATCH)
    bench.answer(0)
    bench.upload(1)
    bench.images.create_batch(BATCH, BatchRecord())
    deletions.round()
    assert not (bench.results.objects or bench.images.objects or bench.images.batches)
    assert list(index.notes) == [BATCH]
    bench.clock.advance((KEEP_NOTES + timedelta(seconds=2)).total_seconds())
    bench.answer(0)
    deletions.round()
    assert not bench.results.objects and not index.notes


@pytest.mark.parametrize("error", [RuntimeError("poison"), CloudError()])
def test_a_deletion_that_fails_is_tried_again(error: Exception) -> None:
    bench = Bench()
    index = InMemoryBatchIndex(bench.clock)
    deletions = Deletions(index, bench.images, bench.results, lambda: datetime(2100, 1, 1, tzinfo=UTC))  # type: ignore[arg-type]
    index.mark_deleted(BATCH)
    other = "20990101-000000-0123456789ab"
    index.mark_deleted(other)
    bench.results.fail_next("delete_batch", error=error)
    with pytest.raises(RoundError, match=BATCH):
        deletions.round()
    assert list(index.notes) == [BATCH], "the other one had its turn"
    deletions.round()
    assert not index.notes
