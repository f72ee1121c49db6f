"""Requests of the web tier about bulk runs: what the controller starts, what it refuses, and where the reason is."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from aws.bulk_requests import BulkRequests
from controller.__main__ import with_requests
from controller.bulk.requests import BulkRequestHandler
from core.bulk_request import Action, AllowedBuckets, BulkRequest
from core.bulk_run import CANCELLED_NAME, RUN_NAME, Status
from core.errors import ArgumentError, CloudError, ConflictError, DeniedError
from core.object_keys import BULK_REQUESTS
from core.periodic_task import RoundError
from core.settings import Settings
from tests.unit.test_bulk_planner import RUN, Cloud

OWN = ("elastic-input", "elastic-state", "elastic-output")
ALLOWED = AllowedBuckets.of(["arn:aws:s3:::photos", " labels", ""], OWN, "elastic-output")
REQUEST = BulkRequest(
    "20260102-030405-0123456789ac", Action.START, 1_000.0, "eve", "s3://photos/in/", "s3://labels/new"
)


class Bench(Cloud):
    """A cloud with one run, and the requests about others."""

    def __init__(self, allowed: AllowedBuckets = ALLOWED) -> None:
        super().__init__(4)
        state: Any = self.state
        source: Any = self.source
        self.requests = BulkRequests(state)
        self.handler = BulkRequestHandler(self.requests, self.runs, lambda run: source, allowed, self.clock)


def test_a_requested_run_is_started_and_labelled() -> None:
    bench = Bench()
    bench.requests.add(dataclasses.replace(REQUEST, max_instances=3, finish_within_seconds=60.0))
    assert bench.handler.round() and not bench.handler.round()
    run = bench.runs.get(REQUEST.run_id)
    assert (run.status, run.source, run.output) == (Status.RUNNING, "s3://photos/in/", "s3://labels/new/")
    assert (run.max_instances, run.ceiling, run.finish_by, run.created_at) == (3, 3, 1_060.0, 1_000.0)
    assert f"new/{RUN_NAME}" in bench.labels.objects
    assert REQUEST.run_id in bench.runs.active_ids()
    while bench.runs.active_ids():
        bench.planner.round()
        bench.answer()
        bench.clock.advance(60)
    assert bench.runs.get(REQUEST.run_id).done_images == 4


@pytest.mark.parametrize(
    ("source", "output", "problem"),
    [
        ("s3://others/", "s3://labels/x/", "the bucket others is not one that EIC_BULK_BUCKETS has"),
        ("s3://elastic-input/", "s3://labels/x/", "elastic-input is not one"),
        ("s3://photos/in/", "s3://others/x/", "s3://others/x/ is not allowed"),
        ("s3://photos/in/", "s3://elastic-state/x/", "is not allowed: choose s3://elastic-output/bulk/…"),
        ("s3://photos/in/", "s3://elastic-output/bulkx/", "is not allowed"),
        ("s3://photos/in/", "s3://elastic-output/", "is not allowed"),
        ("s3://photos/none/", "s3://labels/x/", "there is no object whose key begins with s3://photos/none/"),
        ("s3://photos/in/", "s3://labels/taken/", "holds the output of another run"),
    ],
)
def test_what_is_refused_is_a_record_with_the_reason_and_touches_no_bucket(
    source: str, output: str, problem: str
) -> None:
    bench = Bench()
    bench.runs.claim_output(dataclasses.replace(RUN, output_prefix="taken/"))
    before = dict(bench.labels.objects)
    bench.requests.add(dataclasses.replace(REQUEST, source=source, output=output))
    bench.handler.round()
    run = bench.runs.get(REQUEST.run_id)
    assert run.status is Status.REFUSED and problem in run.problem
    assert bench.runs.active_ids() == [RUN.run_id] and bench.labels.objects == before and not bench.requests.ids()
    with pytest.raises(ArgumentError, match="is refused: there is nothing to resume"):
        bench.runs.resume(REQUEST.run_id)


@pytest.mark.parametrize("prefix", ["bulk/", "bulk/2026/"])
def test_the_own_output_takes_labels_below_its_prefix(prefix: str) -> None:
    ALLOWED.check(dataclasses.replace(RUN, output_bucket="elastic-output", output_prefix=prefix))


def test_all_buckets_are_all_but_the_programs_own() -> None:
    every = AllowedBuckets.of(["*"], OWN, "elastic-output")
    every.check(dataclasses.replace(RUN, source_bucket="any", output_bucket="other"))
    for own in OWN:
        for run in (dataclasses.replace(RUN, source_bucket=own), dataclasses.replace(RUN, output_bucket=own)):
            with pytest.raises(ArgumentError):
                every.check(run)
    with pytest.raises(ArgumentError):
        AllowedBuckets.of([], OWN, "elastic-output").check(RUN)


def test_a_run_is_cancelled_and_resumed() -> None:
    bench = Bench()
    bench.requests.add(BulkRequest(RUN.run_id, Action.CANCEL, 1.0, "eve"))
    bench.handler.round()
    assert bench.run.status == Status.CANCELLED and f"out/{CANCELLED_NAME}" in bench.labels.objects
    bench.requests.add(BulkRequest(RUN.run_id, Action.RESUME, 1.0, "eve"))
    bench.handler.round()
    assert bench.run.is_active and f"out/{CANCELLED_NAME}" not in bench.labels.objects


@pytest.mark.parametrize("action", list(Action))
def test_a_request_that_no_longer_fits_is_dropped_and_the_others_go_on(action: Action) -> None:
    """A start repeats what has begun; a run may have ended, or never been, when its request is read."""
    bench = Bench()
    bench.finish()
    ended = bench.run
    bench.requests.add(dataclasses.replace(REQUEST, run_id=RUN.run_id, action=action))
    bench.state.put(BULK_REQUESTS.key_of("20250102-030405-0123456789ad"), b"{}")
    bench.requests.add(dataclasses.replace(REQUEST, run_id="20250102-030405-0123456789ae", action=Action.CANCEL))
    bench.requests.add(dataclasses.replace(REQUEST, run_id="20250102-030405-0123456789af", source="no address"))
    bench.requests.add(REQUEST)
    bench.handler.round()
    assert bench.run == ended and bench.requests.ids() == []
    assert bench.runs.get(REQUEST.run_id).is_active


def test_a_request_is_kept_while_s3_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.requests.add(REQUEST)

    def fail(*_: object) -> None:
        raise CloudError("S3 is down")

    with monkeypatch.context() as patch:
        patch.setattr(bench.runs, "claim_output", fail)
        with pytest.raises(RoundError):
            bench.handler.round()
    assert bench.requests.ids() == [REQUEST.run_id] and not bench.runs.exists(REQUEST.run_id)
    bench.handler.round()
    assert bench.runs.get(REQUEST.run_id).is_active


def test_a_bucket_without_permission_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()

    def refuse(*_: object) -> None:
        raise DeniedError("access denied")

    monkeypatch.setattr(bench.labels, "create", refuse)
    bench.requests.add(REQUEST)
    bench.handler.round()
    assert "cannot be written with these credentials" in bench.runs.get(REQUEST.run_id).problem


def test_one_request_about_a_run_waits_at_a_time() -> None:
    bench = Bench()
    bench.requests.add(REQUEST)
    bench.requests.add(REQUEST)
    with pytest.raises(ConflictError, match="another request about the run"):
        bench.requests.add(dataclasses.replace(REQUEST, action=Action.CANCEL))


@pytest.mark.parametrize("bulk_start", ["command", "web"])
def test_the_controller_carries_out_requests_only_where_they_are_switched_on(bulk_start: str) -> None:
    bench = Bench()
    bench.requests.add(REQUEST)
    settings = Settings(bulk_start=bulk_start, bulk_buckets="photos,labels")
    state: Any = bench.state
    with_requests(settings, state, bench.planner)()
    assert bench.runs.exists(REQUEST.run_id) == (bulk_start == "web")
    assert bool(bench.requests.ids()) == (bulk_start == "command")
