"""ZIP archives of any origin: each image in them is a file, and what cannot be read costs nothing but itself."""

from __future__ import annotations

import base64
import io
import os
import struct
import warnings
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain, repeat
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aws.in_memory import ManualClock
from core import zip_archive
from core.errors import ArchiveTooLargeError, BrokenArchiveError, EmptyArchiveError, ImageError
from core.file_selection import FileKind, kind_of
from core.zip_archive import ZipArchive
from tests.full_disk import FULL_DISK_BYTES, full_disk
from tests.web import JPEG, File, WebBench
from web_tier.domain.batches import OPEN_SECONDS

ENTRIES = 100


def zipped(files: Sequence[File], *methods: int) -> bytes:
    """An archive of files; a name twice is in it twice.

    Args:
        methods: how each of the first files is compressed; the others are deflated.
    """
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Duplicate name")
        for (name, content), method in zip(files, chain(methods, repeat(zipfile.ZIP_DEFLATED)), strict=False):
            # Set later, a name is not altered.
            info = zipfile.ZipInfo("x")
            info.filename, info.compress_type = name, method
            archive.writestr(info, content)
    return target.getvalue()


def with_flag(archive: bytes, flag: int, number: int = 0) -> bytes:
    """The archive with a flag set on one of its members, in its header and in the directory."""
    changed = bytearray(archive)
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = -1
        for _ in range(number + 1):
            start = archive.index(signature, start + 1)
        changed[start + flags] |= flag & 0xFF
        changed[start + flags + 1] |= flag >> 8
    return bytes(changed)


def damaged(archive: bytes, content: bytes) -> bytes:
    """The archive with one byte of a stored member changed."""
    return archive.replace(content, content[:-1] + bytes([content[-1] ^ 0xFF]), 1)


def opened(archive: bytes, max_expanded_bytes: int = 10**9) -> ZipArchive:
    return ZipArchive(io.BytesIO(archive), len(archive), ENTRIES, max_expanded_bytes)


@pytest.fixture
def bench() -> WebBench:
    return WebBench()


# --- which files are images -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("a.jpg", FileKind.IMAGE),
        ("holiday/day 1/A.JPEG", FileKind.IMAGE),
        ("./a.png", FileKind.IMAGE),
        ("..\\up\\a.webp", FileKind.IMAGE),
        ("holiday/labels.txt", FileKind.OTHER),
        ("a.jpg.txt", FileKind.OTHER),
        ("jpg", FileKind.OTHER),
        ("", FileKind.OTHER),
        ("more.zip", FileKind.ARCHIVE),
        ("more.tar.gz", FileKind.ARCHIVE),
        (".DS_Store", FileKind.HIDDEN),
        ("holiday/._a.jpg", FileKind.HIDDEN),
        ("__MACOSX/holiday/a.jpg", FileKind.HIDDEN),
        (".git/objects/a.jpg", FileKind.HIDDEN),
        ("holiday/Thumbs.db", FileKind.HIDDEN),
        ("holiday/desktop.ini", FileKind.HIDDEN),
    ],
)
def test_a_file_is_taken_for_what_its_path_says(path: str, kind: FileKind) -> None:
    assert kind_of(path) is kind


# --- hostile archives -------------------------------------------------------------------------------


def truncated() -> bytes:
    whole = zipped([("a.jpg", JPEG), ("b.jpg", JPEG)])
    return whole[: len(whole) - 40]


@pytest.mark.parametrize(
    ("archive", "error"),
    [
        pytest.param(b"PK\x03\x04", BrokenArchiveError, id="signature only"),
        pytest.param(truncated(), BrokenArchiveError, id="truncated"),
        pytest.param(zipped([]), EmptyArchiveError, id="zero entries"),
        pytest.param(zipped([("folder/", b"")]), EmptyArchiveError, id="only folders"),
        pytest.param(zipped([("labels.txt", b"cat"), ("._a.jpg", b"x")]), EmptyArchiveError, id="no image"),
        pytest.param(zipped([("a.jpg", JPEG)] * (ENTRIES + 1)), ArchiveTooLargeError, id="too many entries"),
        pytest.param(zipped([("a.jpg", JPEG)])[:-22] + bytes(22), BrokenArchiveError, id="no end"),
    ],
)
def test_an_archive_that_cannot_be_opened_is_refused_as_a_whole(archive: bytes, error: type[ImageError]) -> None:
    with pytest.raises(error):
        opened(archive)


def test_70000_entries_are_refused_before_an_object_is_made_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = zipped([(f"{number}.jpg", b"") for number in range(70_000)])

    def refuse(*_arguments: Any) -> None:
        raise AssertionError("an entry was decoded")

    monkeypatch.setattr(zipfile, "ZipInfo", refuse)
    with pytest.raises(ArchiveTooLargeError, match="more than 40,000 files"):
        ZipArchive(io.BytesIO(archive), len(archive), 40_000, 10**9)


def test_a_directory_of_gigabytes_is_not_read_into_memory() -> None:
    class Huge(io.RawIOBase):
        """A sparse file whose last bytes claim that all of it is the directory."""

        size, longest = 2**31, 0
        end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 9, 9, 2**31 - 22, 0, 0)
        at = 0

        def seekable(self) -> bool:
            return True

        def seek(self, offset: int, whence: int = 0) -> int:
            self.at = offset + (0, self.at, self.size)[whence]
            return self.at

        def read(self, count: int = -1) -> bytes:
            count = min(self.size - self.at if count < 0 else count, self.size - self.at)
            self.longest = max(self.longest, count)
            data = bytes(count)
            if self.at + count == self.size and count >= len(self.end):
                data = data[: -len(self.end)] + self.end
            self.at += count
            return data

    huge = Huge()
    with pytest.raises(ArchiveTooLargeError):
        ZipArchive(huge, huge.size, ENTRIES, 10**9)  # type: ignore[arg-type]
    assert huge.longest < 2**20


Member = tuple[str, str]


def read_all(archive: bytes, max_bytes: int = 10**6, max_expanded_bytes: int = 10**9) -> list[Member]:
    """Each member's path, and its content's length or why it cannot be read."""
    found = []
    with opened(archive, max_expanded_bytes) as members:
        for member in members.members:
            try:
                outcome = str(sum(len(chunk) for chunk in members.read(member, max_bytes)))
            except ImageError as error:
                outcome = error.code
            found.append((member.path, outcome))
    return found


GOOD = ("good.jpg", JPEG)
SIZE = str(len(JPEG))


@pytest.mark.parametrize(
    ("archive", "outcome"),
    [
        pytest.param(with_flag(zipped([("bad.jpg", JPEG), GOOD]), 1), "encrypted", id="encrypted"),
        pytest.param(
            damaged(zipped([("bad.jpg", b"one"), GOOD], zipfile.ZIP_STORED), b"one"),
            "broken_archive",
            id="wrong checksum",
        ),
        pytest.param(zipped([("bad.jpg", JPEG), GOOD]).replace(b"bad", b"odd", 1), "broken_archive", id="names differ"),
        pytest.param(zipped([("bad.zip", zipped([GOOD])), GOOD]), "nested_archive", id="nested"),
        pytest.param(zipped([("bad.jpg", JPEG), GOOD], zipfile.ZIP_LZMA), "unsupported_compression", id="LZMA"),
        pytest.param(zipped([("bad.jpg", JPEG), GOOD], zipfile.ZIP_BZIP2), "unsupported_compression", id="bzip2"),
    ],
)
def test_a_member_that_cannot_be_read_is_refused_and_the_others_go_on(archive: bytes, outcome: str) -> None:
    (_, bad), good = read_all(archive)
    assert (bad, good) == (outcome, ("good.jpg", SIZE))


def test_a_member_above_the_size_limit_is_read_no_further() -> None:
    archive = zipped([("bomb.jpg", bytes(50_000_000)), GOOD])
    assert read_all(archive, max_bytes=10_000) == [("bomb.jpg", "10001"), ("good.jpg", SIZE)]


def test_an_archive_may_expand_to_its_limit_only(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [(f"{number}.bmp", os.urandom(1000)) for number in range(4)]
    expected = [("0.bmp", "1000"), ("1.bmp", "1000"), ("2.bmp", "archive_too_large"), ("3.bmp", "archive_too_large")]
    assert read_all(zipped(files), max_expanded_bytes=2500) == expected
    # By its compression, where that is the lower limit.
    bombs = [(f"{number}.bmp", bytes(1_000_000)) for number in range(4)]
    assert {outcome for _, outcome in read_all(zipped(bombs))} == {"1000000"}
    monkeypatch.setattr(zip_archive, "MIN_EXPANDED_BYTES", 0)
    assert [outcome for _, outcome in read_all(zipped(bombs))] == [*["archive_too_large"] * 4]
    assert {outcome for _, outcome in read_all(zipped(files))} == {"1000"}


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("犬/ä.jpg".encode(), "犬/ä.jpg"),
        # Neither UTF-8 nor declared as such: the specification's code page.
        (b"caf\x82.jpg", "café.jpg"),
        (b"caf\xe9\xff.jpg", "cafΘ\xa0.jpg"),
    ],
)
def test_names_are_utf8_though_undeclared_or_else_code_page_437(raw: bytes, path: str) -> None:
    # A name in ASCII is not declared as UTF-8; it stands for the raw bytes.
    ascii_name = "x" * (len(raw) - 4) + ".jpg"
    archive = zipped([(ascii_name, JPEG)]).replace(ascii_name.encode(), raw)
    assert read_all(archive) == [(path, SIZE)]


@given(st.binary(max_size=400), st.integers(0, 10**6))
def test_no_damage_raises_anything_but_the_documented_errors(noise: bytes, at: int) -> None:
    whole = bytearray(zipped([GOOD, ("b.jpg", JPEG), ("c.txt", b"x")]))
    start = at % len(whole)
    whole[start : start + len(noise)] = noise
    with suppress(ImageError):
        read_all(bytes(whole))


def test_overlapping_members_expand_within_the_budget() -> None:
    # A directory whose entries all name the same data, as the densest decompression bombs have.
    one = zipped([("0.bmp", bytes(100_000))])
    directory = one[one.index(b"PK\x01\x02") : one.index(b"PK\x05\x06")]
    start = one.index(b"PK\x01\x02")
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 50, 50, 50 * len(directory), start, 0)
    outcomes = [outcome for _, outcome in read_all(one[:start] + 50 * directory + end, max_expanded_bytes=250_000)]
    assert outcomes.count("100000") <= 2 and len(outcomes) == 50


# --- through the API --------------------------------------------------------------------------------


def names(files: Sequence[dict[str, Any]]) -> list[str]:
    return [file["name"] for file in files]


def test_an_archive_that_is_added_again_brings_only_what_the_batch_lacks(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    before = [("a/1.jpg", JPEG), ("a/2.jpg", JPEG), ("empty.png", b"")]
    bench.upload(batch_id, [("photos.zip", zipped(before))], offset=0)
    larger = [before[0], ("a/2.jpg", JPEG + b"edited"), before[2], ("b/1.jpg", JPEG)]
    url = f"/api/v1/batches/{batch_id}/images?offset=3&keep_others=1"
    response = bench.client.post(url, data={"images": (io.BytesIO(zipped(larger)), "photos.zip")})
    assert response.json is not None
    assert response.json["archives"] == [{"name": "photos.zip", "files": 2, "hidden": 0, "others": 0, "known": 2}]
    assert names(response.json["accepted"]) == ["photos.zip/a/2.jpg", "photos.zip/b/1.jpg"]
    # The plain form, without JavaScript, adds what is missing, too.
    largest = zipped([*larger, ("c.jpg", JPEG)])
    bench.client.post(f"/batches/{batch_id}/images", data={"images": (io.BytesIO(largest), "photos.zip")})
    assert bench.get(f"/api/v1/batches/{batch_id}/results")["accepted"] == 6


def test_the_images_of_an_archive_are_files_of_the_request(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    archive = zipped(
        [
            ("holiday/", b""),
            ("holiday/犬.jpg", JPEG),
            ("holiday/labels.txt", b"dog"),
            ("__MACOSX/holiday/._犬.jpg", b"x"),
            ("holiday/.DS_Store", b"x"),
            ("more/one.zip", zipped([GOOD])),
            ("empty.png", b""),
        ]
    )
    answer = bench.upload(batch_id, [("a.jpg", JPEG), ("set 1/photos.ZIP", archive), ("b.jpg", JPEG)], offset=3)
    assert [(file["key"].partition("/")[2][:5], file["name"]) for file in answer["accepted"]] == [
        ("00003", "a.jpg"),
        ("00004", "set 1/photos.ZIP/holiday/犬.jpg"),
        ("00007", "b.jpg"),
    ]
    assert [(file["key"].partition("/")[2], file["code"]) for file in answer["rejected"]] == [
        ("00005-one.zip", "nested_archive"),
        ("00006-empty.png", "empty"),
    ]
    assert answer["archives"] == [{"name": "set 1/photos.ZIP", "files": 3, "hidden": 2, "others": 1, "known": 0}]
    assert answer["not_stored"] == []
    bench.answer()
    results = bench.get(f"/api/v1/batches/{batch_id}/results")
    assert (results["accepted"], results["answered"], results["complete"]) == (5, 5, True)
    assert bench.upload(batch_id, [("a.jpg", JPEG), ("set 1/photos.ZIP", archive), ("b.jpg", JPEG)], offset=3) == answer


HOSTILE_NAMES = [
    "../../etc/passwd.jpg",
    "/etc/passwd.jpg",
    "C:\\Windows\\a.jpg",
    "a\0.jpg",
    "\u202egpj.exe.jpg",
    "x" * 5000 + ".jpg",
]


def test_hostile_names_are_data_and_duplicates_stay_apart(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    archive = zipped([(name, JPEG) for name in [*HOSTILE_NAMES, "same.jpg", "same.jpg"]])
    answer = bench.upload(batch_id, [("p.zip", archive)], offset=0)
    found = names(answer["accepted"])
    assert len(found) == answer["archives"][0]["files"] == len(HOSTILE_NAMES) + 2
    assert found[:3] == ["p.zip/etc/passwd.jpg", "p.zip/etc/passwd.jpg", "p.zip/C:/Windows/a.jpg"]
    assert found[-2:] == ["p.zip/same.jpg", "p.zip/same.jpg"]
    assert all(".." not in name.split("/") and "\u202e" not in name for name in found)
    assert len({file["key"] for file in answer["accepted"]}) == len(found)


@pytest.mark.parametrize(
    ("name", "content", "settings", "code"),
    [
        ("a.zip", truncated(), {}, "broken_archive"),
        ("a.zip", zipped([]), {}, "empty_archive"),
        ("a.zip", zipped([GOOD] * 9), {"max_batch_images": 2}, "archive_too_large"),
        ("a.zip", zipped([GOOD]), {"max_archive_bytes": 9, "max_image_bytes": 9}, "archive_too_large"),
        # Documents are ZIP archives inside, with pictures that their user does not mean.
        ("a.docx", zipped([("word/media/image1.jpg", JPEG)]), {}, "not_an_image"),
        ("a.zip", b"no archive", {}, "not_an_image"),
    ],
)
def test_an_archive_that_is_refused_has_a_result_and_its_neighbours_go_on(
    name: str, content: bytes, settings: dict[str, Any], code: str
) -> None:
    bench = WebBench(**{"max_image_bytes": 10**6, **settings})
    answer = bench.upload(bench.create_batch(), [(name, content), ("b.jpg", JPEG)], offset=0)
    assert (answer["rejected"][0]["name"], answer["rejected"][0]["code"]) == (name, code)
    assert bench.results.get(answer["rejected"][0]["key"]).failure is not None
    assert len(answer["accepted"]) + len(answer["rejected"]) == 2


def test_an_archive_larger_than_the_batch_fills_it_and_names_the_rest() -> None:
    bench = WebBench(max_batch_images=3)
    answer = bench.upload(bench.create_batch(), [("p.zip", zipped([(f"{n}.jpg", JPEG) for n in range(5)]))], offset=1)
    assert names(answer["accepted"]) == ["p.zip/0.jpg", "p.zip/1.jpg"]
    assert [(file["name"], file["code"]) for file in answer["not_stored"]] == [
        (f"p.zip/{n}.jpg", "batch_full") for n in (2, 3, 4)
    ]


def test_an_image_of_an_archive_has_the_limits_of_any_other() -> None:
    bench = WebBench(max_image_bytes=len(JPEG))
    archive = zipped([GOOD, ("big.jpg", JPEG + b"\0"), ("bomb.png", bytes(10**6))])
    assert len(archive) > bench.settings.max_image_bytes
    answer = bench.upload(bench.create_batch(), [("p.zip", archive)], offset=0)
    assert names(answer["accepted"]) == ["p.zip/good.jpg"]
    assert [(file["name"], file["code"]) for file in answer["rejected"]] == [
        ("p.zip/big.jpg", "too_large"),
        ("p.zip/bomb.png", "too_large"),
    ]


def test_each_image_of_an_archive_counts_against_the_quota() -> None:
    bench = WebBench(authentication="tokens")
    holder = bench.token("ada", images_per_day=2)
    batch_id = bench.client.post("/api/v1/batches", headers=holder).get_json()["batch_id"]
    archive = base64.b64encode(zipped([(f"{number}.jpg", JPEG) for number in range(4)])).decode()
    answer = bench.client.post(
        f"/api/v1/batches/{batch_id}/images", json={"images": [{"name": "p.zip", "data": archive}]}, headers=holder
    ).get_json()
    assert names(answer["accepted"]) == ["p.zip/0.jpg", "p.zip/1.jpg"]
    assert [(file["name"], file["code"]) for file in answer["not_stored"]] == [
        (f"p.zip/{number}.jpg", "quota_exceeded") for number in (2, 3)
    ]


def test_an_archive_whose_batch_is_cancelled_is_read_no_further() -> None:
    clock = ManualClock()
    bench = WebBench(clock)
    batch_id = bench.create_batch()
    stored = bench.images.put

    def put_and_cancel(key: str, *arguments: Any, **options: Any) -> None:
        stored(key, *arguments, **options)
        if "-3.jpg" in key:
            # By another process: this one reads it when its cached record expires.
            bench.images.create_batch(batch_id, replace(bench.images.read_batch(batch_id), cancelled=True))
            clock.advance(OPEN_SECONDS + 1)

    bench.images.put = put_and_cancel
    response = bench.post(batch_id, [("p.zip", zipped([(f"{number}.jpg", JPEG) for number in range(100)]))], offset=0)
    assert response.status_code == 409
    # Besides those that were being stored at that moment.
    assert 4 <= len(bench.images.objects) < 20


def test_the_single_image_endpoint_opens_no_archive(bench: WebBench) -> None:
    form = {"image": (io.BytesIO(zipped([GOOD])), "p.zip")}
    assert bench.client.post("/api/v1/classify", data=form).get_json()["error"]["code"] == "not_an_image"


def test_the_form_without_javascript_takes_archives(bench: WebBench) -> None:
    response = bench.client.post("/batches", data={"images": [(io.BytesIO(zipped([GOOD, ("b.jpg", JPEG)])), "p.zip")]})
    assert response.status_code == 303
    assert sorted(bench.images.name(key) for key in bench.images.objects) == ["p.zip/b.jpg", "p.zip/good.jpg"]


def test_a_full_disk_costs_the_files_that_need_it_and_no_others(bench: WebBench) -> None:
    archive = zipped([GOOD, ("large.jpg", bytes(FULL_DISK_BYTES + 1)), ("b.jpg", JPEG)])
    with full_disk(bench.app):
        response = bench.post(bench.create_batch(), [("a.jpg", JPEG), ("p.zip", archive)], offset=0)
    report = response.get_json()
    assert [(lost["name"], lost["position"], lost["code"]) for lost in report["not_stored"]] == [
        ("p.zip/large.jpg", 2, "not_stored")
    ]
    assert [stored["name"] for stored in report["accepted"]] == ["a.jpg", "p.zip/good.jpg", "p.zip/b.jpg"]
    assert len(bench.queue.jobs) == 3
