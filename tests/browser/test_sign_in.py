"""A person who needs an access token: sign in, upload, sign out."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from aws.clients import Clients
from aws.state import StateStore
from aws.tokens import TokenStore
from core.tokens import new_token
from tests.bench import Bench, running_bench
from tests.browser.conftest import OpenTab
from tests.browser.test_page import payload, wait_for_all
from tests.web import JPEG

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def bench(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    settings = {"authentication": "tokens", "max_size": 1}
    with running_bench(settings, tmp_path_factory.mktemp("log")) as bench:
        yield bench


@pytest.fixture(scope="module")
def web_url(bench: Bench) -> str:
    return bench.stack.web_url


@pytest.fixture(scope="module")
def token(bench: Bench) -> str:
    text, record = new_token("ada", ["upload", "read"], time.time())
    clients = Clients(environment=bench.stack.environment)
    TokenStore(StateStore(clients["s3"], bench.stack.settings.state_bucket)).add(record)
    return text


@pytest.mark.parametrize("javascript", [True, False])
def test_sign_in_upload_sign_out(open_tab: OpenTab, token: str, javascript: bool) -> None:
    tab = open_tab(javascript=javascript)
    page = tab.page
    page.goto("/fleet")
    page.get_by_label("Access token").fill("eic_wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("unknown, expired or revoked")
    # The console reports the status 401.
    tab.errors.clear()
    page.get_by_label("Access token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/fleet")
    page.goto("/")
    page.locator("#files").set_input_files([payload("one.jpg", JPEG), payload("two.jpg", JPEG)])
    if javascript:
        wait_for_all(page)
    else:
        page.get_by_role("button", name="Classify").click()
        page.wait_for_url("**/batches/*")
    batch = page.url
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")
    page.goto(batch)
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
