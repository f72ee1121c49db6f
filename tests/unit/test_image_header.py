"""A file's header gives format and size as its decoder finds them, costs no memory, and raises image errors alone."""

from __future__ import annotations

import io
import re
import struct
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from core.errors import BrokenImageError, ImageError, NotAnImageError
from core.formats import ACCEPTED_FORMATS, ACCEPTED_TEXT, FILE_ENDINGS, format_name
from core.image_header import ImageHeader, largest_icon, read_header, recognize
from core.paths import REPOSITORY_ROOT
from tests.image_samples import encoded, enlarged, picture, samples
from tests.properties import examples

SAMPLES = samples()
# Pillow does not open these.
OURS_ALONE = ("BMP masks", "TIFF big", "CUR")


def header(body: bytes) -> ImageHeader:
    return read_header(io.BytesIO(body))


@pytest.mark.parametrize("name", SAMPLES)
def test_the_first_bytes_suffice_to_recognize_the_format(name: str) -> None:
    assert recognize(SAMPLES[name]) == header(SAMPLES[name]).format


@pytest.mark.parametrize("body", [b"", b"no image", b"%PDF-1.7"])
def test_no_accepted_format_is_recognized(body: bytes) -> None:
    assert recognize(body) is None


@pytest.mark.parametrize("name", SAMPLES)
def test_format_and_size_are_those_that_the_decoder_finds(name: str) -> None:
    found = header(SAMPLES[name])
    assert found.format == name.partition(" ")[0]
    if name not in OURS_ALONE:
        with Image.open(io.BytesIO(SAMPLES[name])) as image:
            assert (found.width, found.height) == image.size
            assert found.format == image.format.replace("MPO", "JPEG")  # type: ignore[union-attr]


@pytest.mark.parametrize("name", SAMPLES)
def test_another_size_in_the_header_is_found(name: str) -> None:
    found = header(enlarged(name, 300, 200))
    assert (found.width, found.height) == (300, 200)


def test_there_is_a_sample_of_every_accepted_format() -> None:
    assert {name.partition(" ")[0] for name in SAMPLES} == set(ACCEPTED_FORMATS)


def test_messages_name_every_accepted_format() -> None:
    for format in ACCEPTED_FORMATS:
        name = {"icon": "ICO", "cursor": "CUR"}.get(format_name(format), format_name(format))
        assert re.search(rf"\b{name}\b", ACCEPTED_TEXT), format


def test_the_page_and_the_program_take_files_with_the_same_endings() -> None:
    script = (REPOSITORY_ROOT / "static" / "files.js").read_text()
    listed = re.search(r"IMAGE_ENDINGS = new Set\(\((.*?)\)\.split", script, re.DOTALL)
    assert listed is not None
    assert "".join(re.findall(r'"([^"]*)"', listed[1])).split() == list(FILE_ENDINGS)


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b"%PDF-1.7\n", "a PDF document"),
        (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"8BPS\0\1", "a Photoshop document"),
        (b"\xff\x0a\xfa\x1f", "a JPEG XL image"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "a video or an audio file"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "a video"),
        (b"PK\x03\x04\x14\0", "a ZIP archive or an Office document"),
        (bytes(128) + b"DICM", "a DICOM image"),
    ],
)
def test_a_refusal_names_what_the_file_is_and_what_is_accepted(body: bytes, name: str) -> None:
    with pytest.raises(NotAnImageError) as caught:
        header(body)
    assert str(caught.value) == f"the file is {name}, which is not an accepted image; accepted are {ACCEPTED_TEXT}"


@pytest.mark.parametrize(
    "body", [b"this is no image", bytes(1000), b"BMW is a car", b"P4ssword", b"\0\0\2\0\0\0" + bytes(99)]
)
def test_an_unknown_file_is_not_an_image(body: bytes) -> None:
    with pytest.raises(NotAnImageError, match="not an image of a known format; accepted are JPEG"):
        header(body)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_cut_within_its_header_is_damaged(name: str) -> None:
    format = name.partition(" ")[0]
    # From here on, the beginning says which format it is.
    first = {"BMP": 18, "DIB": 14, "WEBP": 12, "HEIF": 24, "AVIF": 24, "PPM": 4, "JPEG2000": 12}.get(format, 6)
    refused = 0
    for length in range(first, min(len(SAMPLES[name]), 400)):
        try:
            found = header(SAMPLES[name][:length])
        except BrokenImageError as error:
            refused += 1
            assert str(error).startswith(f"the {format_name(format)} image is damaged or incomplete"), length
        else:
            assert found == header(SAMPLES[name])
    assert refused > 0


@settings(max_examples=examples(4))
@given(
    st.sampled_from(sorted(SAMPLES)),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=8),
    st.integers(0, 1000),
)
def test_no_damage_raises_anything_but_an_image_error(name: str, changes: list[tuple[int, int]], cut: int) -> None:
    body = bytearray(SAMPLES[name][: len(SAMPLES[name]) - cut])
    for position, value in changes:
        if body:
            body[position % len(body)] = value
    file = io.BytesIO(bytes(body))
    try:
        found = read_header(file)
        assert found.width > 0 and found.height > 0
    except ImageError as error:
        assert str(error)
    assert file.tell() == 0


def test_of_an_icon_the_pictures_own_headers_count_not_the_directory() -> None:
    small, large = encoded(picture(16, 16), "PNG"), encoded(picture(300, 200), "PNG")
    directory = struct.pack("<3H", 0, 1, 2)
    directory += struct.pack("<4B2H2I", 255, 255, 0, 0, 1, 32, len(small), 38)
    directory += struct.pack("<4B2H2I", 1, 1, 0, 0, 1, 32, len(large), 38 + len(small))
    icon = largest_icon(io.BytesIO(directory + small + large))
    assert (icon.width, icon.height, icon.offset) == (300, 200, 38 + len(small))


# A part of the header check and of the decoder, in a process that may take little more memory than it has.
_LIMITED = """
import io, resource, sys
from app_tier.decode import DecodeLimits, decode_file
from core.errors import TooManyPixelsError
from core.settings import Settings
from tests.image_samples import enlarged, samples
from web_tier.domain.image_validation import check_upload

files = {name: enlarged(name, 14_600, 13_700) for name in samples()}
import tifffile  # before the limit: its import takes memory of its own
for body in samples().values():
    decode_file(body, 64, 64, DecodeLimits(10**7, 10**6, 100))  # what decoders allocate once
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 48 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
most = Settings().max_image_pixels
for name, body in files.items():
    for check in (
        lambda: check_upload(io.BytesIO(body), len(body), 10**8, most),
        lambda: decode_file(body, 64, 64, DecodeLimits(10**8, most, 100)),
    ):
        try:
            check()
        except TooManyPixelsError as error:
            assert "200,020,000" in str(error), (name, str(error))
        else:
            sys.exit(f"{name} passed")
print(len(files), "refused")
"""


def test_a_header_of_two_hundred_megapixels_is_refused_without_the_memory_for_it() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _LIMITED], capture_output=True, text=True, timeout=120, cwd=REPOSITORY_ROOT
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout == f"{len(SAMPLES)} refused\n" and ended.stderr == ""
