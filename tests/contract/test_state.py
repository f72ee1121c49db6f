"""The state bucket, its conditional writes, and a lease on it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from aws.clients import Clients
from aws.in_memory import ManualClock
from aws.lease import Lease
from aws.state import StateStore
from core.errors import ConflictError, NotFoundError
from core.settings import Settings


def test_what_is_put_is_got_listed_and_deleted(store: StateStore) -> None:
    assert store.get("a/1") is None
    etag = store.put("a/1", b"one")
    store.put("b/1", b"other")
    found = store.get("a/1")
    assert found is not None and (found.body, found.etag) == (b"one", etag)
    assert [(stored.key, stored.etag) for stored in store.list("a/")] == [("a/1", etag)]
    store.delete("a/1")
    store.delete("a/1")
    assert list(store.list("a/")) == []


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
