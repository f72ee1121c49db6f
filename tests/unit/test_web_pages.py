"""The pages as a browser without JavaScript sees them."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest

from core.jobs import ClassificationResult, Prediction
from tests.image_samples import samples
from tests.web import JPEG, WebBench, form, image_bytes
from web_tier import create_app
from web_tier.pages import batches

HOSTILE = "<img src=x onerror=alert(1)>.jpg"


@pytest.fixture
def bench() -> WebBench:
    return WebBench()


def batch_page(bench: WebBench, batch_id: str, **query: object) -> str:
    response = bench.client.get(f"/batches/{batch_id}", query_string=query)
    assert response.status_code == 200
    return response.text


def test_the_upload_page_states_the_limits_first(bench: WebBench) -> None:
    page = bench.client.get("/").text
    assert page.index("up to 10 MiB") < page.index("up to 10,000 images") < page.index('type="file"')


def test_the_plain_form_leads_to_the_page_of_the_batch(bench: WebBench) -> None:
    response = bench.client.post("/batches", data=form([("a.jpg", JPEG), ("empty.jpg", b""), ("b.jpg", JPEG)]))
    assert response.status_code == 303
    page = bench.client.get(response.headers["Location"]).text
    assert "the file is empty" in page
    assert page.count("queued") >= 2
    assert '<noscript><meta http-equiv="refresh"' in page
    bench.answer("beagle", 0.97)
    page = bench.client.get(response.headers["Location"]).text
    assert "All 3 answered" in page
    assert page.count(">beagle, a dog</p>") == 2
    assert "97\u00a0%" in page
    assert "http-equiv" not in page


def test_a_form_without_files_starts_no_batch(bench: WebBench) -> None:
    response = bench.client.post("/batches", data={"images": (io.BytesIO(b""), "")})
    assert response.status_code == 400
    assert "Choose at least one image." in response.text
    assert not bench.images.batches


def test_the_plain_form_names_files_that_were_not_stored(bench: WebBench) -> None:
    bench.images.fail_next("put", where=lambda key: key.endswith(".jpg"))
    response = bench.client.post("/batches", data=form([(HOSTILE, JPEG), ("b.png", JPEG)]))
    assert response.status_code == 503
    assert "&lt;img src=x onerror=alert(1)&gt;.jpg" in response.text
    assert "could not be stored, please try again" in response.text
    (batch_id,) = bench.images.batches
    assert f"/batches/{batch_id}" in response.text


def test_an_unsure_answer_is_marked_with_the_runner_up(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    bench.upload(batch_id, [("a.jpg", JPEG)])
    bench.answer("minivan", 0.45)
    page = batch_page(bench, batch_id)
    assert 'data-state="unsure"' in page
    assert ">minivan</p>" in page
    assert "unsure; or dingo, 55\u00a0%" in page
    assert "data-group" not in page


def test_an_unsure_answer_is_a_group_where_the_likeliest_labels_have_one(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    bench.upload(batch_id, [("a.jpg", JPEG)])
    bench.answer("beagle", 0.45)
    page = batch_page(bench, batch_id)
    assert 'data-group="mammal"' in page
    assert '<p class="label">a mammal (unsure which)</p>' in page
    assert '<p class="doubt">perhaps beagle, 45\u00a0%; or dingo, 55\u00a0%</p>' in page
    assert "<summary>Top 2</summary>beagle, a dog, 45\u00a0%; dingo, a mammal, 55\u00a0%</details>" in page


def test_an_answer_for_an_incomplete_file_is_marked(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    bench.upload(batch_id, [("a.jpg", JPEG)])
    bench.answer(note="incomplete: only the end marker is missing")
    assert '<p class="doubt note" title="incomplete: only the end marker is missing">incomplete: only' in batch_page(
        bench, batch_id
    )
    answer = bench.client.get(f"/api/v1/batches/{batch_id}/results").get_json()["results"][0]
    assert answer["note"] == "incomplete: only the end marker is missing"


def test_a_heic_is_accepted_and_shown_as_what_browsers_do_not_show(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    bench.upload(batch_id, [("IMG_0001.HEIC", samples()["HEIF"])])
    (key,) = bench.images.objects
    response = bench.client.get(f"/batches/{batch_id}/images/{key.partition('/')[2]}")
    assert response.status_code == 302 and response.location.endswith("no-preview.svg")
    assert ".heic" in bench.client.get("/").text


def test_hostile_names_and_labels_are_text(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    bench.upload(batch_id, [(HOSTILE, JPEG), ('" onmouseover="alert(1).jpg', b"")])
    bench.answer("<b>label</b>")
    page = batch_page(bench, batch_id)
    assert "<img src=x" not in page
    assert "<b>" not in page
    assert ' onmouseover="alert' not in page


def test_a_large_batch_comes_in_pages(bench: WebBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "FRAMES_PER_PAGE", 4)
    batch_id = bench.create_batch()
    bench.upload(batch_id, [(f"{number}.jpg", JPEG) for number in range(10)])

    def names(page: str) -> list[str]:
        return re.findall(r'class="name file">([^<]+)<', page)

    assert names(batch_page(bench, batch_id)) == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    assert names(batch_page(bench, batch_id, page=3)) == ["8.jpg", "9.jpg"]
    assert names(batch_page(bench, batch_id, page=99)) == ["8.jpg", "9.jpg"]
    assert names(batch_page(bench, batch_id, page="x")) == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]


def test_an_unknown_batch_has_a_page_that_says_so(bench: WebBench) -> None:
    response = bench.client.get("/batches/20250101-000000-aaaaaaaaaaaa")
    assert response.status_code == 404
    assert "There is no such batch or image." in response.text
    assert response.content_type.startswith("text/html")


def test_a_cloud_that_fails_has_a_page_that_says_so(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    bench.results.fail_next("list")
    response = bench.client.get(f"/batches/{batch_id}")
    assert (response.status_code, "please try again soon" in response.text) == (503, True)


def test_an_image_comes_as_it_was_and_can_do_nothing(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    png = image_bytes("PNG")
    key = bench.upload(batch_id, [("not really.jpg", png)])["accepted"][0]["key"]
    response = bench.client.get(f"/batches/{batch_id}/images/{key.partition('/')[2]}")
    assert (response.data, response.content_type) == (png, "image/png")
    assert response.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "immutable" in response.headers["Cache-Control"]


def test_an_image_that_browsers_do_not_show_has_a_placeholder(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    bench.upload(batch_id, [("a.tif", image_bytes("TIFF"))])
    response = bench.client.get(f"/batches/{batch_id}/images/00000-a.tif", follow_redirects=True)
    assert response.content_type.startswith("image/svg+xml")


def test_an_image_above_the_limit_has_a_placeholder() -> None:
    bench = WebBench(max_image_bytes=1000)
    key = f"{bench.create_batch()}/00000-a.png"
    bench.images.put(key, bytes(1001), "a.png")
    response = bench.client.get(f"/batches/{key.replace('/', '/images/')}", follow_redirects=True)
    assert response.content_type.startswith("image/svg+xml")


def test_a_classified_image_that_a_cancellation_deleted_has_a_placeholder(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    key = bench.upload(batch_id, [("a.jpg", image_bytes("JPEG"))])["accepted"][0]["key"]
    bench.client.post(f"/api/v1/batches/{batch_id}/cancel")
    # The worker had fetched the image before.
    bench.results.put(ClassificationResult(key, "a.jpg", (Prediction("beagle", 0.9),)))
    url = bench.get(f"/api/v1/batches/{batch_id}/results")["results"][0]["image_url"]
    response = bench.client.get(url, follow_redirects=True)
    assert (response.status_code, response.content_type.split(";")[0]) == (200, "image/svg+xml")


@pytest.mark.parametrize("rest", ["00000-none.jpg", "nonsense", "../../batches/x", "00000-a/b.jpg"])
def test_an_unknown_image_is_not_found(bench: WebBench, rest: str) -> None:
    assert bench.client.get(f"/batches/{bench.create_batch()}/images/{rest}").status_code == 404


def test_a_stored_page_is_never_sent_as_a_page(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    key = f"{batch_id}/00000-page.html"
    bench.images.put(key, b"<script>alert(1)</script>", "page.html")
    response = bench.client.get(f"/batches/{key.replace('/', '/images/')}")
    assert response.status_code == 302


def test_a_page_shows_what_another_process_has_changed_just_now(bench: WebBench) -> None:
    batch_id = bench.client.post("/api/v1/batches", json={"announced": 2}).get_json()["batch_id"]
    bench.upload(batch_id, [("a.jpg", JPEG)])
    bench.answer()
    assert "1 of 2 photos arrived" in batch_page(bench, batch_id)
    stores: Any = (bench.images, bench.results, bench.queue, bench.index, bench.state)
    closed = create_app(bench.settings, *stores).test_client().post(f"/batches/{batch_id}/close")
    assert closed.status_code == 303, closed.text
    assert "never arrived" in bench.client.get(closed.headers["Location"]).text
