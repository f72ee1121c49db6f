"""`elastic screenshots`: take the documentation's screenshots of the pages, from a real run.

Playwright, which drives the browser, is a development dependency only.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmarks.chromium import browser
from cli.options import quiet
from cli.session import console, local_stack, stop_on_signals
from core.errors import ArgumentError, ElasticError
from core.sizes import format_bytes
from local_cloud.sample_photos import from_packages, make_crops

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

CROPS = 900
SEED = 7
TIMEOUT_MS = 240_000
# The screenshots are committed: the JPEG quality is lowered until the file is small enough.
MAX_BYTES = 150_000
QUALITIES = (80, 72, 64, 56, 48)
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True}
# Slow enough for a screenshot of an upload in progress.
UPLOAD_BYTES_PER_SECOND = 2_000_000

Report = Callable[[Path], None]


class NotInTimeError(ElasticError):
    """The workers booted before the upload ended: this machine is too busy for the screenshot of the warm-up."""


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("docs/images"),
    show_default=True,
    help="Folder for the screenshots.",
)
@quiet
def screenshots(out: Path) -> None:
    """Take the documentation's screenshots of the pages.

    Uploads photos to a local stack with Chromium.  Needs Playwright and Chromium.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArgumentError(f"the folder {out} cannot be made: {error.strerror}") from error
    stop_on_signals(raising=True)
    # A long boot, so that the warm-up is visible; few workers, so that the batch takes a while.
    with local_stack(3, {"target_latency_seconds": 10.0}, boot_seconds=30.0) as stack:
        take(stack.web_url, out, lambda path: console.print(f"{path}, {format_bytes(path.stat().st_size)}"))


def take(url: str, folder: Path, report: Report) -> None:
    """Takes all screenshots.

    Args:
        url: the address of a running web tier, whose fleet is at 0 and takes some seconds to boot.
        folder: where the screenshots are written, as ``<page>-<screen>.jpg``.
        report: called with the path of each screenshot.

    Raises:
        NoBrowserError: Playwright or Chromium is not installed.
        NoPhotosError: no package with photos is installed.
        NotInTimeError: the fleet booted too soon.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, browser() as chromium:
        _Session(chromium, url, folder, report, Path(temporary)).run()


def free_photos() -> list[Path]:
    """The photos of `from_packages` in the public domain or under CC0: scikit-image's and matplotlib's."""
    return [path for path in from_packages() if "sklearn" not in path.parts]


class _Session:
    def __init__(self, chromium: Browser, url: str, folder: Path, report: Report, temporary: Path) -> None:
        self._chromium = chromium
        self._url = url
        self._folder = folder
        self._report = report
        self._temporary = temporary

    def run(self) -> None:
        # A first, small batch, so that the start page has something to list.
        self._batch(free_photos()[:12], "workshop")
        self._everywhere("upload", "/")
        self._wait_for_empty_fleet()
        page = self._open(DESKTOP)
        self._upload_slowly(page)
        path = page.url.removeprefix(self._url)
        page.wait_for_function("() => !document.getElementById('transfer').textContent", timeout=TIMEOUT_MS)
        if page.get_attribute("#batch", "data-state") != "warming":
            raise NotInTimeError
        self._shoot(page, "warming-desktop")
        self._wait_for(page, "classifying")
        page.wait_for_function("() => document.getElementById('answered-bar').value > 300", timeout=TIMEOUT_MS)
        self._shoot(page, "running-desktop")
        self._everywhere("running", path, but=("desktop",), state="classifying")
        self._everywhere("fleet", "/fleet", ready="path.layer-running")
        self._wait_for(page, "done")
        self._everywhere("done", path, state="done")
        self._everywhere("look", path, state="done", act=_look)
        self._everywhere("failed", path, state="done", act=_failed)

    def _everywhere(
        self,
        name: str,
        path: str,
        *,
        but: tuple[str, ...] = (),
        state: str = "",
        ready: str = "",
        act: Callable[[Page], None] | None = None,
    ) -> None:
        screens = {"desktop": DESKTOP, "phone": PHONE, "desktop-dark": {**DESKTOP, "color_scheme": "dark"}}
        for screen, options in screens.items():
            if screen in but:
                continue
            page = self._open(options)
            page.goto(path)
            if state:
                self._wait_for(page, state)
            if ready:
                page.wait_for_selector(ready, state="attached")
            if act:
                act(page)
            self._shoot(page, f"{name}-{screen}")
            page.context.close()

    def _open(self, options: dict[str, Any]) -> Page:
        context: BrowserContext = self._chromium.new_context(
            base_url=self._url, reduced_motion="reduce", locale="en-GB", **options
        )
        return context.new_page()

    def _batch(self, photos: list[Path], folder_name: str) -> None:
        folder = self._temporary / folder_name
        folder.mkdir()
        for photo in photos:
            shutil.copy(photo, folder)
        page = self._open(DESKTOP)
        page.goto("/")
        page.set_input_files("#folder", folder)
        self._wait_for(page, "done")
        page.context.close()

    def _wait_for_empty_fleet(self) -> None:
        page = self._open(DESKTOP)
        page.goto("/fleet")
        page.wait_for_function(
            "() => document.getElementById('headline').textContent === 'No workers, no work'", timeout=TIMEOUT_MS
        )
        page.context.close()

    def _upload_slowly(self, page: Page) -> None:
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        limits = {"offline": False, "latency": 0, "downloadThroughput": -1}
        session.send("Network.emulateNetworkConditions", {**limits, "uploadThroughput": UPLOAD_BYTES_PER_SECOND})
        page.goto("/")
        page.set_input_files("#files", self._many_photos())
        for sign in ("uploaded-bar').position > 0.3", "transfer').textContent.includes('left')"):
            page.wait_for_function(f"() => document.getElementById('{sign}", timeout=TIMEOUT_MS)
        self._shoot(page, "uploading-desktop")
        session.send("Network.emulateNetworkConditions", {**limits, "uploadThroughput": -1})

    def _many_photos(self) -> list[Path]:
        photos = free_photos()
        broken = self._temporary / "broken"
        broken.mkdir()
        whole = photos[0].read_bytes()
        for name, content in (
            ("holiday.jpg", b"not a picture at all"),
            ("cut off.jpg", whole[: len(whole) // 3]),
            ("empty.png", b""),
            ("video.mp4", b"\x00\x00\x00\x18ftypmp42" + bytes(500)),
        ):
            (broken / name).write_bytes(content)
        crops = self._temporary / "crops"
        crops.mkdir()
        return [*photos, *sorted(broken.iterdir()), *make_crops(CROPS, SEED, crops, photos)]

    def _wait_for(self, page: Page, state: str) -> None:
        page.wait_for_selector(f'#batch[data-state="{state}"]', timeout=TIMEOUT_MS)

    def _shoot(self, page: Page, name: str) -> None:
        page.wait_for_function(
            "() => [...document.images].every((image) => image.complete || image.loading === 'lazy')"
        )
        page.wait_for_timeout(500)
        for quality in QUALITIES:
            picture = page.screenshot(type="jpeg", quality=quality)
            if len(picture) <= MAX_BYTES:
                break
        path = self._folder / f"{name}.jpg"
        path.write_bytes(picture)
        self._report(path)


def _look(page: Page) -> None:
    page.locator("#sheet button", has_text="chelsea").first.click()
    page.wait_for_selector("#viewer-top li")


def _failed(page: Page) -> None:
    page.check("#filter-failed")
    page.wait_for_selector('#sheet .frame[data-state="failed"]')
    page.wait_for_function("() => !document.querySelector('#sheet .frame:not([data-state=\"failed\"])')")
