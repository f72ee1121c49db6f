"""A real Chromium in front of the whole running program."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Request, Route, expect, sync_playwright
from playwright.sync_api import Error as PlaywrightError

from benchmarks.chromium import CHROMIUM_ARGUMENTS, CHROMIUM_NAMES, find_chromium
from local_cloud.stack import LocalStack

# Playwright's own patience, five seconds, is too short for a machine that others use, too.
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium as installed on this machine; skips where there is none."""
    path = find_chromium()
    if path is None:
        pytest.skip(f"no Chromium on this machine (looked for {', '.join(CHROMIUM_NAMES)})")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=[*CHROMIUM_ARGUMENTS])
        yield chromium
        chromium.close()


@pytest.fixture(scope="package")
def stack(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A running program, which believes one proxy in front of it."""
    settings = {"max_size": 2, "forwarded_proxies": 1, "bulk_start": "web"}
    with LocalStack(settings, log_directory=tmp_path_factory.mktemp("log")) as stack:
        yield stack


@pytest.fixture(scope="package")
def web_url(stack: LocalStack) -> str:
    """The address of a running program."""
    return stack.web_url


@dataclass
class Tab:
    """One browser tab, and what went wrong in it.

    `held` are the requests that a test has stopped on their way; those it never lets go end with the tab.
    `questions` counts how often the browser asked whether to leave the page.  It leaves if `may_leave` is set;
    otherwise the question is an error.
    """

    page: Page
    may_leave: bool = False
    questions: int = 0
    held: list[Route] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    foreign_requests: list[str] = field(default_factory=list)

    def hold(self, url: str, passes: Callable[[Route], bool] = lambda route: False) -> list[Route]:
        """Stops requests to `url` on their way, as a slow network does, but those that pass; returns those held."""
        self.page.route(url, lambda route: route.continue_() if passes(route) else self.held.append(route))
        return self.held

    def close(self) -> None:
        """Closes the tab.  A held request that is never let go would be a task that Python complains of much later."""
        for route in self.held:
            with suppress(PlaywrightError):  # it was let go
                route.abort()
        self.page.context.close()


OpenTab = Callable[..., Tab]


@pytest.fixture
def open_tab(browser: Browser, web_url: str) -> Iterator[OpenTab]:
    """Opens tabs; afterwards none may have console errors or have sent a request to another origin.

    A test that provokes errors clears the tab's `errors` itself, and one with a server of its own names its `origin`.
    """
    tabs: list[Tab] = []

    def open_one(
        width: int = 1280, height: int = 800, javascript: bool = True, origin: str = web_url, **options: Any
    ) -> Tab:
        own = urlsplit(origin).netloc
        context = browser.new_context(
            viewport={"width": width, "height": height}, java_script_enabled=javascript, base_url=origin, **options
        )
        context.set_default_timeout(PATIENCE_MS)
        tab = Tab(context.new_page())
        tabs.append(tab)

        def on_console(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                tab.errors.append(f"{message.text} ({message.location.get('url', '')})")

        def on_dialog(dialog: Dialog) -> None:
            if dialog.type == "beforeunload" and tab.may_leave:
                tab.questions += 1
                dialog.accept()
                return
            tab.errors.append(f"dialog {dialog.message}")
            dialog.dismiss()

        def on_request(request: Request) -> None:
            parts = urlsplit(request.url)
            if parts.scheme not in ("blob", "data") and parts.netloc != own:
                tab.foreign_requests.append(request.url)

        tab.page.on("console", on_console)
        tab.page.on("pageerror", lambda error: tab.errors.append(str(error)))
        tab.page.on("request", on_request)
        tab.page.on("dialog", on_dialog)
        return tab

    yield open_one
    for tab in tabs:
        tab.close()
        assert tab.errors == []
        assert tab.foreign_requests == []
