"""Files that commands write: refused before the work, and whole or not there at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.errors import ArgumentError
from core.output_files import check_output_file, write_output_file


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    for path, sentence in ((tmp_path / "no" / "a", "there is no folder"), (tmp_path, "is a folder")):
        with pytest.raises(ArgumentError, match=sentence):
            check_output_file(path)


def test_a_read_only_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The tests may run as root, who may write everywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ArgumentError, match="permission denied"):
        check_output_file(tmp_path / "a")


def test_a_check_touches_nothing(tmp_path: Path) -> None:
    check_output_file(tmp_path / "a")
    check_output_file(Path(os.devnull))
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    path.chmod(0o640)

    def fail(self: Path, target: Path) -> Path:
        raise OSError("no space")

    with monkeypatch.context() as broken, pytest.raises(OSError, match="no space"):
        broken.setattr(Path, "replace", fail)
        write_output_file(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    write_output_file(path, "nëw")
    assert path.read_bytes() == "nëw".encode() and path.stat().st_mode & 0o777 == 0o640


def test_a_link_stays_a_link_and_a_device_a_device(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_output_file(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_text() == "text"
    write_output_file(Path(os.devnull), "text")
    assert not Path(os.devnull).is_file()
