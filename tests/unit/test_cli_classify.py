"""`elastic classify` prints a line for each file, under the path that was given, and never a stack trace."""

from __future__ import annotations

import csv
import json
import os
import re
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from werkzeug.exceptions import InternalServerError

from api_client.image_files import collect
from cli.classify import classify
from core.formats import ACCEPTED_TEXT
from tests.web import JPEG, WebBench

NO_IMAGE = f"the file is not an image of a known format; accepted are {ACCEPTED_TEXT}"


@pytest.fixture
def bench() -> WebBench:
    bench = WebBench()
    bench.answer_at_once()
    return bench


@pytest.fixture
def url(bench: WebBench) -> Iterator[str]:
    with bench.served() as address:
        yield address


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("set_1/image_1.jpg", "set_2/image_1.jpg", "set_1/._image_1.jpg", "set_2/.trash/image_2.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(JPEG)
    return tmp_path


def lines(url: str, *paths: str) -> list[bytes]:
    result = CliRunner().invoke(classify, ["--url", url, *paths], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return sorted(result.stdout_bytes.splitlines())


def test_files_of_one_name_differ_by_their_folders(bench: WebBench, url: str, folder: Path) -> None:
    assert lines(url, "set_1", "set_2") == [b"set_1/image_1.jpg, beagle", b"set_2/image_1.jpg, beagle"]
    assert sorted(bench.images.name(key) for key in bench.images.objects) == ["set_1/image_1.jpg", "set_2/image_1.jpg"]
    absolute = str(folder / "set_1" / "image_1.jpg")
    assert lines(url, absolute, "./set_1/../set_2/image_1.jpg") == sorted(
        [f"{absolute}, beagle".encode(), b"set_1/../set_2/image_1.jpg, beagle"]
    )


def test_a_name_that_is_not_utf8_is_classified_and_printed_as_it_is(bench: WebBench, url: str, folder: Path) -> None:
    name = b"set_1/caf\xe9.jpg"
    Path(os.fsdecode(name)).write_bytes(JPEG)
    assert lines(url, "set_1") == [b"set_1/caf\xe9.jpg, beagle", b"set_1/image_1.jpg, beagle"]
    assert sorted(bench.images.name(key) for key in bench.images.objects)[0] == "set_1/caf\ufffd.jpg"


def test_a_name_that_is_not_utf8_and_is_refused_has_a_line(bench: WebBench, url: str, folder: Path) -> None:
    Path(os.fsdecode(b"set_1/caf\xe9.jpg")).write_bytes(b"")
    bench.images.fail_next("put")
    result = CliRunner().invoke(classify, ["--url", url, "set_1"])
    assert result.exit_code == 1
    assert sorted(result.stdout_bytes.splitlines()) == [
        b"set_1/caf\xe9.jpg, error: the file is empty",
        b'set_1/image_1.jpg, "error: could not be stored, please try again"',
    ]


def test_what_is_hidden_in_a_folder_is_left_out_unless_it_is_named(folder: Path) -> None:
    images, others = collect([Path()])
    assert [str(path) for path in images] == ["set_1/image_1.jpg", "set_2/image_1.jpg"]
    assert len(others) == 2
    named = Path("set_1/._image_1.jpg")
    assert collect([named])[0] == [named]
    assert collect([Path("set_2/.trash")])[0] == [Path("set_2/.trash/image_2.jpg")]


def run(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(classify, ["--url", url, *arguments], catch_exceptions=False)


@pytest.fixture
def archive(folder: Path) -> Path:
    path = folder / "trip.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for name in ("day 1/a.jpg", "day 2/a.jpg"):
            packed.writestr(name, JPEG)
        packed.writestr("day 2/empty.jpg", b"")
        packed.writestr("more.zip", b"PK")
        packed.writestr("labels.txt", b"dog")
        packed.writestr("__MACOSX/day 1/._a.jpg", b"x")
    return path


def test_an_archive_stands_for_its_images(bench: WebBench, url: str, archive: Path) -> None:
    result = run(url, "trip.zip", "set_1/image_1.jpg")
    assert result.exit_code == 1
    assert sorted(result.stdout.splitlines()) == [
        "set_1/image_1.jpg, beagle",
        "trip.zip/day 1/a.jpg, beagle",
        "trip.zip/day 2/a.jpg, beagle",
        "trip.zip/day 2/empty.jpg, error: the file is empty",
        "trip.zip/more.zip, error: an archive within an archive is not opened",
    ]
    assert "Left out: 1 hidden file, 1 file without an image's ending.\n" in result.stderr
    assert "5 images in " in result.stderr and "2 failed" in result.stderr
    # Each at the position that it has among the files, although one between them was never sent.
    assert sorted(bench.images.name(key) for key in bench.images.objects) == [
        "set_1/image_1.jpg",
        "trip.zip/day 1/a.jpg",
        "trip.zip/day 2/a.jpg",
    ]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"PK\3\4 cut", "the archive is damaged or incomplete"),
        (b"PK\5\6" + bytes(18), "there is no image in the archive"),
    ],
)
def test_a_damaged_archive_is_a_failed_file_and_the_others_go_on(
    url: str, folder: Path, content: bytes, sentence: str
) -> None:
    (folder / "bad.zip").write_bytes(content)
    result = run(url, "bad.zip", "set_1")
    assert (result.exit_code, sorted(result.stdout.splitlines())) == (
        1,
        [f"bad.zip, error: {sentence}", "set_1/image_1.jpg, beagle"],
    )


def test_of_a_folder_images_are_taken_and_the_rest_is_counted(url: str, archive: Path, folder: Path) -> None:
    for name in ("a.jfif", "b.TIFF", "c.jpx", "notes.txt", "Thumbs.db", ".DS_Store"):
        (folder / "set_1" / name).write_bytes(JPEG)
    result = run(url, ".")
    assert sorted(line.partition(",")[0] for line in result.stdout.splitlines()) == [
        "set_1/a.jfif",
        "set_1/b.TIFF",
        "set_1/c.jpx",
        "set_1/image_1.jpg",
        "set_2/image_1.jpg",
    ]
    assert "Left out: 4 hidden files, 1 file without an image's ending, 1 archive in a folder.\n" in result.stderr


def test_a_file_that_cannot_be_read_costs_only_itself(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = folder / "set_1" / "image_0.jpg"
    broken.write_bytes(JPEG)
    open_file = Path.open

    def refuse(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == broken.name:
            raise PermissionError(13, "Permission denied")
        return open_file(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    result = run(url, "set_1", "set_2")
    assert result.exit_code == 1
    assert sorted(result.stdout.splitlines()) == [
        "set_1/image_0.jpg, error: the file cannot be read: Permission denied",
        "set_1/image_1.jpg, beagle",
        "set_2/image_1.jpg, beagle",
    ]


def test_more_files_than_a_batch_takes_make_several_batches(folder: Path) -> None:
    bench = WebBench(max_batch_images=2)
    bench.answer_at_once()
    for number in range(5):
        (folder / "set_1" / f"{number}.jpg").write_bytes(JPEG)
    with bench.served() as address:
        result = run(address, "set_1")
    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 6)
    assert len({key.partition("/")[0] for key in bench.images.objects}) == 3
    assert [line for line in result.stderr.splitlines() if line.startswith("Batch 3 of 3: http://127.0.0.1:")]


def test_scores_json_lines_and_a_csv_file(url: str, folder: Path) -> None:
    (folder / "set_1" / "=1+1.jpg").write_bytes(b"no image")
    assert "set_1/image_1.jpg, beagle, 0.9000" in run(url, "--scores", "set_1").stdout.splitlines()
    result = run(url, "--json", "--scores", "--output", "labels.csv", "set_1/image_1.jpg", "=1+1.jpg", "set_1")
    assert result.exit_code == 2, "a path that does not exist is an error of usage"
    os.chdir("set_1")
    result = run(url, "--json", "--scores", "--output", "../labels.csv", "image_1.jpg", "=1+1.jpg")
    found = {entry["name"]: entry for entry in map(json.loads, result.stdout.splitlines())}
    assert (found["image_1.jpg"]["label"], found["image_1.jpg"]["status"]) == ("beagle", "classified")
    assert found["=1+1.jpg"]["error"]["code"] == "not_an_image"
    assert all(entry["key"].startswith(entry["batch_id"]) for entry in found.values())
    with (folder / "labels.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["image", "label", "score"],
            ["image_1.jpg", "beagle", "0.9"],
            ["'=1+1.jpg", f"error: {NO_IMAGE}", ""],
        ]


def test_a_terminal_shows_progress_with_a_rate_and_notes_above_it(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    result = run(url, "set_1")
    assert (result.exit_code, result.stdout) == (0, "set_1/image_1.jpg, beagle\n")
    shown = result.stderr
    # On a line of its own: behind a bar, it would be erased with the bar.
    assert re.search(r"(^|\n|\x1b\[2K)Batch: http://127\.0\.0\.1:\d+/batches/\S+\n", shown)
    assert re.search(r"answered .*1/1.* images/s", shown)


@pytest.mark.parametrize("arguments", [["missing"], [], ["--output", "no/such/folder.csv", "set_1"], ["empty"]])
def test_nothing_to_do_is_an_error_of_usage(url: str, folder: Path, arguments: list[str]) -> None:
    (folder / "empty").mkdir()
    result = run(url, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1].startswith("Error: ")


# --- a web tier that refuses, fails, or is none -----------------------------------------------------

Respond = Callable[[int, str, bytes], str]


@pytest.fixture
def respond() -> Iterator[Respond]:
    """Starts servers that send the same response to every request; returns their addresses."""
    servers: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def start(status: int, content_type: str, body: bytes) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def problem(detail: str) -> tuple[str, bytes]:
    return "application/problem+json", json.dumps({"title": "No", "detail": detail}).encode()


HTML = ("text/html", b"<html><body><h1>Welcome to nginx!</h1></body></html>")


@pytest.mark.parametrize(
    ("status", "response", "sentence"),
    [
        (401, problem("an access token is needed"), "refused the request (401): an access token is needed; set"),
        (403, problem("the quota is used up"), "refused the request (403): the quota is used up"),
        (403, HTML, "refused the request (403): access is denied"),
        (409, problem("the batch has been cancelled"), "refused the request (409): the batch has been cancelled"),
        (413, HTML, "refused an upload as too large (413)"),
        (429, problem("too many requests"), "has too many requests of this client (429); try again in a minute"),
        (500, problem("something went wrong on our side"), "failed (500); try again later"),
        (502, HTML, "failed (502); try again later"),
        (200, HTML, "is not the address of an Elastic Image Classifier; check the address"),
        (404, HTML, "is not the address of an Elastic Image Classifier; check the address"),
        (200, ("application/json", b'{"status": "up"}'), "is not the address of an Elastic Image Classifier"),
        (200, ("application/json", b"[1"), "is not the address of an Elastic Image Classifier"),
    ],
)
def test_a_server_that_does_not_do_the_work_is_one_sentence(
    respond: Respond,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    response: tuple[str, bytes],
    sentence: str,
) -> None:
    monkeypatch.setattr("api_client.session.RETRY_BACKOFF_SECONDS", 0.0)
    result = run(respond(status, *response), "set_1")
    assert (result.exit_code, result.stdout) == (2, "")
    [line] = result.stderr.splitlines()[1:]
    assert line.startswith("Error: ") and sentence in line
    assert not any(odd in line for odd in ("<", "{", "Traceback", "HTTPConnectionPool", "Max retries"))


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://127.0.0.1:9", "cannot be reached"),
        ("http://name.invalid", "cannot be reached"),
        ("127.0.0.1:8080", "is not a valid address; it must begin with http:// or https://"),
        ("ftp://127.0.0.1", "is not a valid address"),
        ("http://", "is not a valid address"),
    ],
)
def test_an_address_without_a_server_is_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, url: str, sentence: str
) -> None:
    monkeypatch.setattr("api_client.session.RETRY_BACKOFF_SECONDS", 0.0)
    result = run(url, "set_1")
    assert result.exit_code == 2
    [line] = result.stderr.splitlines()[1:]
    assert line.startswith("Error: ") and sentence in line and "Pool" not in line


def test_a_web_tier_that_fails_halfway_leaves_what_it_has_answered(
    bench: WebBench, url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(25):
        (folder / "set_1" / f"{number:02}.jpg").write_bytes(JPEG)
    posted = bench.services.uploads.accept

    def accept(batch_id: str, files: Any, offset: int, *rest: Any) -> Any:
        if offset:
            raise InternalServerError
        return posted(batch_id, files, offset, *rest)

    monkeypatch.setattr("api_client.session.RETRY_BACKOFF_SECONDS", 0.0)
    monkeypatch.setattr(type(bench.services.uploads), "accept", lambda _self, *arguments: accept(*arguments))
    result = run(url, "--output", "labels.csv", "set_1")
    assert result.exit_code == 2
    assert "failed (500); try again later" in result.stderr.splitlines()[-1]
    rows = (folder / "labels.csv").read_text().splitlines()
    assert len(rows) == 1 + len(result.stdout.splitlines())
