"""`elastic classify` prints a line for each file, under the path that was given."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from api_client.image_files import collect, given_path
from cli.classify import classify
from tests.web import JPEG, WebBench


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
    assert result.exit_code == 1 and not result.stdout.count("beagle")
    assert result.stdout_bytes == b"set_1/caf\xe9.jpg, error: the file is empty\n"
    assert "not stored: set_1/image_1.jpg: " in result.stderr


def test_what_is_hidden_in_a_folder_is_left_out_unless_it_is_named(folder: Path) -> None:
    images, others = collect([Path()])
    assert [given_path(path) for path in images] == ["set_1/image_1.jpg", "set_2/image_1.jpg"]
    assert len(others) == 2
    named = Path("set_1/._image_1.jpg")
    assert collect([named])[0] == [named]
    assert collect([Path("set_2/.trash")])[0] == [Path("set_2/.trash/image_2.jpg")]
