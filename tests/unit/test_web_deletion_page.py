"""Deletion of a batch from its page: asked first, for those only who may."""

from __future__ import annotations

import json
import logging

import pytest

from tests.web import JPEG, WebBench

ORIGIN = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def bench() -> WebBench:
    return WebBench()


def test_the_page_of_a_batch_leads_to_its_deletion(bench: WebBench, caplog: pytest.LogCaptureFixture) -> None:
    batch_id = bench.create_batch()
    bench.upload(batch_id, [("a.jpg", JPEG), ("b.jpg", JPEG)])
    bench.answer()
    url = f"/batches/{batch_id}/delete"
    assert f'href="{url}">Delete</a>' in bench.client.get(f"/batches/{batch_id}").text
    question = bench.client.get(url).text
    assert "Its 2 images and results are deleted for good." in question
    assert f'action="{url}" method="post"' in question
    assert bench.images.batches, "to ask changes nothing"
    with caplog.at_level(logging.INFO, "audit"):
        response = bench.client.post(url, headers=ORIGIN)
    assert response.status_code == 303
    assert [json.loads(record.message)["event"] for record in caplog.records if record.name == "audit"] == [
        "batch_deleted"
    ]
    assert not bench.images.batches and not bench.images.objects and not bench.results.objects
    start = bench.client.get(response.headers["Location"]).text
    assert f"Batch {batch_id} is deleted" in start
    assert f"/batches/{batch_id}" not in start
    assert bench.client.get(f"/batches/{batch_id}").status_code == 404


@pytest.mark.parametrize(
    ("images", "answered", "sentence"),
    [
        (0, False, "It has no images."),
        (1, True, "Its image and result are deleted for good."),
        (1, False, "Its image and result are deleted for good. 1 is not answered yet."),
        (3, False, "Its 3 images and results are deleted for good. 3 are not answered yet."),
    ],
)
def test_the_question_says_what_is_deleted(bench: WebBench, images: int, answered: bool, sentence: str) -> None:
    batch_id = bench.create_batch()
    if images:
        bench.upload(batch_id, [(f"{number}.jpg", JPEG) for number in range(images)])
    if answered:
        bench.answer()
    assert sentence in " ".join(bench.client.get(f"/batches/{batch_id}/delete").text.split())


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_batch_and_a_deleted_one_are_not_found(bench: WebBench, method: str) -> None:
    batch_id = bench.create_batch()
    url = f"/batches/{batch_id}/delete"
    assert bench.client.post(url).status_code == 303
    assert bench.client.open(url, method=method).status_code == 404
    assert bench.client.open("/batches/x/delete", method=method).status_code == 404


def test_a_page_of_another_site_deletes_nothing(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    url = f"/batches/{batch_id}/delete"
    assert bench.client.post(url, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert bench.images.batches


def test_a_storage_that_fails_is_reported_and_repeating_completes(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    bench.upload(batch_id, [("a.jpg", JPEG)])
    bench.results.fail_next("delete_batch")
    assert bench.client.post(f"/batches/{batch_id}/delete").status_code == 503
    assert bench.client.post(f"/batches/{batch_id}/delete").status_code == 303
    assert not bench.images.objects


@pytest.mark.parametrize("deleted", ["x", "<b>", "20250101-000000-aaaaaaaaaaaa<b>"])
def test_the_start_page_names_batches_only(bench: WebBench, deleted: str) -> None:
    assert "is deleted" not in bench.client.get("/", query_string={"deleted": deleted}).text


@pytest.mark.parametrize(
    ("owner", "scopes", "shown", "status"),
    [
        ("ada", ("read", "upload"), True, 303),
        # A session's token needs the scope read, a program's may have upload alone.
        ("ada", ("read",), False, 403),
        ("bob", ("read", "upload"), False, 404),
    ],
)
def test_only_those_who_may_delete_are_offered_it(
    owner: str, scopes: tuple[str, ...], shown: bool, status: int
) -> None:
    bench = WebBench(authentication="tokens")
    ada, other = bench.token("ada"), bench.token(owner, *scopes)
    batch_id = bench.client.post("/api/v1/batches", headers=ada).get_json()["batch_id"]
    page = bench.client.get(f"/batches/{batch_id}", headers=other).text
    assert (">Delete</a>" in page and "hidden>Delete</a>" not in page) == shown
    assert ("data-may-change" in page) == shown
    url = f"/batches/{batch_id}/delete"
    assert bench.client.get(url, headers=other).status_code == (200 if status == 303 else status)
    assert bench.client.post(url, headers=other).status_code == status
    assert bool(bench.images.batches) == (status != 303)
