"""The state bucket, its conditional writes, and a lease on it."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from aws.clients import Clients
from aws.in_memory import ManualClock
from aws.lease import Lease
from aws.state import StateStore
from core.errors import ConflictError, NotFoundError
from core.object_keys import (
    ACTIVE_BULK_RUNS,
    BULK_REQUESTS,
    BULK_RUNS,
    HEARTBEATS,
    MODEL_FILES,
    MODEL_VERSIONS,
    PENDING_WEBHOOKS,
    TOKENS,
    USAGE,
    KeyFamily,
)
from core.settings import Settings

NAMES = {
    HEARTBEATS: "i-0123456789abcdef0",
    TOKENS: "0123456789abcdef",
    USAGE: "0123456789abcdef",
    PENDING_WEBHOOKS: "20260102-030405-0123456789ab",
    MODEL_FILES: "0" * 64,
    MODEL_VERSIONS: "photos/2",
    BULK_RUNS: "20260102-030405-0123456789ab",
    ACTIVE_BULK_RUNS: "20260102-030405-0123456789ab",
    BULK_REQUESTS: "20260102-030405-0123456789ab",
}
STATE_FAMILIES = tuple(NAMES)


def test_what_is_put_is_got_listed_and_deleted(store: StateStore) -> None:
    key, other = HEARTBEATS.key_of("i-1"), f"tokens/{'0' * 16}.json"
    assert store.get(key) is None
    etag = store.put(key, b"one")
    store.put(other, b"other")
    found = store.get(key)
    assert found is not None and (found.body, found.etag) == (b"one", etag)
    assert [(stored.key, stored.etag) for stored in store.list(HEARTBEATS)] == [(key, etag)]
    store.delete(key)
    store.delete(key)
    assert list(store.list(HEARTBEATS)) == []


def test_of_a_long_object_no_more_is_read_than_shows_that_it_is_too_long(store: StateStore) -> None:
    store.put("x", b"12345")
    for max_bytes, body in ((9, b"12345"), (5, b"12345"), (4, b"12345"), (3, b"1234"), (0, b"1")):
        found = store.get("x", max_bytes)
        assert found is not None and found.body == body
    assert store.get("x") == store.get("x", 5), "the connection is still good"


@pytest.mark.parametrize("family", STATE_FAMILIES, ids=lambda family: family.prefix)
def test_only_our_keys_are_listed(store: StateStore, family: KeyFamily) -> None:
    ours = family.key_of(NAMES[family])
    foreign = ("", "photo.jpg", "a/b/c/d.json", f"{NAMES[family]}/x", "Zoë's 猫.json", ".json", f"{NAMES[family]}.txt")
    for key in (ours, *(f"{family.prefix}{name}" for name in foreign)):
        store.put(key, b"x")
    assert [stored.key for stored in store.list(family)] == [ours]


def test_a_listing_begins_after_a_key(store: StateStore) -> None:
    keys = [HEARTBEATS.key_of(f"i-{number}") for number in range(4)]
    for key in keys:
        store.put(key, b"x")
    assert [stored.key for stored in store.list(HEARTBEATS, keys[1])] == keys[2:]
    store.delete_all([*keys[1:], "never-there"])
    assert [stored.key for stored in store.list(HEARTBEATS)] == keys[:1]


def test_a_file_is_stored_whole(store: StateStore) -> None:
    store.put_file("x", io.BytesIO(b"one\n"), "text/csv")
    store.put_file("x", io.BytesIO(b"another\n" * 100_000), "text/csv")
    found = store.get("x")
    assert found is not None and found.body == b"another\n" * 100_000


def test_an_object_is_created_once(store: StateStore) -> None:
    store.create("x", b"1")
    with pytest.raises(ConflictError):
        store.create("x", b"2")
    found = store.get("x")
    assert found is not None and found.body == b"1"


def test_a_version_is_replaced_once(store: StateStore) -> None:
    first = store.put("x", b"1")
    second = store.replace("x", b"2", first)
    with pytest.raises(ConflictError):
        store.replace("x", b"3", first)
    assert store.replace("x", b"4", second) not in (first, second)
    store.delete("x")
    with pytest.raises(ConflictError):
        store.replace("x", b"5", second)


def test_a_missing_bucket_is_no_empty_one(clients: Clients) -> None:
    store = StateStore(clients["s3"], "no-such-bucket")
    with pytest.raises(NotFoundError):
        store.get("x")
    with pytest.raises(NotFoundError):
        store.create("x", b"")


def test_of_many_that_want_the_lease_at_once_one_gets_it(clients: Clients, settings: Settings) -> None:
    store = StateStore(clients["s3"], settings.state_bucket)
    leases = [Lease(store, f"controller-{number}", 15.0, ManualClock(0.0)) for number in range(8)]
    start = threading.Barrier(len(leases))

    def take(lease: Lease) -> bool:
        start.wait()
        return lease.step()

    with ThreadPoolExecutor(len(leases)) as pool:
        taken = list(pool.map(take, leases))
    assert taken.count(True) == 1
    assert [lease.held() for lease in leases] == taken


def test_a_lease_is_renewed_released_and_taken_over(clients: Clients, settings: Settings) -> None:
    store, clock = StateStore(clients["s3"], settings.state_bucket), ManualClock(0.0)
    first, second = Lease(store, "first", 15.0, clock), Lease(store, "second", 15.0, clock)
    assert first.step() and not second.step()
    clock.advance(6)
    assert first.step() and not second.step()
    first.announce("a note")
    first.release()
    clock.advance(2)
    assert second.step()
    assert (second.generation, second.note) == (2, "a note")
