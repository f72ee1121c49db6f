"""What a person does with the page: upload, watch, reload, download."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import OpenTab
from tests.web import JPEG

pytestmark = pytest.mark.browser

PATIENCE_MS = 60_000
HOSTILE = "<img src=x onerror=alert(1)>.jpg"
Photos = list[tuple[Path, str]]


def payload(name: str, body: bytes) -> dict[str, Any]:
    return {"name": name, "mimeType": "image/jpeg", "buffer": body}


def wait_for_all(page: Page) -> None:
    expect(page.locator("#state")).to_have_text(
        re.compile("All .* answered|The image is answered"), timeout=PATIENCE_MS
    )


def answers(page: Page) -> dict[str, str]:
    """The label or sentence under each name on the sheet."""
    frames = page.locator("#sheet .frame")
    return {frame.locator(".name").inner_text(): frame.locator(".label").inner_text() for frame in frames.all()}


def test_photos_get_their_labels_without_reload(open_tab: OpenTab, photos: Photos) -> None:
    page = open_tab().page
    page.goto("/")
    page.evaluate("window.stillTheSamePage = true")
    chosen = photos[::12]
    page.set_input_files("#files", [path for path, _label in chosen])
    page.wait_for_url(re.compile(r"/batches/\d{8}-\d{6}-[0-9a-f]{12}$"))
    wait_for_all(page)
    assert page.evaluate("window.stillTheSamePage")
    expect(page.locator("#answered-count")).to_have_text(str(len(chosen)))
    found = answers(page)
    right = sum(found[path.name] == label for path, label in chosen)
    assert right >= 0.8 * len(chosen)

    page.reload()
    wait_for_all(page)
    assert answers(page) == found
    with page.expect_download() as download:
        page.click("#csv")
    rows = list(csv.reader(io.StringIO(Path(download.value.path()).read_bytes().decode(), newline="")))
    assert rows == [["image", "label"], *([path.name, found[path.name]] for path, _label in chosen)]


def test_one_bad_file_is_named_and_the_others_go_on(open_tab: OpenTab, photos: Photos, tmp_path: Path) -> None:
    page = open_tab().page
    page.goto("/")
    good = [path for path, _label in photos[:3]]
    cut_off = tmp_path / "cut off.jpg"
    cut_off.write_bytes(good[0].read_bytes()[:2000])
    text = tmp_path / "notes.jpg"
    text.write_text("not an image")
    page.set_input_files("#files", [good[0], cut_off, good[1], text, good[2]])
    wait_for_all(page)
    expect(page.locator("#failed-count")).to_have_text("2")
    found = answers(page)
    assert found["notes.jpg"] == "the file is not an image of a known format"
    assert "damaged" in found["cut off.jpg"]
    assert all("image" not in found[path.name] for path in good)
    page.select_option("#filter", "failed")
    expect(page.locator("#sheet .frame:visible")).to_have_count(2)


def test_the_form_works_without_javascript(open_tab: OpenTab, photos: Photos) -> None:
    tab = open_tab(javascript=False)
    page = tab.page
    page.goto("/")
    page.set_input_files("#files", [path for path, _label in photos[:2]])
    page.click("#submit")
    page.wait_for_url(re.compile("/batches/2"))
    # The page reloads itself until all is answered.
    wait_for_all(page)
    assert set(answers(page)) == {path.name for path, _label in photos[:2]}
    with page.expect_download() as download:
        page.click("#csv")
    assert Path(download.value.path()).read_text().startswith("image,label")


def test_hostile_names_are_inert(open_tab: OpenTab) -> None:
    page = open_tab().page
    page.goto("/")
    page.set_input_files("#files", [payload(HOSTILE, JPEG), payload("=1+1.jpg", b"")])
    wait_for_all(page)
    assert HOSTILE in answers(page)
    page.reload()
    wait_for_all(page)
    assert HOSTILE in answers(page)
    with page.expect_download() as download:
        page.click("#csv")
    assert "'=1+1.jpg,error: the file is empty" in Path(download.value.path()).read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_does_not_scroll_sideways(open_tab: OpenTab, scheme: str) -> None:
    page = open_tab(390, 844, color_scheme=scheme).page
    page.goto("/")
    fits = "document.documentElement.scrollWidth <= innerWidth"
    assert page.evaluate(fits)
    page.set_input_files("#files", [payload(f"{'long-name' * 12}-{number}.jpg", JPEG) for number in range(3)])
    wait_for_all(page)
    assert page.evaluate(fits)


def test_a_failed_upload_can_be_tried_again(open_tab: OpenTab) -> None:
    tab = open_tab()
    page = tab.page
    page.goto("/")
    page.route("**/images?offset=*", lambda route: route.fulfill(status=403, json={"detail": "not now"}))
    page.set_input_files("#files", [payload(f"{number}.jpg", JPEG) for number in range(3)])
    expect(page.locator("#lost-text")).to_have_text("3 files were not uploaded.")
    assert set(answers(page).values()) == {"not now"}
    page.unroute("**/images?offset=*")
    page.click("#retry")
    wait_for_all(page)
    expect(page.locator("#lost")).to_be_hidden()
    expect(page.locator("#sheet .frame")).to_have_count(3)
    tab.errors.clear()  # the browser's own lines about the 403


def test_a_lost_connection_is_bridged(open_tab: OpenTab) -> None:
    tab = open_tab()
    page = tab.page
    page.goto("/")
    seen = []

    def flaky(route: Route) -> None:
        seen.append(route.request.url)
        if len(seen) == 1:
            # The server has stored everything, and its answer is lost on the way.
            route.fetch()
            route.abort("connectionreset")
        else:
            route.continue_()

    page.route("**/images?offset=*", flaky)
    page.set_input_files("#files", [payload(f"{number}.jpg", JPEG) for number in range(5)])
    wait_for_all(page)
    assert len(seen) == 2
    expect(page.locator("#answered-count")).to_have_text("5")
    page.reload()
    expect(page.locator("#sheet .frame")).to_have_count(5)
    tab.errors.clear()  # the browser's own line about the lost connection


def test_everything_is_reachable_by_keyboard(open_tab: OpenTab) -> None:
    page = open_tab().page
    page.goto("/")
    reached = []
    for _ in range(4):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.className"))
    assert reached[:3] == ["wordmark", "files", "folder"]
    with page.expect_file_chooser():
        page.focus("#files")
        page.keyboard.press("Enter")
