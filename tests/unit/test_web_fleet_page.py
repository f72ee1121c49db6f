"""The fleet's page as the server renders it."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import pytest

from core.fleet_status import (
    KEY,
    Decision,
    FleetStatus,
    InstanceStatus,
    QualityStatus,
    RolloutStatus,
    Sample,
    ShadowStatus,
)
from tests.web import WebBench
from web_tier.pages.fleet import headline, minutes


def sample(at: float, visible: int = 0, desired: int = 0, booting: int = 0, running: int = 0) -> Sample:
    return Sample(at, visible, 0, desired, booting, running, 12.5)


def status(at: float, *history: Sample, decisions: tuple[Decision, ...] = ()) -> FleetStatus:
    return FleetStatus(
        at=at,
        controller_id="c-1",
        profile="balanced",
        min_size=0,
        max_size=15,
        target_latency_seconds=30.0,
        mean_service_seconds=0.006,
        mean_service_measured=True,
        expected_boot_seconds=45.0,
        oldest_job_age_seconds=7.0,
        since=at - 600,
        instance_seconds=900.0,
        answered=4321,
        cost_per_1000_images_usd=0.0123,
        instance_usd_per_hour=0.09,
        instances=(InstanceStatus("i-1", "<b>worker</b>", "running", at - 60, at, 3, 700, 12.5),),
        history=history,
        decisions=decisions,
    )


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_without_a_controller_one_sentence_says_so() -> None:
    page = WebBench().client.get("/fleet")
    assert page.status_code == 200
    assert "No controller has reported yet" in page.text
    assert re.search(r'id="fleet-status" hidden', page.text)


def test_the_page_shows_what_the_controller_reported_last() -> None:
    bench = WebBench()
    now = time.time()
    published = status(now, sample(now, 77, 2, 1, 1), decisions=(Decision(now - 5, 2, 2, "backlog <77> needs 2"),))
    bench.state.put(KEY, published.encode())
    page = bench.client.get("/fleet").text
    text = text_of(page)
    for part in ("1 worker running, 1 booting", "77 waiting", "$0.0123", "$0.756", "+2", "4,321", "6 ms, measured"):
        assert part in text or part.replace(" waiting", "") in text
    assert "backlog &lt;77&gt; needs 2" in page
    assert "&lt;b&gt;worker&lt;/b&gt;" in page
    assert re.search(r'id="stale"[^>]* hidden', page)


def test_rollout_candidate_and_drift_are_reported() -> None:
    bench, now = WebBench(), time.time()
    published = replace(
        status(now, sample(now)),
        rollout=RolloutStatus("failed", "release 2 (model <m>@2)", "3 instances failed", now),
        shadow=ShadowStatus("m@3", 400, 388),
        quality=QualityStatus("m@1", 1000, 500, 0.4, 0.1, "the last 500 answers differ"),
    )
    bench.state.put(KEY, published.encode())
    page = bench.client.get("/fleet").text
    assert "Rollout of release 2 (model &lt;m&gt;@2), failed: 3 instances failed" in page
    assert "Candidate m@3 agrees with 97.0 % of 400 answers" in page
    assert '<li lang="en" dir="ltr" class="alarming">Drift: the last 500 answers differ</li>' in page
    assert [remark.alarming for remark in published.remarks] == [True, False, True]
    assert status(now).remarks == ()


def test_a_status_that_is_old_is_said_to_be() -> None:
    bench = WebBench()
    then = time.time() - 300
    bench.state.put(KEY, status(then, sample(then, running=1)).encode())
    page = bench.client.get("/fleet").text
    assert not re.search(r'id="stale"[^>]* hidden', page)
    assert re.search(r'id="stale-age">30\d\u00a0s<', page)


@pytest.mark.parametrize(
    ("latest", "line"),
    [
        (sample(0), "No workers, no work"),
        (sample(0, visible=5), "Work, but no workers yet"),
        (sample(0, booting=2), "2 booting"),
        (sample(0, running=1), "1 worker running"),
        (sample(0, running=3, booting=1), "3 workers running, 1 booting"),
    ],
)
def test_the_headline_says_what_there_is(latest: Sample, line: str) -> None:
    assert headline(status(0, latest)) == line


def test_the_table_has_the_last_moment_of_each_minute() -> None:
    history = [sample(at, visible=int(at)) for at in (0, 30, 59, 60, 61, 300)]
    assert [row.at for row in minutes(history)] == [300, 61, 59]


def test_the_start_page_lists_recent_batches() -> None:
    bench = WebBench()
    batch_id = bench.create_batch()
    assert f'href="/batches/{batch_id}"' in bench.client.get("/").text


def test_the_start_page_does_without_the_list_where_s3_fails() -> None:
    bench = WebBench()
    bench.create_batch()
    bench.index.fail_next("page")
    page = bench.client.get("/")
    assert page.status_code == 200
    assert "Recent batches" not in page.text
