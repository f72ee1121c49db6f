"""Webhooks: signatures, whom one may call, and when a batch's completion is reported."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import hmac
import http.server
import ipaddress
import itertools
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from aws.in_memory import InMemoryBatchIndex, InMemoryImageStore, InMemoryResultStore, InMemoryStateStore, ManualClock
from controller.housekeeping.deletions import KEEP_NOTES, Deletions
from controller.housekeeping.webhook_http import HttpSender, allowed_address
from controller.housekeeping.webhooks import (
    GIVE_UP_SECONDS,
    MAX_ATTEMPTS,
    OWNER_SECONDS,
    DeliveryError,
    Webhooks,
    retry_delay_seconds,
)
from core.batch_record import ABANDONED_AFTER_SECONDS, BatchRecord
from core.errors import CloudError, ConflictError, DecodeError
from core.jobs import ClassificationResult, Prediction, image_key
from core.object_keys import PENDING_WEBHOOKS
from core.periodic_task import RoundError
from core.webhooks import (
    NOT_PUBLIC,
    Address,
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
WITH_IPV4 = [ipaddress.IPv6Network(text) for text in ("64:ff9b::/96", "::ffff:0:0/96")]


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


@given(body=st.binary(max_size=200).map(lambda body: json.dumps({"a": body.hex()}).encode()))
def test_the_reference_library_verifies_what_is_sent_and_nothing_else(body: bytes) -> None:
    headers = signed_headers(SECRET, f"batch-complete-{BATCH}", int(time.time()), body)
    assert standardwebhooks.Webhook(SECRET).verify(body, headers) == json.loads(body)
    for secret, altered, sent in (
        (new_secret(), body, headers),
        (SECRET, body + b" ", headers),
        (SECRET, body, {**headers, "webhook-id": "other"}),
        (SECRET, body, {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) - 1)}),
    ):
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            standardwebhooks.Webhook(secret).verify(altered, sent)


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
        ("https://fa\u00df.example/", False, False),
        ("https://\u03bb\u03cc\u03b3\u03bf\u03c2.example/", False, False),
        ("https://a\u200db.example/", False, False),
        ("https://\uff11\uff12\uff17.0.0.1/", False, True),
        ("https://127.1/", False, False),
        ("https://0x7f.1/", False, False),
        ("https://2130706433/", False, False),
        ("https://a..example/", False, False),
    ],
)
def test_whom_one_may_name(url: str, strict: bool, private: bool) -> None:
    for allow_private, allowed in ((False, strict), (True, private)):
        if allowed:
            assert check_url(url, allow_private=allow_private).host
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
        ("192.0.0.1", False),
        ("192.0.0.9", False),
        ("192.88.99.1", False),
        ("fec0::1", False),
        ("3fff::1", False),
        ("5f00::1", False),
        ("100::1", False),
        ("100:0:0:1::1", False),
        ("64:ff9b:1::1", False),
        ("2001::1", False),
        ("2001:20::1", False),
        ("2001:db8::1", False),
        ("2002:5db8:d822::1", False),
        ("::93.184.216.34", False),
        ("::ffff:0:5db8:d822", False),
        ("192.31.196.1", True),
        ("2620:4f:8000::1", True),
        ("2a00:1450:4001:80b::200e", True),
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


@pytest.mark.parametrize("network", NOT_PUBLIC, ids=str)
def test_nothing_that_the_registries_reserve_is_public(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> None:
    for address in (network[0], network[1], network[-1]):
        assert not is_public(address)
        if isinstance(address, ipaddress.IPv4Address):
            assert not is_public(ipaddress.IPv6Address(f"::ffff:{address}"))
            assert not is_public(ipaddress.IPv6Address(f"64:ff9b::{address}"))


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6))
def test_what_this_python_knows_to_be_private_is_not_public(address: Address) -> None:
    """The registries that `ipaddress` knows are older than ours, or as old."""
    if is_public(address):
        inner = next((ipaddress.ip_address(address.packed[-4:]) for outer in WITH_IPV4 if address in outer), address)
        assert inner.is_global and not inner.is_multicast and not inner.is_reserved


@pytest.mark.parametrize(
    ("url", "host", "authority", "target"),
    [
        (
            "https://B\u00fccher.example/h\u00f6k?a=\u00fc",
            "xn--bcher-kva.example",
            "xn--bcher-kva.example",
            "/h\u00f6k?a=\u00fc",
        ),
        ("https://\u4f8b\u3048.jp:8443", "xn--r8jz45g.jp", "xn--r8jz45g.jp:8443", "/"),
        ("https://xn--bcher-kva.example:443/", "xn--bcher-kva.example", "xn--bcher-kva.example", "/"),
        ("https://[2606:2800:220:1::1]:8443/a", "2606:2800:220:1::1", "[2606:2800:220:1::1]:8443", "/a"),
    ],
)
def test_a_host_is_named_as_in_dns(url: str, host: str, authority: str, target: str) -> None:
    receiver = check_url(url, allow_private=False)
    assert (receiver.host, receiver.authority, receiver.target) == (host, authority, target)


@given(st.text(max_size=80))
def test_any_text_is_an_address_or_a_sentence(text: str) -> None:
    for url in (text, f"https://{text}", f"https://example.org{text}"):
        try:
            receiver = check_url(url, allow_private=False)
        except WebhookError as error:
            assert str(error)
        else:
            assert receiver.host.isascii() and receiver.authority.isascii()


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


def test_an_international_name_is_sent_as_dns_has_it() -> None:
    asked = []

    def resolve(host: str, _port: int) -> list[Address]:
        asked.append(host)
        return [ipaddress.ip_address("127.0.0.1")]

    with receiver(204) as (port, got):
        HttpSender(allow_private=True, resolve=resolve)(
            f"http://b\u00fccher.example:{port}/h\u00f6k?a=\u00fc", {}, b"body"
        )
    assert asked == ["xn--bcher-kva.example"]
    assert got == [("/h%C3%B6k?a=%C3%BC", f"xn--bcher-kva.example:{port}", b"body")]


@contextmanager
def dripping(start: bytes) -> Iterator[int]:
    """A server on loopback that sends `start` and then a letter a moment, without an end; its port."""
    stop = threading.Event()

    def serve(listener: socket.socket) -> None:
        connection, _address = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(start)
            while not stop.wait(0.01):
                connection.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stop.set()
            thread.join()


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    "start", [b"", b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\nX: "], ids=["nothing", "a status line", "a header"]
)
def test_a_receiver_that_drips_is_left_at_the_deadline(scheme: str, start: bytes) -> None:
    """Each letter comes well within the timeout of a socket; of TLS, the first records are waited for without end."""
    tls = b"\x16\x03\x03\x40\x00" if scheme == "https" else b""
    sender = HttpSender(allow_private=True, resolve=loopback, deadline_seconds=0.3)
    with dripping(tls + start) as port, pytest.raises(DeliveryError, match=r"longer than 0\.3 s"):
        sender(f"{scheme}://hooks.example:{port}/", {}, b"body")


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


def pending_of(bench: Bench, number: int, owner: str) -> PendingWebhook:
    """A complete batch of an owner with a webhook."""
    batch_id = f"20260101-000000-{number:012x}"
    bench.images.create_batch(batch_id, BatchRecord("2026-01-01T00:00:00+00:00", owner))
    key = image_key(batch_id, 0, "a.jpg")
    bench.images.put(key, b"x", "a.jpg")
    bench.results.put(ClassificationResult(key, "a.jpg", (Prediction("beagle", 1.0),)))
    pending = PendingWebhook(batch_id, f"https://{owner}.example/{number}", SECRET, bench.clock())
    bench.state.create(pending.key, pending.encode())
    return pending


def test_a_slow_receiver_delays_only_its_owners_other_webhooks() -> None:
    bench = Bench()
    time_passed = ManualClock()
    for number in range(6):
        pending_of(bench, number, "slow")
    for number in range(6, 9):
        pending_of(bench, number, f"quick-{number}")
    bench.clock.advance(60)
    others_delivered, delivered = threading.Event(), []

    def send(url: str, _headers: dict[str, str], _body: bytes) -> None:
        if "slow" in url:
            assert others_delivered.wait(60), "those of others are sent at the same time"
            time_passed.advance(OWNER_SECONDS / 2)
            raise DeliveryError("too slow")
        delivered.append(url)
        if len(delivered) == 3:
            others_delivered.set()

    stores: tuple[Any, Any, Any] = (bench.state, bench.images, bench.results)
    Webhooks(*stores, send, bench.clock, monotonic=time_passed).round()  # type: ignore[arg-type]
    assert len(delivered) == 3
    tried = [PendingWebhook.decode(stored.body).attempts for stored in bench.state.objects.values()]
    assert sorted(tried)[-3:] == [0, 1, 1], "two fit into the time of an owner, and the others are not lost"


@pytest.mark.parametrize("created_at", [b"1e300", b"-1", b'"x"', b"null", b"NaN", b"199999999999", b"[[]]"])
def test_a_note_with_a_wrong_time_is_dropped_and_later_ones_are_sent(created_at: bytes) -> None:
    bench = Bench()
    bench.complete()
    wrong = PendingWebhook("20200101-000000-0123456789ab", "https://example.org/", SECRET, 77.0)
    body = wrong.encode().replace(b"77.0", created_at)
    assert body != wrong.encode()
    bench.state.put(wrong.key, body)
    bench.webhooks.round()
    assert len(bench.sent) == 1 and not bench.state.objects


def test_incomplete_batches_are_looked_at_more_and_more_rarely() -> None:
    bench = Bench()
    looks = []
    for _ in range(12 * 60):
        before = bench.images.count("list")
        bench.webhooks.round()
        looks.append(bench.images.count("list") - before)
        bench.clock.advance(5)
    assert sum(looks[:12]) >= 10, "in the first minute nearly every time"
    assert sum(looks[-60:]) <= 4, "after an hour every few minutes"


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
