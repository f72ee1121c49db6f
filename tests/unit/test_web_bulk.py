"""Bulk runs in the web tier: what operators see, and that others do not."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from aws.bulk_runs import BulkRunRecords
from core.bulk_run import BulkRun, Status
from tests.web import WebBench
from web_tier.domain.bulk_reader import MAX_RUNS
from web_tier.pages.bulk import facts

RUN = BulkRun(
    "20260102-030405-0123456789ab",
    "photos",
    "<b>2026</b>/",
    "labels",
    "out/",
    created_at=1_700_000_000.0,
    is_planned=True,
    planned_segments=1,
    planned_jobs=7,
    planned_images=1000,
    done_images=400,
    skipped=3,
)


def bench_with(*runs: BulkRun, **settings: Any) -> WebBench:
    bench = WebBench(**settings)
    state: Any = bench.state
    for run in runs:
        BulkRunRecords(state).start(run)
    return bench


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_without_runs_the_page_says_how_to_start_one() -> None:
    page = bench_with().client.get("/bulk")
    assert page.status_code == 200 and "No bulk run yet" in page.text and "elastic bulk start" in page.text
    assert "http-equiv" not in page.text, "nothing changes"


def test_the_page_shows_each_run_with_its_progress() -> None:
    failed = dataclasses.replace(
        RUN, run_id="20260102-030406-0123456789ab", status=Status.FAILED, problem="no such bucket", finished_at=1.7e9
    )
    page = bench_with(RUN, failed).client.get("/bulk").text
    text = text_of(page)
    assert "1 run at work" in text and "400 of 1,000 images" in text and "objects not included: 3" in text
    assert "no such bucket" in text and text.index("no such bucket") < text.index("running")
    assert "s3://photos/&lt;b&gt;2026&lt;/b&gt;/" in page
    assert '<progress max="1000" value="400"' in page
    assert '<noscript><meta http-equiv="refresh"' in page, "it works without JavaScript"


@pytest.mark.parametrize(
    ("fields", "now", "expected"),
    [
        ({}, 20.0, {"images per second": "20.0", "time so far": "20\u00a0s", "time left": "30\u00a0s"}),
        ({"done_images": 0}, 20.0, {"images per second": "0.0", "time so far": "20\u00a0s"}),
        ({"is_planned": False}, 20.0, {"images per second": "20.0", "time so far": "20\u00a0s"}),
        (
            {"status": Status.COMPLETE, "done_images": 1000, "finished_at": 1_700_000_125.0},
            9e9,
            {"images per second": "8.0", "time": "2\u00a0min 5\u00a0s"},
        ),
    ],
)
def test_rate_and_times(fields: dict[str, Any], now: float, expected: dict[str, str]) -> None:
    assert dict(facts(dataclasses.replace(RUN, **fields), RUN.created_at + now)) == expected


def test_the_api_lists_and_shows_runs() -> None:
    client = bench_with(RUN).client
    (listed,) = client.get("/api/v1/bulk").get_json()["runs"]
    assert listed == client.get(f"/api/v1/bulk/{RUN.run_id}").get_json()
    assert (listed["status"], listed["images"], listed["answered"], listed["finished_at"]) == (
        "running",
        1000,
        400,
        None,
    )
    assert (listed["source"], listed["output"]) == ("s3://photos/<b>2026</b>/", "s3://labels/out/")


@pytest.mark.parametrize("run_id", ["20260102-030405-ffffffffffff", "x", "..", "x" * 100])
def test_an_unknown_run_is_not_found(run_id: str) -> None:
    response = bench_with(RUN).client.get(f"/api/v1/bulk/{run_id}")
    assert response.status_code == 404 and response.mimetype in ("application/problem+json", "text/html")


def test_only_the_newest_runs_are_read() -> None:
    runs = [dataclasses.replace(RUN, run_id=f"20260102-0304{number:02}-0123456789ab") for number in range(MAX_RUNS + 5)]
    bench = bench_with(*runs)
    listed = bench.client.get("/api/v1/bulk").get_json()["runs"]
    assert [run["run_id"] for run in listed] == [run.run_id for run in reversed(runs)][:MAX_RUNS]
    requests = len(bench.state.calls)
    bench.client.get("/api/v1/bulk")
    assert len(bench.state.calls) == requests, "cached"


def test_operators_alone_see_bulk_runs() -> None:
    bench = bench_with(RUN, authentication="tokens")
    user, operator = bench.token("ada", "read", "upload"), bench.token("eve", "admin", "read")
    for path in ("/bulk", "/api/v1/bulk", f"/api/v1/bulk/{RUN.run_id}"):
        assert bench.client.get(path, headers=user).status_code == 403
        assert bench.client.get(path, headers=operator).status_code == 200
    assert "/bulk" not in bench.client.get("/fleet", headers=user).text
    assert 'href="/bulk"' in bench.client.get("/fleet", headers=operator).text
    assert bench.client.get("/api/v1/bulk").status_code == 401
    assert bench.client.get("/bulk").status_code in (302, 303), "a browser is led to the form"
