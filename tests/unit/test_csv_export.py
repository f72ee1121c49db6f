"""The CSV file: one line for each image, readable by every CSV reader, harmless in a spreadsheet."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.csv_export import csv_chunks
from core.jobs import ClassificationResult, Failure, Prediction, clean_name
from tests.web import JPEG, WebBench

KEY = "20260101-000000-aaaaaaaaaaaa/00000-a.jpg"


def result(name: str, label: str = "beagle") -> ClassificationResult:
    return ClassificationResult(KEY, name, (Prediction(label, 0.9),))


def rows(results: list[ClassificationResult]) -> list[list[str]]:
    return list(csv.reader(io.StringIO("".join(csv_chunks(results)), newline="")))


def test_a_batch_as_csv_in_the_order_of_the_upload() -> None:
    bench = WebBench()
    batch_id = bench.create_batch()
    bench.upload(batch_id, [("b, 2.jpg", JPEG), ("empty.jpg", b""), ('"a".jpg', JPEG)])
    bench.answer("English foxhound")
    response = bench.client.get(f"/api/v1/batches/{batch_id}/results.csv")
    assert response.text == (
        "image,label\r\n"
        '"b, 2.jpg",English foxhound\r\n'
        "empty.jpg,error: the file is empty\r\n"
        '"""a"".jpg",English foxhound\r\n'
    )
    assert response.content_type == "text/csv; charset=utf-8"
    assert response.headers["Content-Disposition"] == f'attachment; filename="{batch_id}.csv"'


def test_images_without_an_answer_are_left_out() -> None:
    bench = WebBench()
    batch_id = bench.create_batch()
    bench.upload(batch_id, [("a.jpg", JPEG)])
    assert bench.client.get(f"/api/v1/batches/{batch_id}/results.csv").text == "image,label\r\n"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_name_that_is_a_formula_becomes_text(start: str) -> None:
    assert rows([result(f"{start}1+1.jpg")])[1] == [f"'{start}1+1.jpg", "beagle"]


def test_a_failed_image_has_its_sentence() -> None:
    failed = ClassificationResult(KEY, "a.jpg", failure=Failure("broken", "the image is damaged, sorry"))
    assert rows([failed])[1] == ["a.jpg", "error: the image is damaged, sorry"]


@given(st.lists(st.text(max_size=30).map(clean_name), max_size=250))
def test_every_name_survives(names: list[str]) -> None:
    found = rows([result(name) for name in names])
    assert found[0] == ["image", "label"]
    assert [name.removeprefix("'") for name, _label in found[1:]] == [name.removeprefix("'") for name in names]
