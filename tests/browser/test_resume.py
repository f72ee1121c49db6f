"""Nothing is lost silently: interrupted uploads are resumed, and a drop or a paste anywhere has an effect."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from playwright.sync_api import APIRequestContext, FilePayload, Page, Route, expect

from tests.browser.conftest import OpenTab, Tab
from tests.browser.test_page import UPLOADS, answers, payload, small_files, wait_for_all, wait_for_state

pytestmark = pytest.mark.browser

BATCH_URL = re.compile(r"/batches/\d{8}-\d{6}-[0-9a-f]{12}$")
# Sends a drop or a paste of files, or of text, as the browser does.
SEND = """([kind, files, text]) => {
  const transfer = new DataTransfer();
  for (const { name, data } of files) {
    transfer.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], name, { type: "image/jpeg" }));
  }
  if (text) transfer.setData("text/plain", text);
  const options = { bubbles: true, cancelable: true };
  const event = kind === "paste"
    ? new ClipboardEvent("paste", { ...options, clipboardData: transfer })
    : new DragEvent(kind, { ...options, dataTransfer: transfer });
  document.body.dispatchEvent(event);
  return event.defaultPrevented;
}"""


def send(page: Page, kind: str, files: list[FilePayload], text: str = "") -> bool:
    """Drops or pastes; returns whether the page has kept the browser from its own reaction."""
    encoded = [{"name": file["name"], "data": base64.b64encode(file["buffer"]).decode()} for file in files]
    return bool(page.evaluate(SEND, [kind, encoded, text]))


def hold_uploads_from(tab: Tab, position: int) -> list[Route]:
    """Lets only uploads before a position pass."""
    return tab.hold(UPLOADS, lambda route: int(re.findall(r"offset=(\d+)", route.request.url)[0]) < position)


def interrupted_batch(tab: Tab, files: list[FilePayload]) -> None:
    """Begins an upload of which only the first request arrives, and reloads the page in the middle of it."""
    page = tab.page
    page.goto("/")
    hold_uploads_from(tab, 20)
    page.set_input_files("#files", files)
    page.wait_for_url(BATCH_URL)
    expect(page.locator("#answered-count")).to_have_text("20")
    tab.may_leave = True
    page.reload()
    assert tab.questions == 1, "the browser asks before it leaves"
    page.unroute(UPLOADS)
    wait_for_state(page, "incomplete")


def announced_batch(requests: APIRequestContext, announced: int, files: list[FilePayload]) -> str:
    created = requests.post("/api/v1/batches", data={"announced": announced}).json()
    sent = requests.post(f"{created['images_url']}?offset=0", multipart={"images": files[0]})
    assert sent.ok
    return str(created["url"])


def test_an_upload_interrupted_by_a_reload_is_resumed_with_the_same_files(open_tab: OpenTab) -> None:
    tab = open_tab()
    page = tab.page
    files = small_files(30)
    interrupted_batch(tab, files)
    expect(page.locator("#state")).to_have_text("20 of 30 arrived")
    expect(page.locator("#missing-text")).to_contain_text("20 of 30 photos arrived; 10 are missing")
    page.set_input_files("#more-files", files)
    wait_for_all(page)
    expect(page.locator("#state")).to_have_text("All 30 answered")
    expect(page.locator("#missing")).to_be_hidden()
    expect(page.locator("#notice")).to_have_text("20 photos are in this batch already and were skipped.")
    page.reload()
    wait_for_all(page)
    found = page.evaluate("() => document.documentElement.batch.model.visible.map(({ name }) => name)")
    assert found == [file["name"] for file in files]


def test_another_machine_resumes_the_upload_and_a_third_page_follows(open_tab: OpenTab) -> None:
    tabs = [open_tab() for _tab in range(3)]
    page, other, watching = (tab.page for tab in tabs)
    files = small_files(25)
    interrupted_batch(tabs[0], files)
    watching.goto(page.url)
    other.goto(page.url)
    wait_for_state(other, "incomplete")
    wait_for_state(watching, "incomplete")
    assert send(other, "drop", files)
    for each in (other, watching, page):
        wait_for_all(each)
        expect(each.locator("#state")).to_have_text("All 25 answered")


def test_a_batch_that_lacks_photos_can_be_closed(open_tab: OpenTab) -> None:
    tab = open_tab()
    page = tab.page
    interrupted_batch(tab, small_files(25))
    page.click("#close button")
    wait_for_all(page)
    expect(page.locator("#state")).to_have_text("All 20 answered")
    expect(page.locator("#missing-text")).to_contain_text("5 of 25 announced photos never arrived")
    expect(page.locator("#close")).to_be_hidden()
    page.reload()
    expect(page.locator("#missing-text")).to_contain_text("5 of 25 announced photos never arrived")


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_photos_dropped_or_pasted_on_a_batch_are_added_to_it(open_tab: OpenTab, kind: str) -> None:
    page = open_tab().page
    page.goto("/")
    page.set_input_files("#files", small_files(2))
    wait_for_all(page)
    url = page.url
    page.reload()
    wait_for_all(page)
    assert send(page, kind, [payload("image.png"), payload("1.jpg")])
    expect(page.locator("#state")).to_have_text("All 3 answered")
    expect(page.locator("#notice")).to_have_text("1 photo is in this batch already and was skipped.")
    third = list(answers(page))[2]
    assert third == "image.png" if kind == "drop" else re.fullmatch(r"pasted [\d-]+ [\d-]+\.png", third)
    assert page.url == url


def test_photos_dropped_or_pasted_during_an_upload_join_it(open_tab: OpenTab) -> None:
    tab = open_tab()
    page = tab.page
    page.goto("/")
    held = hold_uploads_from(tab, 0)
    assert send(page, "paste", small_files(2))
    page.wait_for_url(BATCH_URL)
    expect(page.locator("#uploaded-count")).to_have_text("0 of 2")
    assert send(page, "drop", [payload("1.jpg"), payload("more.jpg")])
    expect(page.locator("#uploaded-count")).to_have_text("0 of 4")
    page.wait_for_function("() => document.documentElement.batch.uploading")
    while len(held) < 2:
        page.wait_for_timeout(20)
    for route in held:
        route.continue_()
    wait_for_all(page)
    expect(page.locator("#state")).to_have_text("All 4 answered")
    assert sorted(answers(page)) == ["0.jpg", "1.jpg", "more.jpg"]


def test_photos_dropped_twice_before_the_batch_exists_are_all_in_it(open_tab: OpenTab) -> None:
    page = open_tab().page
    page.goto("/")
    for name in ("a.jpg", "b.jpg"):
        assert send(page, "drop", [payload(name)])
    expect(page.locator("#state")).to_have_text("All 2 answered")
    assert sorted(answers(page)) == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("path", ["/fleet", "/api/v1/docs", "/batches/20260101-000000-0123456789ab"])
@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_other_pages_show_where_to_drop(open_tab: OpenTab, path: str, kind: str) -> None:
    tab = open_tab()
    page = tab.page
    page.goto(path)
    page.wait_for_load_state("load")
    assert send(page, "dragover", small_files(1)) and send(page, kind, small_files(1))
    notice = page.locator("#drop-notice")
    expect(notice).to_contain_text("This page takes no photos; nothing was uploaded.")
    if "0123456789ab" in path:
        tab.errors.clear()  # the page is a 404
    notice.get_by_role("link").click()
    expect(page.locator("#dropzone")).to_be_visible()


@pytest.mark.parametrize("place", ["/", "batch", "/fleet"])
def test_what_is_no_file_is_named(open_tab: OpenTab, place: str) -> None:
    page = open_tab().page
    page.goto("/" if place == "batch" else place)
    if place == "batch":
        page.set_input_files("#files", small_files(1))
        wait_for_all(page)
    notice = page.locator({"/": "#form-notice", "batch": "#notice"}.get(place, "#drop-notice"))
    assert send(page, "drop", [], "https://example.org/cat.jpg")
    expect(notice).to_contain_text("That was no file.")
    send(page, "paste", [], "some text")
    expect(notice).to_contain_text("There is no image on the clipboard.")


def test_a_picture_of_the_page_that_is_dragged_is_not_uploaded(open_tab: OpenTab) -> None:
    page = open_tab().page
    page.goto("/")
    page.set_input_files("#files", small_files(1))
    wait_for_all(page)
    page.evaluate("() => document.body.dispatchEvent(new DragEvent('dragstart', { bubbles: true }))")
    assert send(page, "drop", [payload("copy.jpg")])
    page.evaluate("() => document.body.dispatchEvent(new DragEvent('dragend', { bubbles: true }))")
    assert send(page, "drop", [payload("new.jpg")])
    expect(page.locator("#state")).to_have_text("All 2 answered")
    assert sorted(answers(page)) == ["0.jpg", "new.jpg"]


def test_an_interrupted_upload_is_resumed_without_javascript(open_tab: OpenTab) -> None:
    page = open_tab(javascript=False).page
    url = announced_batch(page.request, 3, small_files(1))
    expect_incomplete(page, url, "1 of 3 photos arrived; 2 are missing")
    page.set_input_files("#more-files", small_files(2))
    page.click("#add-form button")
    expect_incomplete(page, url, "2 of 3 photos arrived; 1 is missing")
    assert sorted(answers_without_script(page)) == ["0.jpg", "1.jpg"]
    page.click("#close button")
    expect(page.locator("#state")).to_have_text("All 2 answered")
    expect(page.locator("#missing-text")).to_contain_text("1 of 3 announced photos never arrived")


def expect_incomplete(page: Page, url: str, sentence: str) -> None:
    """Loads a batch's page without scripts until all that has come is answered."""
    answered = f"/api/v1{url}"
    while (found := page.request.get(answered).json())["answered"] < found["accepted"]:
        page.wait_for_timeout(100)
    page.goto(url)
    expect(page.locator("#missing-text")).to_contain_text(sentence)


def answers_without_script(page: Page) -> list[Any]:
    return page.locator("#sheet .name").all_inner_texts()
