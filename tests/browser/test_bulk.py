"""The page of bulk runs in a browser: it renews itself, and keeps the keyboard's place while it does."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from aws.bulk_runs import BulkRunRecords
from tests.unit.test_web_bulk import RUN, bench_with, requests_of

pytestmark = pytest.mark.browser


def test_the_focus_stays_on_a_button_while_the_list_is_renewed(browser: Browser) -> None:
    bench = bench_with(RUN, bulk_start="web")
    state: Any = bench.state
    with bench.served() as address, browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{address}/bulk")
        cancel = page.get_by_role("button", name="Cancel")
        cancel.focus()
        BulkRunRecords(state).update(RUN.run_id, lambda run: dataclasses.replace(run, done_images=500))
        expect(page.locator(".run-count")).to_contain_text("500 of 1,000")
        expect(cancel).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator(".run-asked")).to_have_text("It is being cancelled…")
        assert [request.action for request in requests_of(bench)] == ["cancel"]
        # The page that followed; the server would be stopped while it sends its scripts.
        page.wait_for_load_state()
