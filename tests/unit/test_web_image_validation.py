"""The checks of an upload: one sentence for each thing that can be wrong, and never another exception."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import (
    BrokenImageError,
    EmptyImageError,
    ImageError,
    ImageTooLargeError,
    NotAnImageError,
    TooManyPixelsError,
)
from core.image_header import ImageHeader
from tests.web import JPEG, image_bytes
from web_tier.domain.image_validation import browser_type, check_upload

MIB = 1024 * 1024


def check(body: bytes, size_bytes: int | None = None, max_bytes: int = MIB, max_pixels: int = 10_000) -> ImageHeader:
    return check_upload(io.BytesIO(body), len(body) if size_bytes is None else size_bytes, max_bytes, max_pixels)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "ICO", "PPM", "AVIF", "JPEG2000"])
def test_images_of_accepted_formats_pass(format: str) -> None:
    header = check(image_bytes(format, 32, 16))
    assert (header.format, header.width * header.height > 0) == (format, True)


@pytest.mark.parametrize(
    ("body", "size_bytes", "error", "sentence"),
    [
        (b"", 0, EmptyImageError, "the file is empty"),
        (JPEG, MIB + 1, ImageTooLargeError, "the file is larger than the limit of 1 MiB"),
        (b"some text", 9, NotAnImageError, "the file is not an image of a known format"),
        (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
            47,
            NotAnImageError,
            "the file is a PostScript document",
        ),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 41, NotAnImageError, "the file is an SVG drawing"),
        (JPEG[:10], 10, BrokenImageError, "the JPEG image is damaged or incomplete: it ends within its header"),
    ],
)
def test_a_refused_file_gets_a_reason(body: bytes, size_bytes: int, error: type[ImageError], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        check(body, size_bytes)


def test_a_file_of_exactly_the_limit_passes() -> None:
    check(JPEG, max_bytes=len(JPEG))
    with pytest.raises(ImageTooLargeError):
        check(JPEG, max_bytes=len(JPEG) - 1)


def test_an_image_of_exactly_the_pixel_limit_passes() -> None:
    check(image_bytes(width=100, height=100), max_pixels=10_000)
    with pytest.raises(TooManyPixelsError, match="the image has 10,100 pixels, more than the limit of 10,000"):
        check(image_bytes(width=101, height=100), max_pixels=10_000)


@given(
    st.binary(max_size=200), st.sampled_from([b"", JPEG[:20], b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"P6 "])
)
def test_no_file_raises_anything_but_an_image_error(tail: bytes, head: bytes) -> None:
    try:
        check(head + tail)
    except ImageError as error:
        assert str(error)


def test_the_file_is_left_at_its_start() -> None:
    body = io.BytesIO(JPEG)
    check_upload(body, len(JPEG), MIB, 10_000)
    assert body.tell() == 0
    with pytest.raises(NotAnImageError):
        check_upload(garbage := io.BytesIO(b"garbage"), 7, MIB, 10_000)
    assert garbage.tell() == 0


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (JPEG, "image/jpeg"),
        (image_bytes("PNG"), "image/png"),
        (image_bytes("WEBP"), "image/webp"),
        (image_bytes("TIFF"), None),
        (b"<script>alert(1)</script>", None),
    ],
)
def test_the_browser_type_comes_from_the_bytes(body: bytes, media_type: str | None) -> None:
    assert browser_type(io.BytesIO(body)) == media_type


def test_real_odd_files_raise_nothing_but_image_errors(all_odd_images: list[tuple[Path, bool]]) -> None:
    for path, decodes in all_odd_images:
        body = path.read_bytes()
        try:
            check(body, max_bytes=10 * MIB, max_pixels=60_000_000)
        except ImageError:
            assert not decodes, path.name
