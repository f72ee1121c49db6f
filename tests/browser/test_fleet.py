"""The fleet's page in a browser: the real fleet's, and a made history whose every number is known."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PATIENCE_MS, OpenTab
from tests.browser.test_page import small_files, wait_for_all

pytestmark = pytest.mark.browser


def made_status(now: float) -> dict[str, Any]:
    """A status as the API returns it: 100 samples, 10 s apart, whose backlog is their number times ten."""
    history = [
        {
            "at": now - 990 + 10 * number,
            "visible": 10 * number,
            "in_flight": number,
            "desired": 1 + number // 20,
            "booting": 1,
            "running": number // 20,
            "images_per_second": number / 2,
        }
        for number in range(100)
    ]
    decisions = [
        {"at": now - 60, "desired": 5, "change": 1, "reason": "<b>backlog</b> 990"},
        {"at": now - 30, "desired": 4, "change": -2, "reason": "keeping 4"},
    ]
    instance = {"instance_id": "i-1", "name": "app-tier-1", "state": "running", "launched_at": now - 300}
    return {
        "at": now,
        "controller_id": "c",
        "profile": "balanced",
        "min_size": 0,
        "max_size": 15,
        "target_latency_seconds": 30,
        "mean_service_seconds": 0.006,
        "mean_service_measured": True,
        "expected_boot_seconds": 45,
        "oldest_job_age_seconds": None,
        "since": now - 990,
        "instance_seconds": 1000,
        "answered": 12345,
        "cost_per_1000_images_usd": 0.0125,
        "instances": [{**instance, "reported_at": now, "in_hand": 4, "answered": 900, "images_per_second": 9.5}],
        "history": history,
        "decisions": decisions,
        "costs": {
            "region": "us-east-1",
            "date": "2026-11-28",
            "compute": {"usd_per_hour": 0.45, "usd_per_1000_images": 0.0125},
            "requests": {"usd_per_hour": 1234.5, "usd_per_1000_images": 0.0141},
            "standing": {"usd_per_hour": 0.1039, "usd_per_1000_images": None},
            "total": {"usd_per_hour": 1235.0539, "usd_per_1000_images": None},
        },
        "remarks": [
            {"sentence": "Candidate <i>m@2</i> agrees with 97.0 % of 400 answers", "alarming": False},
            {"sentence": "Drift: other labels", "alarming": True},
        ],
    }


@pytest.fixture
def made_page(open_tab: OpenTab) -> Page:
    page = open_tab().page
    status = made_status(time.time())
    page.route("**/api/v1/fleet", lambda route: route.fulfill(json=status))
    page.goto("/fleet")
    expect(page.locator("#headline")).to_have_text("4 workers running, 1 booting")
    return page


def test_the_page_shows_what_the_controller_reports(made_page: Page) -> None:
    page = made_page
    for field, text in (("visible", "990"), ("cost", "$1,235.05"), ("oldest", "–"), ("answered", "12,345")):
        expect(page.locator(f'[data-field="{field}"]')).to_have_text(text)
    cells = ["$0.450", "$0.0125", "$1,234.50", "$0.0141", "$0.104", "–", "$1,235.05", "–"]
    expect(page.locator("#costs td")).to_have_text(cells)
    expect(page.locator("#span")).to_have_text("The last 17 minutes")
    expect(page.locator("#decisions .change")).to_have_text(["-2", "+1"])
    expect(page.locator("#decisions .reason").last).to_have_text("<b>backlog</b> 990")
    expect(page.locator("#instances tbody tr")).to_have_count(1)
    expect(page.locator("#remarks li")).to_have_text(
        ["Candidate <i>m@2</i> agrees with 97.0 % of 400 answers", "Drift: other labels"]
    )
    expect(page.locator("#remarks .alarming")).to_have_count(1)
    page.click("summary")
    page.wait_for_function("() => [17, 18].includes(document.querySelectorAll('#samples tbody tr').length)")
    for name in ("running", "booting", "desired", "in_flight", "visible", "images_per_second"):
        expect(page.locator(f"path.layer-{name}")).to_have_attribute("d", re.compile("^M(?!.*NaN)"))


def test_the_chart_is_read_by_keyboard_and_pointer(made_page: Page) -> None:
    page = made_page
    cursor = page.locator("#cursor")
    expect(cursor).to_have_attribute("aria-valuenow", "99")
    cursor.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(page.locator('[data-reading="visible"]')).to_have_text("10")
    expect(cursor).to_have_attribute("aria-valuetext", re.compile("0 running, 1 booting, 1 desired; 10 waiting, 1 in"))
    page.keyboard.press("Escape")
    expect(page.locator("#moment")).to_have_text("now")
    box = cursor.bounding_box()
    assert box is not None
    cursor.hover(position={"x": box["width"] - 7, "y": 40})
    expect(page.locator('[data-reading="visible"]')).to_have_text("990")
    expect(page.locator(".cursor-line").first).to_have_attribute("visibility", "visible")


def test_the_history_as_a_table_has_what_the_chart_has(made_page: Page) -> None:
    made_page.click("summary")
    newest = made_page.locator("#samples tbody tr").first.locator("td")
    expect(newest).to_have_text(["990", "99", "5", "1", "4", "49.5"])


def test_a_server_that_is_gone_is_reported(open_tab: OpenTab) -> None:
    tab = open_tab()
    page = tab.page
    page.goto("/fleet")
    page.context.set_offline(True)
    expect(page.locator("#unreachable")).to_be_visible(timeout=PATIENCE_MS)
    page.context.set_offline(False)
    expect(page.locator("#unreachable")).to_be_hidden(timeout=PATIENCE_MS)
    tab.errors.clear()  # the browser's own lines about the network


def test_the_real_fleet_grows_on_the_page(open_tab: OpenTab) -> None:
    tab = open_tab()
    fleet = tab.page
    fleet.goto("/fleet")
    other = open_tab().page
    other.goto("/")
    other.set_input_files("#files", small_files(100))
    fleet.bring_to_front()
    expect(fleet.locator("#headline")).to_have_text(re.compile(r"\d workers? running"), timeout=PATIENCE_MS)
    expect(fleet.locator("#decisions .reason").first).to_have_text(re.compile("backlog"))
    expect(fleet.locator("path.layer-running")).to_have_count(1)
    other.bring_to_front()
    wait_for_all(other)


def test_without_javascript_the_numbers_are_there(open_tab: OpenTab) -> None:
    page = open_tab(javascript=False).page
    page.goto("/fleet")
    expect(page.locator('[data-field="running"]')).to_have_text(re.compile(r"^\d+$"))
    expect(page.locator("#history")).to_be_hidden()
    page.locator("summary").click()
    assert page.locator("#samples tbody tr").count() >= 1
