"""The language of a request, and pages, answers of the API and files in it."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import pytest
from werkzeug.datastructures import LanguageAccept
from werkzeug.http import parse_accept_header

from core.csv_export import csv_chunks
from core.errors import SettingsError
from core.jobs import ClassificationResult, Prediction
from core.languages import LANGUAGES
from core.response_time import BatchResponseTime
from core.settings import Settings
from tests.web import JPEG, WebBench
from web_tier.domain.response_times import sentence
from web_tier.languages import formats
from web_tier.languages.choice import choose
from web_tier.languages.labels import in_plain_words, names_in
from web_tier.languages.sentences import translated

ALL = tuple(LANGUAGES)


@pytest.mark.parametrize(
    ("wanted", "remembered", "header", "offered", "expected"),
    [
        ("", "", "", ALL, "en"),
        ("", "", "de-AT, en;q=0.5", ALL, "de"),
        ("", "", "pt, fr-CA;q=0.8, en;q=0.5", ALL, "fr"),
        ("", "", "zh-CN, zh;q=0.9", ALL, "zh"),
        ("", "", "pt-BR", ALL, "en"),
        ("", "", "pt-BR", ("es", "en"), "es"),
        ("", "", "*", ALL, "en"),
        ("", "", "en, de;q=0.5", ("de",), "de"),
        ("", "hi", "de", ALL, "hi"),
        ("", "hi", "de", ("de", "en"), "de"),
        ("", "xx", "de", ALL, "de"),
        ("fr", "hi", "de", ALL, "fr"),
        ("fr", "", "de", ("de",), "fr"),
        ("xx", "hi", "de", ALL, "hi"),
    ],
)
def test_choice(wanted: str, remembered: str, header: str, offered: tuple[str, ...], expected: str) -> None:
    assert choose(wanted, remembered, parse_accept_header(header, LanguageAccept), offered) == expected


@pytest.mark.parametrize("languages", ["", "xx", "en,xx", ","])
def test_unknown_languages_are_no_setting(languages: str) -> None:
    with pytest.raises(SettingsError, match="EIC_LANGUAGES must name languages of en, de, es, fr, hi, zh"):
        Settings(languages=languages)


# --- pages -----------------------------------------------------------------------------------------------


def test_a_page_is_in_the_language_that_the_browser_prefers() -> None:
    page = WebBench().client.get("/", headers={"Accept-Language": "de-CH, en;q=0.7"})
    assert '<html lang="de" dir="ltr">' in page.text and "Was ist auf Ihren" in page.text
    assert page.headers["Content-Language"] == "de"
    assert {"Accept-Language", "Cookie"} <= set(page.vary)
    assert "Set-Cookie" not in page.headers, "nothing is remembered that was not chosen"


def test_the_switch_is_links_whose_choice_a_cookie_remembers() -> None:
    client = WebBench().client
    page = client.get("/?deleted=x&lang=en").text
    for code, name in LANGUAGES.items():
        link = re.search(rf'<a href="\?deleted=x&amp;lang={code}"[^>]*>{name}</a>', page)
        assert (link is None) == (code == "en"), name
    chosen = client.get("/?lang=zh", headers={"Accept-Language": "de"})
    assert '<html lang="zh-Hans"' in chosen.text
    cookie = chosen.headers["Set-Cookie"]
    assert (
        cookie.startswith("language=zh;") and "HttpOnly" in cookie and "SameSite=Lax" in cookie and "Path=/" in cookie
    )
    assert '<html lang="zh-Hans"' in client.get("/fleet", headers={"Accept-Language": "de"}).text
    client.get("/api/v1/limits?lang=fr")
    assert '<html lang="zh-Hans"' in client.get("/").text, "only pages remember a language"


def test_the_setting_limits_the_languages_of_pages() -> None:
    client = WebBench(languages="es").client
    page = client.get("/?lang=de", headers={"Accept-Language": "fr"})
    assert "Set-Cookie" not in page.headers
    page = client.get("/", headers={"Accept-Language": "fr"})
    assert '<html lang="es"' in page.text and 'class="languages"' not in page.text


def test_an_answer_to_a_form_links_to_the_start_page_in_other_languages() -> None:
    page = WebBench().client.post("/batches", data={}, headers={"Accept-Language": "fr"})
    assert page.status_code == 400 and "Choisissez au moins une image." in page.text
    assert 'href="/?lang=de"' in page.text


def test_a_missing_page_is_described_in_the_language_of_the_request() -> None:
    page = WebBench().client.get("/nothing", headers={"Accept-Language": "es"})
    assert page.status_code == 404 and "<h1>No encontrado</h1>" in page.text
    assert "La dirección solicitada no existe en este servidor." in page.text


@pytest.mark.parametrize("language", ALL)
def test_all_pages_are_rendered_in_every_language(language: str) -> None:
    bench = WebBench()
    batch_id = bench.create_batch()
    bench.upload(batch_id, [("a.jpg", JPEG), ("b.jpg", JPEG), ("empty.jpg", b"")])
    bench.answer(score=0.45)
    for path in ("/", f"/batches/{batch_id}", f"/batches/{batch_id}/delete", "/fleet", "/bulk", "/api/v1/docs"):
        page = bench.client.get(path, query_string={"lang": language})
        assert page.status_code == 200, path
        data = re.search(r'<script type="application/json" id="messages">(.*?)</script>', page.text, re.DOTALL)
        assert data is not None and json.loads(data[1]).keys() == (
            set() if language == "en" else {"plural", "messages"}
        )


def test_frames_are_rendered_in_the_language_with_the_names_of_labels() -> None:
    bench = WebBench()
    batch_id = bench.create_batch()
    bench.upload(batch_id, [("a.jpg", JPEG)])
    bench.answer("Egyptian cat", 0.97)
    page = bench.client.get(f"/batches/{batch_id}?lang=es").text
    assert "mau egipcio, un gato" in page and "97\u00a0%" in page
    # German has no names of labels, but groups.
    assert "beagle" not in page and "Egyptian cat" in bench.client.get(f"/batches/{batch_id}?lang=de").text


# --- sentences -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("de", "the file is empty", "die Datei ist leer"),
        ("en", "the image has 70,000,000 pixels, more than the limit of 60,000,000", None),
        (
            "de",
            "the image has 70,000,000 pixels, more than the limit of 60,000,000",
            "das Bild hat 70.000.000 Pixel, mehr als die erlaubten 60.000.000",
        ),
        ("fr", "the file is larger than the limit of 1.5 MiB", "le fichier dépasse la limite de 1,5 MiB"),
        ("hi", "the batch is full: it can have 100,000 images", "बैच भर गया है: इसमें 1,00,000 चित्र हो सकते हैं"),
        ("zh", "incomplete: 45 % of the rows are there", "不完整：有 45% 的行"),
        ("de", "a sentence of a later version", None),
        ("de", "'10,5.jpg' is larger than the limit of 10 MiB", "'10,5.jpg' ist größer als die Grenze von 10 MiB"),
    ],
)
def test_sentences_are_repeated_in_the_language(language: str, text: str, expected: str | None) -> None:
    with WebBench().app.test_request_context(f"/?lang={language}"):
        assert translated(text) == (expected or text)


def test_sentences_stay_english_outside_of_requests() -> None:
    assert translated("the file is empty") == "the file is empty"


def test_the_api_describes_problems_in_the_language_and_keeps_codes() -> None:
    bench = WebBench()
    batch_id = bench.create_batch()
    bench.client.environ_base["HTTP_ACCEPT_LANGUAGE"] = "de"
    [rejected] = bench.upload(batch_id, [("a.jpg", b"")])["rejected"]
    assert rejected["code"] == "empty" and rejected["error"] == "die Datei ist leer"
    [result] = bench.get(f"/api/v1/batches/{batch_id}/results")["results"]
    assert result["error"] == {"code": "empty", "sentence": "die Datei ist leer"}
    stored = bench.results.get(result["key"])
    assert stored.failure is not None and stored.failure.sentence == "the file is empty", "buckets stay English"
    problem = bench.client.get("/api/v1/batches/0123/results").get_json()
    assert problem["title"] == "Nicht gefunden" and problem["detail"] == "diesen Stapel oder dieses Bild gibt es nicht"


def test_the_endpoint_that_programs_compare_is_english() -> None:
    client = WebBench().client
    answer = client.post("/?lang=de", data={"other": (io.BytesIO(JPEG), "a.jpg")}, headers={"Accept-Language": "de"})
    assert answer.status_code == 400 and answer.text.startswith("the form needs a file in the field")


# --- labels ----------------------------------------------------------------------------------------------


def answered_batch(label: str = "tabby", score: float = 0.9) -> tuple[WebBench, str]:
    bench = WebBench()
    batch_id = bench.create_batch()
    bench.upload(batch_id, [("a.jpg", JPEG)])
    bench.answer(label, score)
    return bench, batch_id


def result_of(bench: WebBench, batch_id: str, **query: Any) -> dict[str, Any]:
    [result] = bench.get(f"/api/v1/batches/{batch_id}/results", **query)["results"]
    return dict(result)


def test_results_have_the_names_of_labels() -> None:
    bench, batch_id = answered_batch()
    french = result_of(bench, batch_id, lang="fr")
    assert (french["label"], french["label_local"]) == ("tabby", "chat tigré")
    assert [(entry["label"], entry["label_local"]) for entry in french["top_k"]] == [
        ("tabby", "chat tigré"),
        ("dingo", "dingo"),
    ]
    assert result_of(bench, batch_id, lang="de")["label_local"] is None
    english = result_of(bench, batch_id)
    assert "label_local" not in english and "label_local" not in english["top_k"][0]


def test_labels_of_other_models_have_no_names() -> None:
    bench, batch_id = answered_batch("crane")
    assert result_of(bench, batch_id, lang="fr")["label_local"] is None


def test_an_unknown_language_is_an_error_of_the_request() -> None:
    bench, batch_id = answered_batch()
    assert bench.client.get(f"/api/v1/batches/{batch_id}/results?lang=xx").status_code == 422


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ({}, [["image", "label"], ["a.jpg", "tabby"]]),
        ({"lang": "fr"}, [["image", "label", "label_local"], ["a.jpg", "tabby", "chat tigré"]]),
        ({"lang": "de"}, [["image", "label", "label_local"], ["a.jpg", "tabby", ""]]),
        ({"lang": "fr", "columns": "label_local,score"}, [["label_local", "score"], ["chat tigré", "0.9"]]),
        ({"columns": "image,label_local"}, [["image", "label_local"], ["a.jpg", ""]]),
        ({"lang": "fr", "search": "TIGRÉ"}, [["image", "label", "label_local"], ["a.jpg", "tabby", "chat tigré"]]),
        ({"search": "tigré"}, [["image", "label"]]),
    ],
)
def test_csv_files_have_the_names_only_where_they_are_asked_for(query: dict[str, str], rows: list[list[str]]) -> None:
    bench, batch_id = answered_batch()
    headers = {"Accept-Language": "fr"}
    file = bench.client.get(f"/api/v1/batches/{batch_id}/results.csv", query_string=query, headers=headers)
    assert list(csv.reader(io.StringIO(file.text, newline=""))) == rows


def test_names_are_safe_in_spreadsheets() -> None:
    result = ClassificationResult("b/00000-a.jpg", "a.jpg", (Prediction("tabby", 0.9),))
    chunks = csv_chunks([result], ("label_local",), local_name=lambda _result: "=1+1")
    assert "".join(chunks).splitlines() == ["label_local", "'=1+1"]


@pytest.mark.parametrize(("language", "least"), [("es", 636), ("fr", 449), ("zh", 945)])
def test_names_are_distinct_texts(language: str, least: int) -> None:
    names = names_in(language)
    assert len(names) >= least
    for label, name in names.items():
        assert name == name.strip() and name.isprintable() and "_" not in name, label


def test_german_and_hindi_have_no_names() -> None:
    assert not names_in("de") and not names_in("hi")


@pytest.mark.parametrize(
    ("language", "label", "group", "local", "expected"),
    [
        ("de", "tabby", "cat", None, "tabby, eine Katze"),
        ("de", "Egyptian cat", "cat", None, "Egyptian cat"),
        ("es", "Siamese cat", "cat", "gato siamés", "gato siamés"),
        ("es", "tabby", "cat", None, "tabby, un gato"),
        ("es", "lynx", "cat", "lince", "lince, un gato"),
        ("zh", "beagle", "dog", "比格犬", "比格犬，狗"),
        ("fr", "wok", None, "wok", "wok"),
    ],
)
def test_labels_in_plain_words(language: str, label: str, group: str | None, local: str | None, expected: str) -> None:
    with WebBench().app.test_request_context(f"/?lang={language}"):
        assert in_plain_words(label, group, local) == expected


# --- numbers and times -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en", ("1,234,567", "2.5", "$0.0123", "14.2 KiB", "1\u00a0h 1\u00a0min")),
        ("de", ("1.234.567", "2,5", "0,0123\u00a0$", "14,2 KiB", "1\u00a0h 1\u00a0min")),
        ("hi", ("12,34,567", "2.5", "$0.0123", "14.2 KiB", "1\u00a0घं॰ 1\u00a0मि॰")),
        ("zh", ("1,234,567", "2.5", "US$0.0123", "14.2 KiB", "1\u00a0小时 1\u00a0分")),
    ],
)
def test_formats(language: str, expected: tuple[str, ...]) -> None:
    with WebBench().app.test_request_context(f"/?lang={language}"):
        found = (
            formats.number(1_234_567),
            formats.fixed(2.5),
            formats.money(0.0123),
            formats.size(14_541),
            formats.duration(3661),
        )
    assert found == expected


@pytest.mark.parametrize(("images", "answered"), [(1, 1), (5, 5), (5, 1200)])
@pytest.mark.parametrize("seconds", [0.001, 0.04, 8.44, 150.0, 9000.0])
def test_response_times_in_english_are_those_of_the_command(images: int, answered: int, seconds: float) -> None:
    found = BatchResponseTime(images, seconds, 2 * seconds, seconds, seconds / 2, seconds, 3 * seconds)
    assert sentence(found, answered) == found.sentence(answered)
