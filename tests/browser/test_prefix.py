"""The program below a path prefix: behind a proxy that removes it, and with a server that knows it."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page, Route, expect

from core.paths import REPOSITORY_ROOT
from local_cloud.processes import spawn, stop_all
from local_cloud.stack import LocalStack
from tests.browser.conftest import OpenTab
from tests.browser.test_page import UPLOADS, payload, small_files, wait_for_all
from tests.prefix_proxy import prefix_proxy
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.browser

PREFIX = "/tools/photos"


def is_up(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthz", timeout=PATIENCE_SECONDS).ok
    except requests.ConnectionError:
        return False


def behind_a_proxy(stack: LocalStack, _log: Path) -> Iterator[str]:
    with prefix_proxy(stack.web_url, PREFIX) as proxy:
        yield proxy.url
        assert proxy.outside == []


def with_script_name(stack: LocalStack, log: Path) -> Iterator[str]:
    """A second web tier of the same stack, whose server has the prefix in its environment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}{PREFIX}"
        command = [sys.executable, "-m", "web_tier", "--workers", "1", "--bind", f"fd://{listener.fileno()}"]
        environment = {**stack.environment, "SCRIPT_NAME": PREFIX}
        server = spawn(command, environment, log, REPOSITORY_ROOT, pass_fds=[listener.fileno()])
    try:
        wait_until(lambda: is_up(url) or server.poll() is not None, "the web tier did not start")
        yield url
    finally:
        stop_all([server], PATIENCE_SECONDS)


@pytest.fixture(scope="module", params=[behind_a_proxy, with_script_name])
def web_url(
    stack: LocalStack, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    yield from request.param(stack, tmp_path_factory.mktemp("log") / "web-tier.log")


def requested(page: Page) -> list[str]:
    """A list that grows with the path of each request of the page."""
    found: list[str] = []
    page.on("request", lambda request: found.append(re.sub(r"^https?://[^/]+", "", request.url)))
    return found


def check(paths: list[str]) -> None:
    """Checks that everything was requested below the prefix; the tab itself checks that nothing failed."""
    assert paths
    assert [path for path in paths if not path.startswith((f"{PREFIX}/", "blob:", "data:"))] == []


def test_every_page_works_below_a_prefix(open_tab: OpenTab, web_url: str) -> None:
    page = open_tab().page
    paths = requested(page)
    page.goto(f"{web_url}/")
    page.set_input_files("#files", small_files(30))
    page.wait_for_url(f"{web_url}/batches/*")
    wait_for_all(page)
    page.reload()
    wait_for_all(page)
    page.wait_for_function("() => document.querySelector('#sheet img')?.naturalWidth > 0")
    page.locator("#sheet button").first.click()
    page.wait_for_function("() => document.getElementById('viewer-image').naturalWidth > 0")
    page.keyboard.press("Escape")
    for button in ("#csv", "#json"):
        with page.expect_download() as download:
            page.click(button)
        assert "0.jpg" in Path(download.value.path()).read_text()
    page.get_by_role("link", name="Fleet").click()
    expect(page.locator("#fleet-status")).to_be_visible()
    page.get_by_role("link", name="New batch").click()
    expect(page.locator("#recent a span").first).to_have_text("30 images")
    page.locator("#recent a").first.click()
    wait_for_all(page)
    check(paths)


def test_the_page_to_try_the_api_works_below_a_prefix(open_tab: OpenTab, web_url: str) -> None:
    page = open_tab().page
    paths = requested(page)
    page.goto(f"{web_url}/api/v1/docs")
    page.locator(".opblock-summary", has_text="/api/v1/limits").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table tbody .response-col_status").first).to_contain_text("200")
    check(paths)
    assert f"{PREFIX}/api/v1/limits" in paths


def test_a_lost_connection_is_noticed_below_a_prefix(open_tab: OpenTab, web_url: str) -> None:
    tab = open_tab()
    page = tab.page
    paths = requested(page)
    aborted: list[Route] = []

    def once(route: Route) -> None:
        route.continue_() if aborted else route.abort("connectionreset")
        aborted.append(route)

    page.route(UPLOADS, once)
    page.goto(f"{web_url}/")
    page.set_input_files("#files", small_files(2))
    wait_for_all(page)
    check(paths)
    assert f"{PREFIX}/healthz" in paths
    tab.errors.clear()  # the browser's own line about the lost connection


def test_the_form_works_below_a_prefix_without_javascript(open_tab: OpenTab, web_url: str) -> None:
    page = open_tab(javascript=False).page
    paths = requested(page)
    page.goto(f"{web_url}/")
    page.set_input_files("#files", [*small_files(2), payload("notes.txt", b"no image")])
    page.click("#submit")
    page.wait_for_url(f"{web_url}/batches/*")
    expect(page.locator("#state")).to_have_text("All 3 answered")
    check(paths)
