"""What the pages may weigh and how much they may hold at a time; and that everybody can use them.

How long they keep the browser busy is measured by `benchmarks.page`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Response, expect

from tests.browser.conftest import OpenTab, Tab
from tests.browser.test_page import UPLOADS, payload, small_files, wait_for_all, wait_for_state

pytestmark = pytest.mark.browser

# In English; the scripts' messages of another language are 14 KiB more.
MAX_PAGE_BYTES = 135_000
MANY = 160


def serious(page: Page) -> list[str]:
    """What axe-core finds that would keep a person from using the page."""
    found = Axe().run(page).response["violations"]
    return [
        f"{entry['id']}: {entry['help']}: {entry['nodes'][0]['html'][:200]}"
        for entry in found
        if entry["impact"] in ("serious", "critical")
    ]


@pytest.fixture(params=["light", "dark"])
def tab(open_tab: OpenTab, request: pytest.FixtureRequest) -> Iterator[Tab]:
    """A tab that axe-core may be put into."""
    tab = open_tab(color_scheme=request.param, reduced_motion="reduce", bypass_csp=True)
    yield tab
    tab.errors.clear()  # the browser's own lines about refused requests


def test_the_pages_without_a_batch_are_accessible(tab: Tab) -> None:
    for path in ("/", "/fleet", "/bulk", "/bulk/new", "/no-such-page"):
        tab.page.goto(path)
        assert serious(tab.page) == []


def test_a_batch_is_accessible_in_every_state(tab: Tab) -> None:
    page, held = tab.page, tab.hold(UPLOADS)
    page.goto("/")
    page.set_input_files("#files", [*small_files(30), payload("text.jpg", b"no image")])
    wait_for_state(page, "uploading")
    expect(page.locator('.frame[data-state="uploading"]').first).to_be_visible()
    assert serious(page) == []
    while len(held) < 2:
        page.wait_for_timeout(20)
    held[0].fulfill(status=403, json={"detail": "not now"})
    held[1].continue_()
    page.unroute(UPLOADS)
    expect(page.locator("#lost")).to_be_visible()
    assert serious(page) == []
    page.click("#retry")
    wait_for_all(page)
    assert serious(page) == []
    page.locator("#sheet button").first.click()
    assert serious(page) == []
    page.keyboard.press("Escape")
    page.locator("#filter-failed").check()
    expect(page.locator("#sheet .frame")).to_have_count(1)
    assert serious(page) == []


def responses_of(page: Page) -> list[Response]:
    """A list that grows with each response that the page receives."""
    found: list[Response] = []
    # Playwright sets an attribute on each handler, which a built-in method does not allow.
    page.on("response", lambda response: found.append(response))
    return found


def test_pages_are_light(open_tab: OpenTab, make_images: Callable[..., list[Path]]) -> None:
    page = open_tab().page
    page.goto("/")
    page.set_input_files("#files", make_images(60))
    wait_for_all(page)
    weights = {}
    for name, path in (("start", "/"), ("fleet", "/fleet"), ("batch", urlsplit(page.url).path)):
        # Nothing is in this one's cache.
        fresh = open_tab()
        responses = responses_of(fresh.page)
        fresh.page.goto(path, wait_until="load")
        parts = [found for found in responses if found.request.resource_type in ("document", "script", "stylesheet")]
        weights[name] = sum(len(found.body()) for found in parts)
        assert len(parts) >= 5
    print(weights)
    assert max(weights.values()) < MAX_PAGE_BYTES, weights


def test_of_many_files_only_few_are_on_the_page(open_tab: OpenTab, make_images: Callable[..., list[Path]]) -> None:
    page = open_tab().page
    page.goto("/")
    files = make_images(MANY)
    page.set_input_files("#files", files)
    # However fast the workers are: they may have answered everything by the time that it is uploaded.
    expect(page.locator("#batch")).to_have_attribute("data-state", re.compile("uploading|classifying|done"))
    # Scrolling through everything while answers come in.
    for part in range(1, 11):
        page.evaluate(f"scrollTo(0, document.documentElement.scrollHeight * {part / 10})")
        page.wait_for_function(
            """() => [...document.querySelectorAll("#sheet .frame")].some((frame) => {
              const box = frame.getBoundingClientRect();
              return box.bottom > 0 && box.top < innerHeight;
            })"""
        )
        assert page.locator("#sheet .frame").count() < 100
    expect(page.locator(f'#sheet [aria-posinset="{MANY}"]')).to_have_count(1)
    expect(page.locator("#answered-count")).to_have_text(f"{MANY:,}", timeout=120_000)
    wait_for_all(page)
    page.evaluate("scrollTo(0, 0)")
    page.select_option("#sort", "doubtful")
    page.fill("#search", "7")
    expected = sum("7" in path.name for path in files)
    expect(page.locator("#shown")).to_have_text(f"{expected:,} of {MANY:,} shown")


def test_only_pictures_near_the_screen_take_memory(open_tab: OpenTab) -> None:
    page = open_tab().page
    page.add_init_script(
        """
        window.canvases = new Set();
        const transfer = ImageBitmapRenderingContext.prototype.transferFromImageBitmap;
        ImageBitmapRenderingContext.prototype.transferFromImageBitmap = function (bitmap) {
          window.canvases.add(this.canvas);
          transfer.call(this, bitmap);
        };
        """
    )
    page.goto("/")
    page.set_input_files("#files", small_files(160))
    wait_for_all(page)
    for top in (2000, 6000, 12000, 100_000, 0):
        page.evaluate(f"scrollTo(0, {top})")
        # The frames of the new place are drawn, and all have their pictures.
        page.wait_for_function(
            """(top) => {
              const last = document.documentElement.scrollHeight - innerHeight;
              const frames = [...document.querySelectorAll("#sheet .frame")];
              const onScreen = frames.some((frame) => {
                const box = frame.getBoundingClientRect();
                return box.bottom > 0 && box.top < innerHeight;
              });
              return Math.abs(scrollY - Math.min(top, last)) < 2 && onScreen &&
                frames.every((frame) => frame.querySelector("canvas")?.width);
            }""",
            arg=top,
        )
    frames, made, held = page.evaluate(
        """[document.querySelectorAll("#sheet .frame").length, canvases.size,
          [...canvases].filter((canvas) => canvas.width).length]"""
    )
    assert made > frames
    assert held <= frames < 100


def test_the_model_counts_and_orders(open_tab: OpenTab) -> None:
    page = open_tab().page
    page.goto("/")
    found = page.evaluate(
        """async () => {
          const { Model } = await import("/static/model.js");
          const model = new Model();
          model.addFiles([{ name: "b10.jpg" }, { name: "b9.jpg" }, { name: "a.jpg" }]);
          const answer = (position, name, fields) => model.answer({
            key: `x/${position}-${name}`, position, name, label: null, score: null, unsure: false,
            top_k: [], error: null, model: "m@1", image_url: null, ...fields });
          answer(1, "b9.jpg", { label: "zebra", score: 0.9 });
          answer(1, "b9.jpg", { label: "zebra", score: 0.9 });
          answer(2, "a.jpg", { label: "Apple", score: 0.4, unsure: true });
          answer(7, "late.jpg", { error: { code: "broken", sentence: "broken" } });
          answer(5, "early.jpg", { label: "mango", score: 0.95 });
          const names = (view) => { model.setView(view); return model.visible.map((file) => file.name); };
          return {
            tally: model.tally,
            plain: names({}),
            byName: names({ sort: "name" }),
            byLabel: names({ sort: "label" }),
            doubtful: names({ sort: "doubtful" }),
            open: names({ sort: "position", filter: "open" }),
            search: names({ filter: "", search: "JPG zeb" }),
          };
        }"""
    )
    assert found["tally"] == {
        "classified": 2, "unsure": 1, "failed": 1, "lost": 0, "answered": 4, "uploaded": 4, "all": 5,
    }  # fmt: skip
    assert found["plain"] == ["b10.jpg", "b9.jpg", "a.jpg", "early.jpg", "late.jpg"]
    assert found["byName"] == ["a.jpg", "b9.jpg", "b10.jpg", "early.jpg", "late.jpg"]
    assert found["byLabel"] == ["a.jpg", "early.jpg", "b9.jpg", "b10.jpg", "late.jpg"]
    assert found["doubtful"] == ["a.jpg", "b9.jpg", "early.jpg", "b10.jpg", "late.jpg"]
    assert found["open"] == ["b10.jpg"]
    assert found["search"] == ["b9.jpg"]
