"""Pages in other languages: scripts and server agree, and long words and right-to-left text fit a phone."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from core.fleet_status import KEY, Decision
from core.languages import LANGUAGES
from tests import pseudo_locale
from tests.browser.conftest import OpenTab
from tests.unit.test_web_bulk import RUN, bench_with
from tests.unit.test_web_fleet_page import sample, status
from tests.web import JPEG, WebBench
from web_tier.languages import choice

PHONE = (360, 740)
# Everything that a person reads, but for what scrolls, or is cut on purpose, by itself.
TOO_WIDE = """() => {
    const width = document.documentElement.clientWidth;
    const own = ".scroller, .filters, .visually-hidden, .skip, .panel svg, .edge, dialog:not([open])";
    return [...document.body.querySelectorAll("*")]
        .filter((element) => !element.closest(own) && element.getClientRects().length)
        .filter((element) => {
            const { left, right } = element.getBoundingClientRect();
            const cut = element.matches("a, button, dt, dd, h1, h2, p, label span") && element.clientWidth
                && element.scrollWidth > element.clientWidth + 1;
            return left < -1 || right > width + 1 || cut;
        })
        .map((element) => `${element.tagName} ${element.id || element.className} ${element.textContent.trim()}`);
}"""


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[WebBench, str]]:
    """A web tier with an answered batch, a fleet, a bulk run, and the pseudo-locale besides the languages."""
    monkeypatch.setitem(LANGUAGES, pseudo_locale.LANGUAGE, "عربي")
    folder = tmp_path / "translations"
    shutil.copytree(choice.FOLDER, folder)
    pseudo_locale.write(folder)
    monkeypatch.setattr(choice, "FOLDER", folder)
    bench = bench_with(RUN, languages=",".join(LANGUAGES))
    now = time.time()
    history = (sample(now - 120, 12_345, 3, 3), sample(now - 60, 1234, 3, 1, 2), sample(now, 0, 3, 0, 3))
    published = status(now, *history, decisions=(Decision(now - 60, 3, 3, "backlog 1234"),))
    bench.state.put(KEY, published.encode())
    batch_id = bench.create_batch()
    bench.upload(batch_id, [("one.jpg", JPEG), ("two.jpg", JPEG), ("three.jpg", b"")])
    bench.answer(score=0.45)
    yield bench, batch_id


def test_no_page_is_wider_than_a_phone_in_the_pseudo_locale(open_tab: OpenTab, bench: tuple[WebBench, str]) -> None:
    web, batch_id = bench
    with web.served() as url:
        page = open_tab(*PHONE, origin=url).page
        paths = ("/", f"/batches/{batch_id}", f"/batches/{batch_id}/delete", "/fleet", "/bulk")
        for path in paths:
            page.goto(f"{path}?lang={pseudo_locale.LANGUAGE}")
            expect(page.locator("html")).to_have_attribute("dir", "rtl")
            # The scripts have taken over.
            if path.startswith("/batches") and not path.endswith("delete"):
                expect(page.locator(".frame")).to_have_count(3)
            assert not re.search(r"[a-z]{3}", page.locator("h1").first.inner_text()), path
            found = page.evaluate(TOO_WIDE)
            assert not found, (path, found)
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0], path
        page.close()


def test_scripts_speak_the_language_of_the_page(open_tab: OpenTab, bench: tuple[WebBench, str]) -> None:
    web, batch_id = bench
    with web.served() as url:
        page = open_tab(origin=url).page
        page.goto(f"/batches/{batch_id}?lang=fr")
        expect(page.locator("#state")).to_have_text("Les 3 réponses sont là, 1 échec")
        expect(page.locator(".frame").nth(2).locator(".label")).to_have_text("le fichier est vide")
        page.locator(".frame button").first.click()
        expect(page.locator("#viewer-top")).to_contain_text("45\u00a0%")
        page.keyboard.press("Escape")
        # The cookie remembers it, without the parameter; numbers follow.
        page.goto("/fleet")
        expect(page.locator("html")).to_have_attribute("lang", "fr")
        expect(page.locator("#moment")).to_have_text("maintenant")
        page.get_by_role("link", name="Deutsch").click()
        expect(page.locator("#moment")).to_have_text("jetzt")
        page.close()
