"""What remains on the page when all is answered: the times, no stale notice; and how the batch is deleted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from core.settings import Settings
from tests.browser.conftest import OpenTab
from tests.browser.test_limits import serious
from tests.browser.test_page import UPLOADS, payload, small_files, wait_for_all
from tests.web import JPEG

pytestmark = pytest.mark.browser

TIMES = re.compile(
    r"^First answer after [\d.]+\ss, last after [\d.]+\ss; "
    r"waiting [\d.]+\ss, booting [\d.]+\ss, classifying [\d.]+\ss \(median of 3 of 4 images\)$"
)


def test_a_notice_about_a_large_file_goes_with_the_upload(open_tab: OpenTab, tmp_path: Path) -> None:
    large = tmp_path / "large.jpg"
    large.write_bytes(JPEG + bytes(Settings().max_image_bytes))
    small = tmp_path / "small.jpg"
    small.write_bytes(JPEG)
    tab = open_tab()
    page, held = tab.page, tab.hold(UPLOADS)
    page.goto("/")
    expect(page.locator(".limits")).to_contain_text("up to 10 MiB")
    page.set_input_files("#files", [large, small])
    expect(page.locator("#notice")).to_have_text("1 is larger than 10 MiB and will be refused.")
    while len(held) < 2:
        page.wait_for_timeout(20)
    for route in held:
        route.continue_()
    wait_for_all(page)
    expect(page.locator("#notice")).to_be_hidden()
    expect(page.locator('.frame[data-state="failed"] .label')).to_have_text(
        "the file is larger than the limit of 10 MiB"
    )


@pytest.mark.parametrize("javascript", [True, False])
def test_times_are_shown_and_the_batch_is_deleted(open_tab: OpenTab, javascript: bool) -> None:
    page = open_tab(javascript=javascript).page
    page.goto("/")
    page.set_input_files("#files", [*small_files(3), payload("notes.txt", b"no image")])
    if not javascript:
        page.click("#submit")
    expect(page.locator("#state")).to_have_text("All 4 answered, 1 failed" if javascript else "All 4 answered")
    expect(page.locator("#response-times")).to_have_text(TIMES)
    batch = page.url
    page.get_by_role("link", name="Delete").click()
    expect(page.get_by_role("heading")).to_have_text("Delete this batch?")
    page.get_by_role("link", name="Keep it").click()
    page.wait_for_url(batch)
    expect(page.locator("#response-times")).to_have_text(TIMES)
    page.get_by_role("link", name="Delete").click()
    page.get_by_role("button", name="Delete the batch").click()
    expect(page.get_by_role("status").first).to_contain_text("is deleted, with its images and results")
    expect(page.locator(f'#recent a[href="{batch.partition("//")[2].partition("/")[2]}"]')).to_have_count(0)
    response = page.request.get(batch)
    assert response.status == 404


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_the_question_is_accessible_and_fits(open_tab: OpenTab, width: int, height: int) -> None:
    tab = open_tab(width, height, bypass_csp=True)
    page: Page = tab.page
    page.goto("/")
    page.set_input_files("#files", small_files(2))
    wait_for_all(page)
    expect(page.locator("#response-times")).to_be_visible()
    fits = "document.documentElement.scrollWidth <= innerWidth"
    assert serious(page) == [] and page.evaluate(fits)
    page.get_by_role("link", name="Delete").click()
    expect(page.get_by_role("heading")).to_have_text("Delete this batch?")
    assert serious(page) == [] and page.evaluate(fits)
