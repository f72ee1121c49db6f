"""Each image keeps its relative path and its whole name, from the upload to the result."""

from __future__ import annotations

import base64
import csv
import io

import pytest

from core.image_layouts import parse_result_line
from core.jobs import ClassificationResult, Failure
from tests.web import JPEG, WebBench

SAME = ["set_1/image_1.jpg", "set_2/image_1.jpg"]
LONG = [
    "/".join(["d" * 255] * 15 + ["a.jpg"]),
    "/".join(["夏" * 85] * 15 + ["写真.jpg"]),
    "/".join(["é" * 127] * 8 + ["👩\u200d🚀" * 20 + ".jpg"]),
    "می\u200cخواهم/Cafe\u0301.jpg",
]


@pytest.fixture
def bench() -> WebBench:
    return WebBench()


def names_everywhere(bench: WebBench, batch_id: str) -> list[list[str]]:
    """The names of a batch's images in each place where a client finds them."""
    path = f"/api/v1/batches/{batch_id}"
    table = bench.client.get(f"{path}/results.csv").text
    results = sorted(bench.get(f"{path}/results")["results"], key=lambda result: result["position"])
    return [
        [result["name"] for result in results],
        [result["name"] for result in bench.client.get(f"{path}/results.json").get_json()],
        [row[0] for row in csv.reader(io.StringIO(table, newline=""))][1:],
        [parse_result_line(bench.results.line(result["key"]))[0] for result in results],
    ]


@pytest.mark.parametrize("names", [SAME, *[[name, f"x/{name}"] for name in LONG[3:]]], ids=["same", "joiner"])
def test_files_of_one_name_in_two_folders_are_two_names(bench: WebBench, names: list[str]) -> None:
    batch_id = bench.create_batch()
    report = bench.upload(batch_id, [(name, JPEG) for name in names])
    assert [file["name"] for file in report["accepted"]] == names
    assert [job.name for job in bench.queue.jobs] == names
    bench.answer()
    assert names_everywhere(bench, batch_id) == [names] * 4


@pytest.mark.parametrize("name", LONG, ids=["ascii", "CJK", "emoji", "joiner"])
def test_a_long_name_comes_back_whole_from_a_form_and_from_json(bench: WebBench, name: str) -> None:
    batch_id = bench.create_batch()
    bench.upload(batch_id, [(name, JPEG)])
    image = {"name": name, "data": base64.b64encode(JPEG).decode()}
    response = bench.client.post(f"/api/v1/batches/{batch_id}/images", json={"images": [image]})
    assert response.status_code == 200 and response.get_json()["accepted"][0]["name"] == name
    bench.answer()
    assert names_everywhere(bench, batch_id) == [[name, name]] * 4


def test_a_file_that_cannot_be_classified_keeps_its_name(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    bench.upload(batch_id, [(LONG[1], b"no image"), (SAME[1], JPEG)])
    assert bench.client.post(f"/api/v1/batches/{batch_id}/cancel").status_code == 200
    assert names_everywhere(bench, batch_id) == [[LONG[1], SAME[1]]] * 4


def test_presigned_uploads_keep_paths_and_have_different_keys(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    files = [{"name": name, "size_bytes": len(JPEG)} for name in SAME]
    for query in ("", "?offset=0"):
        planned = bench.client.post(f"/api/v1/batches/{batch_id}/uploads{query}", json={"files": files}).get_json()
        assert [upload["name"] for upload in planned["uploads"]] == SAME
        keys = [upload["key"] for upload in planned["uploads"]]
        assert len(set(keys)) == 2 and all(key.endswith("image_1.jpg") for key in keys)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "..\\..\\etc\\passwd", "C:\\etc\\passwd", "a/../../etc/passwd"]
)
def test_a_path_is_data_and_never_leads_out_of_a_folder(bench: WebBench, name: str) -> None:
    batch_id = bench.create_batch()
    bench.upload(batch_id, [(name, JPEG)])
    [key] = bench.images.objects
    assert key == f"{batch_id}/00000-passwd"
    assert bench.queue.jobs[0].name in ("etc/passwd", "a/etc/passwd")


def test_one_name_in_another_encoding_does_not_cost_the_request(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    parts = b"".join(
        b'--xyz\r\nContent-Disposition: form-data; name="images"%s\r\n\r\n%s\r\n' % (filename, JPEG)
        for filename in (b'; filename="one.jpg"', b'; filename="caf\xe9.jpg"', b"", b'; filename="four.jpg"')
    )
    response = bench.client.post(
        f"/api/v1/batches/{batch_id}/images",
        data=parts + b"--xyz--\r\n",
        content_type="multipart/form-data; boundary=xyz",
    )
    assert response.status_code == 200, response.text
    names = [file["name"] for file in response.get_json()["accepted"]]
    assert names == ["one.jpg", "caf\ufffd.jpg", "images", "four.jpg"]


def test_the_page_shows_the_path_without_javascript(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    bench.upload(batch_id, [(name, JPEG) for name in SAME])
    bench.answer()
    page = bench.client.get(f"/batches/{batch_id}").text
    for folder in ("set_1/", "set_2/"):
        assert f'<bdi class="folder">{folder}</bdi></span><span class="file">image_1.jpg</span>' in page


def test_a_result_of_the_previous_version_is_read() -> None:
    result = ClassificationResult("20260101-000000-aaaaaaaaaaaa/00000-a.jpg", "a.jpg", failure=Failure("broken", "x"))
    body, metadata = result.encode()
    assert body == b"a.jpg, error: x\n"
    assert ClassificationResult.decode(result.key, body, metadata) == result
