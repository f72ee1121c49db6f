"""Quotas: whatever the order of requests, over any routes, no more images than the limit are accepted in a day.

Requests interleave: while the body of one arrives, others are handled, and midnight passes.  A request that is refused,
and a file that is not stored, costs nothing.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from aws.tokens import Usage
from core.errors import CloudError
from core.jobs import ClassificationJob
from tests.properties import examples
from tests.web import JPEG, WebBench, form
from web_tier.auth import quotas

LIMIT = 25
MAX_BATCH_IMAGES = 500
BROKEN = b"no image"
Step = tuple[str, int, list[tuple[str, int]]]


def _nothing() -> None:
    """Nothing happens in the middle of a request."""


class Interrupted:
    """A form's body of which the second part arrives only after other requests have been handled."""

    def __init__(self, contents: Iterable[bytes], meanwhile: Callable[[], None]) -> None:
        self._parts = [
            b'--x\r\nContent-Disposition: form-data; name="f"; filename="%d.jpg"\r\n\r\n%s\r\n' % (number, content)
            for number, content in enumerate(contents)
        ]
        self._parts.append(b"--x--\r\n")
        self._meanwhile: Callable[[], None] | None = meanwhile
        self._left = b""
        self._sent = 0

    def read(self, size: int = -1) -> bytes:
        if not self._left and self._parts:
            if self._sent == 1 and self._meanwhile is not None:
                meanwhile, self._meanwhile = self._meanwhile, None
                meanwhile()
            self._left = self._parts.pop(0)
            self._sent += 1
        piece, self._left = self._left[:size], self._left[size:]
        return piece


class World:
    """A web tier, a token with a quota, and what it has been granted by day."""

    def __init__(self) -> None:
        self.bench = WebBench(
            authentication="tokens",
            classify_wait_seconds=0.0,
            compat_wait_seconds=0.0,
            max_batch_images=MAX_BATCH_IMAGES,
            requests_per_minute=1_000_000,
        )
        self.headers = self.bench.token("ada", images_per_day=LIMIT)
        self.today = date(2026, 11, 21)
        self.jobs: Counter[date] = Counter()
        self.rejected: Counter[date] = Counter()
        # What the quota of the day should have been charged, and how much of it has no job yet.
        self.used = 0
        self.prepaid = 0
        self.keys: list[str] = []
        self.batch_id = self._batch()
        self.cancelled = self._batch()
        self.post(f"/api/v1/batches/{self.cancelled}/cancel")
        send = self.bench.queue.send

        def count(jobs: Iterable[ClassificationJob]) -> int:
            jobs = list(jobs)
            sent = send(jobs)
            self.jobs[self.today] += len(jobs)
            return sent

        self.bench.queue.send = count

    def post(self, path: str, **options: Any) -> TestResponse:
        headers = {**self.headers, **options.pop("headers", {})}
        return self.bench.client.post(path, headers=headers, **options)

    def do(self, name: str, count: int, inner: list[tuple[str, int]]) -> None:
        """Does one step; `inner` are done in its middle, where it has one."""
        getattr(self, f"do_{name}")(count, lambda: [self.do(each, number, []) for each, number in inner])

    def do_form(self, count: int, meanwhile: Callable[[], Any], query: str = "", batch_id: str = "") -> None:
        contents = [BROKEN if number % 4 == 3 else JPEG for number in range(count)]
        response = self.bench.client.post(
            f"/api/v1/batches/{batch_id or self.batch_id}/images{query}",
            headers=self.headers,
            environ_overrides={
                "CONTENT_TYPE": "multipart/form-data; boundary=x",
                "wsgi.input": Interrupted(contents, meanwhile),
                "wsgi.input_terminated": True,
            },
        )
        self._report(response)

    def do_at_the_end(self, count: int, meanwhile: Callable[[], Any]) -> None:
        self.do_form(count, meanwhile, f"?offset={MAX_BATCH_IMAGES - 1}")

    def do_cancelled(self, count: int, meanwhile: Callable[[], Any]) -> None:
        self.do_form(count, meanwhile, batch_id=self.cancelled)

    def do_failing_store(self, count: int, _meanwhile: Callable[[], Any]) -> None:
        self.bench.images.fail_next("put", error=CloudError("no"), where=lambda key: key.endswith("-0.jpg"))
        self.do_form(count, _nothing)
        self.bench.images._planned.clear()

    def do_failing_queue(self, count: int, _meanwhile: Callable[[], Any]) -> None:
        self.bench.queue.fail_next("send", error=CloudError("no"))
        self.do_form(count, _nothing)
        self.bench.queue._planned.clear()

    def do_broken_form(self, _count: int, _meanwhile: Callable[[], Any]) -> None:
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        response = self.post(f"/api/v1/batches/{self.batch_id}/images", headers=headers, data=b"--x\r\nnonsense")
        assert response.status_code in (400, 403)

    def do_json(self, count: int, _meanwhile: Callable[[], Any]) -> None:
        images = [{"name": "a.jpg", "data": base64.b64encode(JPEG).decode()}] * count
        self._report(self.post(f"/api/v1/batches/{self.batch_id}/images", json={"images": images}))

    def do_page(self, count: int, _meanwhile: Callable[[], Any]) -> None:
        before = self.jobs[self.today]
        self.post("/batches", data=form([("a.jpg", JPEG)] * count))
        self.used += self.jobs[self.today] - before

    def do_classify(self, _count: int, _meanwhile: Callable[[], Any]) -> None:
        self.used += self.post("/api/v1/classify", data=JPEG, headers={"Content-Type": "image/jpeg"}).status_code == 202

    def do_classify_broken(self, _count: int, _meanwhile: Callable[[], Any]) -> None:
        response = self.post("/api/v1/classify", data=BROKEN, headers={"Content-Type": "image/jpeg"})
        self.rejected[self.today] += response.status_code == 200
        self.used += response.status_code == 200

    def do_classify_failing(self, _count: int, _meanwhile: Callable[[], Any]) -> None:
        self.bench.images.fail_next("put", error=CloudError("no"))
        response = self.post("/api/v1/classify", data=JPEG, headers={"Content-Type": "image/jpeg"})
        assert response.status_code in (403, 503)
        self.bench.images._planned.clear()

    def do_compat(self, _count: int, _meanwhile: Callable[[], Any]) -> None:
        before = self.jobs[self.today]
        self.post("/", data={"inputFile": (io.BytesIO(JPEG), "a.jpg")})
        self.used += self.jobs[self.today] - before

    def do_permit(self, count: int, _meanwhile: Callable[[], Any]) -> None:
        response = self._permit([len(JPEG)] * count, "")
        if response.status_code == 200:
            for upload in response.get_json()["uploads"]:
                self.bench.images.put(upload["key"], JPEG, upload["name"])
                self.keys.append(upload["key"])
            self.used += count
            self.prepaid += count

    def do_permit_refused(self, count: int, _meanwhile: Callable[[], Any]) -> None:
        assert self._permit([10**9] * count, "").status_code in (422, 403)
        assert self._permit([9, 9], f"?offset={MAX_BATCH_IMAGES - 1}").status_code in (422, 403)
        self.bench.images.fail_next("list", error=CloudError("no"))
        assert self._permit([9], "").status_code in (503, 403)
        self.bench.images._planned.clear()

    def do_complete(self, _count: int, _meanwhile: Callable[[], Any]) -> None:
        if not self.keys:
            return
        response = self.post(f"/api/v1/batches/{self.batch_id}/uploads/complete", json={"keys": self.keys})
        assert len(response.get_json()["accepted"]) == len(self.keys), "repeating it is harmless"
        prepaid = min(len(self.keys), self.prepaid)
        self.prepaid -= prepaid
        self.used += min(len(self.keys) - prepaid, LIMIT - self.used)

    def do_midnight(self, _count: int, _meanwhile: Callable[[], Any]) -> None:
        self.today += timedelta(days=1)
        self.used = self.prepaid = 0

    def counted(self) -> int:
        """What the store has counted today."""
        found = [value for key, value in self.bench.state.objects.items() if key.startswith("usage/")]
        usages = [Usage.decode(stored.body) for stored in found]
        return sum(usage.images for usage in usages if usage.day == self.today.isoformat())

    def _batch(self) -> str:
        return str(self.post("/api/v1/batches").get_json()["batch_id"])

    def _permit(self, sizes: list[int], query: str) -> TestResponse:
        files = [{"name": f"{number}.jpg", "size_bytes": size} for number, size in enumerate(sizes)]
        return self.post(f"/api/v1/batches/{self.batch_id}/uploads{query}", json={"files": files})

    def _report(self, response: TestResponse) -> None:
        if response.status_code != 200:
            assert response.status_code in (403, 409), response.text
            return
        report = response.get_json()
        self.rejected[self.today] += len(report["rejected"])
        # An image without a job gets one from the controller.
        unqueued = sum(lost["code"] == "not_queued" for lost in report["not_stored"])
        self.used += len(report["accepted"]) + len(report["rejected"]) + unqueued


@contextmanager
def world_with_days() -> Iterator[World]:
    """A world whose web tier has the day from it."""
    world = World()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quotas, "_today", lambda: world.today.isoformat())
        yield world


ALL = sorted(name.removeprefix("do_") for name in vars(World) if name.startswith("do_"))
WITHOUT_MIDNIGHT = [name for name in ALL if name != "midnight"]


def steps(inner: list[str]) -> st.SearchStrategy[list[Step]]:
    one = st.tuples(st.sampled_from(inner), st.integers(1, 12))
    return st.lists(st.tuples(st.sampled_from(ALL), st.integers(1, 12), st.lists(one, max_size=2)), max_size=8)


PROPERTY = settings(max_examples=examples(0.5), deadline=None, suppress_health_check=[HealthCheck.too_slow])


@PROPERTY
@given(steps(ALL))
def test_no_interleaving_of_requests_accepts_more_images_in_a_day_than_the_limit(plan: list[Step]) -> None:
    with world_with_days() as world:
        for step in plan:
            world.do(*step)
        for day in world.jobs:
            assert world.jobs[day] <= LIMIT, day


@PROPERTY
@given(steps(WITHOUT_MIDNIGHT))
def test_what_is_refused_costs_nothing_and_everything_else_is_counted_once(plan: list[Step]) -> None:
    with world_with_days() as world:
        for step in plan:
            world.do(*step)
            assert world.counted() == world.used <= LIMIT, step


def test_every_view_that_stores_images_is_among_the_steps() -> None:
    takes_images = {"add_images", "create_batch", "classify", "permit_uploads", "complete_uploads"}
    bench = WebBench()
    posts = {
        rule.endpoint.rpartition(".")[2]
        for rule in bench.app.url_map.iter_rules()
        if "POST" in (rule.methods or ()) and rule.endpoint != "api_batches.create_batch"
    }
    bulk = {"start_run", "cancel_run", "resume_run"}  # of images that are stored already
    others = bulk | {"cancel_batch", "close_batch", "delete_batch", "plan_upload", "sign_in", "sign_out"}
    assert posts == takes_images | others, "a new view that stores images needs a step above"


def test_repeating_a_completion_enqueues_nothing_that_is_not_paid() -> None:
    with world_with_days() as world:
        world.do_permit(10, _nothing)
        for _ in range(60):
            world.do_complete(0, _nothing)
        assert sum(world.jobs.values()) == world.counted() == LIMIT


def test_two_requests_around_midnight_share_the_new_day() -> None:
    """The body of one that began before midnight goes on after it, with another in between."""
    with world_with_days() as world:
        for _ in range(10):
            world.do_form(60, lambda: (world.do_midnight(0, _nothing), world.do_json(LIMIT, _nothing)))
            assert max(world.jobs.values()) <= LIMIT
