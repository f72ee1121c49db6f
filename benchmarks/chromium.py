"""Start a headless Chromium for benchmarks, screenshots and browser tests.

Playwright, which drives it, is a development dependency only.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from core.errors import ElasticError

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Each window renders two pages of its own for the address bar, which nothing here sees: half of the time that opening a
# page takes.  Chromium heeds only the last such switch, so what Playwright disables with it is named again.
_DISABLED_FEATURES = (
    "WebUIOmniboxPopup", "WebUIOmniboxAimPopup", "WebUIOmniboxFullPopup", "WebUIOmniboxSimplification",
    "AimEnabled", "AvoidCorsURLLoaderRestartOnRedirect", "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose", "HttpsFirstBalancedModeAutoEnable", "HttpsUpgrades", "MediaRouter",
    "NetworkTimeServiceQuerying", "OptimizationHints", "PaintHolding", "PreconnectToSearch",
    "ThirdPartyStoragePartitioning",
)  # fmt: skip
CHROMIUM_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-features=" + ",".join(_DISABLED_FEATURES),
)


class NoBrowserError(ElasticError):
    """Playwright or Chromium is not installed."""


@contextmanager
def browser() -> Iterator[Browser]:
    """Starts the Chromium that is installed on this machine.

    Raises:
        NoBrowserError: there is none, or Playwright is not installed.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise NoBrowserError("Playwright is not installed; `make setup` installs everything for development") from error
    path = find_chromium()
    if path is None:
        raise NoBrowserError(f"no Chromium on this machine (looked for {', '.join(CHROMIUM_NAMES)})")
    arguments = [*CHROMIUM_ARGUMENTS, "--hide-scrollbars"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=arguments)
        yield chromium
        chromium.close()


def find_chromium() -> str | None:
    """The path of an installed Chromium; None if there is none."""
    return next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
