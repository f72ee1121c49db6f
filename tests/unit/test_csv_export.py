"""The CSV file: one line for each image, readable by every CSV reader, harmless in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.csv_export import csv_chunks
from core.jobs import ClassificationResult, Failure, Prediction, clean_name, image_key
from core.response_time import ResponseTime
from tests.web import JPEG, WebBench

KEY = "20260101-000000-aaaaaaaaaaaa/00000-a.jpg"


@pytest.fixture
def bench() -> WebBench:
    return WebBench(top_k=2)


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


def test_columns_are_chosen_by_name(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    bench.upload(batch_id, [("a.jpg", JPEG), ("empty.jpg", b"")])
    key = image_key(batch_id, 0, "a.jpg")
    predictions = (Prediction("beagle", 0.75), Prediction("fox, red", 0.2))
    times = ResponseTime(1000.0, 0.5, 3.0, 0.0605)
    bench.results.put(ClassificationResult(key, "a.jpg", predictions, model="m@1", response_time=times))
    columns = "key,score,top_k,model,seconds_classifying,seconds_total,image"
    response = bench.client.get(f"/api/v1/batches/{batch_id}/results.csv?columns={columns}")
    scores = ["0.75", "beagle", "0.75", "fox, red", "0.2"]
    assert list(csv.reader(io.StringIO(response.text, newline=""))) == [
        [
            "key",
            "score",
            "label_1",
            "score_1",
            "label_2",
            "score_2",
            "model",
            "seconds_classifying",
            "seconds_total",
            "image",
        ],
        [key, *scores, "m@1", "0.06", "3.56", "a.jpg"],
        [image_key(batch_id, 1, "empty.jpg"), *[""] * 8, "empty.jpg"],
    ]


@pytest.mark.parametrize("columns", ["", "image,", "pixels", "image;label", "image, label"])
def test_a_column_that_does_not_exist_is_refused(bench: WebBench, columns: str) -> None:
    batch_id = bench.create_batch()
    response = bench.client.get(f"/api/v1/batches/{batch_id}/results.csv", query_string={"columns": columns})
    assert response.status_code == 422
    [error] = response.get_json()["errors"]
    assert error["field"] == "columns" and "image|label|score" in error["message"]


def test_a_byte_order_mark_is_written_where_it_is_asked_for(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    path = f"/api/v1/batches/{batch_id}/results.csv"
    assert bench.client.get(f"{path}?bom=1").data == "\ufeffimage,label\r\n".encode()
    assert bench.client.get(f"{path}?bom=0").data == b"image,label\r\n"


def test_json_lines_have_the_rows_of_the_json_file(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    path = f"/api/v1/batches/{batch_id}/results"
    assert bench.client.get(f"{path}.jsonl").data == b""
    bench.upload(batch_id, [("set_1/犬.jpg", JPEG), ("set_2/犬.jpg", JPEG), ("empty.jpg", b"")])
    bench.answer()
    response = bench.client.get(f"{path}.jsonl")
    assert response.content_type == "application/jsonl"
    assert response.headers["Content-Disposition"] == f'attachment; filename="{batch_id}.jsonl"'
    rows = [json.loads(line) for line in response.text.splitlines()]
    assert [row["name"] for row in rows] == ["set_1/犬.jpg", "set_2/犬.jpg", "empty.jpg"]
    assert rows == bench.client.get(f"{path}.json").get_json()


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("", [0, 1, 2]),
        ("caf\u00e9", [0]),
        ("CAFE\u0301", [0]),
        ("οδος", [1]),
        ("STRASSE beagle", [1]),
        ("set_2/", [1, 2]),
        ("empty beagle", []),
    ],
)
def test_a_search_normalizes_both_sides(bench: WebBench, search: str, found: list[int]) -> None:
    batch_id = bench.create_batch()
    names = ["set_1/Cafe\u0301.jpg", "set_2/Straße ΟΔΟΣ.jpg", "set_2/empty.jpg"]
    bench.upload(batch_id, [(names[0], JPEG), (names[1], JPEG), (names[2], b"")])
    bench.answer()
    path, query = f"/api/v1/batches/{batch_id}/results", {"search": search}
    expected = [names[index] for index in found]
    assert [row["name"] for row in bench.client.get(f"{path}.json", query_string=query).get_json()] == expected
    table = bench.client.get(f"{path}.csv", query_string=query).text
    assert [row[0] for row in csv.reader(io.StringIO(table, newline=""))][1:] == expected


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
