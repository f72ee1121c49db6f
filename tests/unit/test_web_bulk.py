"""Bulk runs in the web tier: what operators see, and that others do not."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from aws.bulk_requests import BulkRequests
from aws.bulk_runs import BulkRunRecords
from core.bulk_request import Action, BulkRequest
from core.bulk_run import BulkRun, Status
from core.fleet_costs import format_usd
from tests.web import WebBench
from web_tier.domain.bulk_reader import MAX_RUNS, BulkReader
from web_tier.pages.bulk import facts, money

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


ON = {"bulk_start": "web"}
FORM = {"source": "s3://photos/2026/", "output": "s3://labels/2026/", "format": "jsonl"}


def requests_of(bench: WebBench) -> list[BulkRequest]:
    state: Any = bench.state
    requests = BulkRequests(state)
    return [request for run_id in requests.ids() if (request := requests.get(run_id)) is not None]


def test_the_form_asks_for_a_run_and_the_page_shows_it_until_the_controller_takes_it_up() -> None:
    bench = bench_with(**ON)
    form = bench.client.get("/bulk/new").text
    assert 'action="/bulk"' in form and "s3://elastic-output/bulk/2026/" in form
    filled_in = FORM | {"include": "*.png *.jpg", "max_instances": "3", "finish_within_hours": "1.5"}
    response = bench.client.post("/bulk", data=filled_in)
    assert (response.status_code, response.location) == (303, "/bulk")
    (request,) = requests_of(bench)
    assert (request.action, request.source, request.output) == ("start", "s3://photos/2026/", "s3://labels/2026/")
    assert (request.include, request.format) == (("*.png", "*.jpg"), "jsonl")
    assert (request.max_instances, request.finish_within_seconds) == (3, 5400.0)
    text = text_of(bench.client.get("/bulk").text)
    assert "requested s3://photos/2026/" in text and "The controller has not taken it up yet" in text
    shown = bench.client.get(f"/api/v1/bulk/{request.run_id}").get_json()
    assert shown["status"] == "requested" and [shown] == bench.client.get("/api/v1/bulk").get_json()["runs"]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"source": "photos"}, "photos is not an address"),
        ({"output": "s3://UPPER/"}, "UPPER cannot be the name of a bucket"),
        ({"output": "s3://photos"}, "the output needs a prefix of its own"),
        ({"max_instances": "many"}, "&#39;many&#39; is not a number of instances"),
        ({"max_instances": "0"}, "is not a number of instances"),
        ({"finish_within_hours": "nan"}, "is not a number of hours"),
        ({"format": "xls"}, "there is no such format"),
    ],
)
def test_a_form_with_a_mistake_is_shown_again_with_what_was_filled_in(fields: dict[str, str], problem: str) -> None:
    bench = bench_with(**ON)
    response = bench.client.post("/bulk", data=FORM | {"include": "*.tif"} | fields)
    assert response.status_code == 422 and problem in response.text and 'value="*.tif"' in response.text
    assert requests_of(bench) == []


def test_the_api_asks_for_a_run() -> None:
    bench = bench_with(**ON)
    wanted = {"source": "s3://photos/", "output": "s3://labels/a/", "max_instances": 2, "columns": ["image", "score"]}
    response = bench.client.post("/api/v1/bulk", json=wanted)
    found = response.get_json()
    assert response.status_code == 202 and found["requested"] == "start"
    assert response.location.endswith(f"/api/v1/bulk/{found['run_id']}")
    (request,) = requests_of(bench)
    assert (request.run_id, request.columns, request.owner) == (found["run_id"], ("image", "score"), "local")


@pytest.mark.parametrize(
    "fields",
    [
        {"source": "photos"},
        {"output": "s3://photos"},
        {"columns": ["colour"]},
        {"max_instances": 0},
        {"images_per_job": 10_000},
        {"at_most_usd": 5},
        {"finish_within_seconds": -1},
    ],
)
def test_the_api_refuses_what_could_not_be_started(fields: dict[str, Any]) -> None:
    bench = bench_with(**ON)
    body = {"source": "s3://photos/", "output": "s3://labels/a/"} | fields
    response = bench.client.post("/api/v1/bulk", json=body)
    assert response.status_code == 422 and response.mimetype == "application/problem+json"
    assert requests_of(bench) == []


@pytest.mark.parametrize(
    ("status", "possible"),
    [
        (Status.RUNNING, "cancel"),
        (Status.CANCELLED, "resume"),
        (Status.FAILED, "resume"),
        (Status.COMPLETE, ""),
        (Status.REFUSED, ""),
    ],
)
def test_a_run_can_be_cancelled_or_resumed_by_what_it_is(status: Status, possible: str) -> None:
    for action in ("cancel", "resume"):
        bench = bench_with(dataclasses.replace(RUN, status=status), **ON)
        page = bench.client.get("/bulk").text
        assert (f'action="/bulk/{RUN.run_id}/{action}"' in page) == (action == possible)
        path = f"/bulk/{RUN.run_id}/{action}"
        by_page, by_api = bench.client.post(path), bench.client.post(f"/api/v1{path}")
        if action != possible:
            # A run at work can be resumed, which enqueues its missing jobs again; no button offers that.
            expected = (303, 409) if (status, action) == (Status.RUNNING, "resume") else (409, 409)
            assert (by_page.status_code, by_api.status_code) == expected
            continue
        assert by_page.status_code == 303
        assert by_api.status_code == 409 and "another request" in by_api.get_json()["detail"]
        assert [request.action for request in requests_of(bench)] == [action]
        page = bench.client.get("/bulk").text
        assert "It is being" in page and f'action="{path}"' not in page


def test_requests_are_switched_off_by_default() -> None:
    bench = bench_with(RUN)
    page = bench.client.get("/bulk").text
    assert "<form" not in page.partition("<main")[2] and "/bulk/new" not in page
    assert bench.client.get("/bulk/new").status_code == 403
    for path in ("", f"/{RUN.run_id}/cancel", f"/{RUN.run_id}/resume"):
        assert bench.client.post(f"/bulk{path}", data=FORM).status_code == 403
        refused = bench.client.post(f"/api/v1/bulk{path}", json={"source": "s3://photos/", "output": "s3://labels/a/"})
        assert refused.status_code == 403 and "EIC_BULK_START=web" in refused.get_json()["detail"]
    assert requests_of(bench) == []


def test_operators_alone_ask_for_runs_and_pages_of_other_sites_do_not() -> None:
    bench = bench_with(RUN, authentication="tokens", **ON)
    user, operator = bench.token("ada", "read", "upload"), bench.token("eve", "admin", "read")
    wanted = {"source": "s3://photos/", "output": "s3://labels/a/"}
    for path in ("/bulk", f"/bulk/{RUN.run_id}/cancel", f"/bulk/{RUN.run_id}/resume"):
        assert bench.client.post(path, data=FORM, headers=user).status_code == 403
        assert bench.client.post(f"/api/v1{path}", json=wanted, headers=user).status_code == 403
        foreign = operator | {"Sec-Fetch-Site": "cross-site"}
        assert bench.client.post(path, data=FORM, headers=foreign).status_code == 403
    assert requests_of(bench) == []
    assert bench.client.post("/api/v1/bulk", json=wanted, headers=operator).status_code == 202
    assert [request.owner for request in requests_of(bench)] == ["eve"]


def test_a_refused_run_is_shown_with_its_reason() -> None:
    refused = dataclasses.replace(RUN, status=Status.REFUSED, problem="the bucket photos is not allowed")
    text = text_of(bench_with(refused, **ON).client.get("/bulk").text)
    assert "refused" in text and "the bucket photos is not allowed" in text and "images per second" not in text


def test_limits_and_money_are_shown() -> None:
    run = dataclasses.replace(RUN, max_instances=4, finish_by=1_700_003_600.0)
    assert ("instances at most", "4") in facts(run, RUN.created_at + 1)
    assert ("to be finished by", "Nov 14, 2023, 23:13 UTC") in facts(run, RUN.created_at + 1)
    assert money(run, 0.4) == [("so far, on AWS", format_usd(0.4)), ("still to come", format_usd(0.6))]
    shown = bench_with(run).client.get(f"/api/v1/bulk/{RUN.run_id}").get_json()
    assert (shown["max_instances"], shown["finish_by"]) == (4, 1_700_003_600.0) and shown["usd"] > 0


def test_a_run_is_found_while_the_controller_takes_up_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process of the web tier has cached lists without it; the record comes just before the request goes."""
    bench = bench_with(**ON)
    bench.client.get("/bulk")
    state: Any = bench.state
    request = BulkRequest("20260102-030405-0123456789ac", Action.START, 1.0, "eve", FORM["source"], FORM["output"])
    requests, runs = BulkRequests(state), BulkRunRecords(state)
    requests.add(request)
    path = f"/api/v1/bulk/{request.run_id}"
    assert bench.client.get(path).get_json()["status"] == "requested"

    def take_up(reader: object, run_id: str) -> None:
        runs.start(request.run())
        requests.delete(run_id)

    monkeypatch.setattr(BulkReader, "request", take_up)
    assert bench.client.get(path).get_json()["status"] == "running"


def test_a_run_that_has_begun_is_listed_once() -> None:
    bench = bench_with(**ON)
    run_id = bench.client.post("/api/v1/bulk", json={"source": "s3://photos/", "output": "s3://labels/a/"}).get_json()[
        "run_id"
    ]
    state: Any = bench.state
    BulkRunRecords(state).start(dataclasses.replace(RUN, run_id=run_id))
    assert [run["run_id"] for run in bench.client.get("/api/v1/bulk").get_json()["runs"]] == [run_id]
    assert bench.client.get("/bulk").text.count(f'id="run-{run_id}"') == 1
