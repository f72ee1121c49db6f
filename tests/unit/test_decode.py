"""Every kind of image becomes an upright RGB square; everything else a clear error."""

from __future__ import annotations

import io
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from app_tier import decode as decode_module
from app_tier.decode import DecodeLimits, decode_image
from core.errors import (
    BrokenImageError,
    EmptyImageError,
    ExtremeAspectError,
    ImageError,
    ImageTooLargeError,
    NotAnImageError,
    TooManyPixelsError,
)
from core.settings import Settings
from tests.properties import examples

SIZE = 64
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def decode(body: bytes, max_bytes: int = 10_000_000, max_pixels: int = 60_000_000) -> np.ndarray[Any, Any]:
    return decode_image(body, SIZE, SIZE, DecodeLimits(max_bytes, max_pixels, max_aspect_ratio=100))


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def near(pixel: Any, colour: tuple[int, int, int], tolerance: int = 12) -> bool:
    return bool(np.all(np.abs(np.asarray(pixel, int) - np.asarray(colour)) <= tolerance))


@pytest.mark.parametrize(
    ("mode", "format", "fill", "colour"),
    [
        ("RGB", "JPEG", RED, RED),
        ("L", "JPEG", 128, (128, 128, 128)),
        ("CMYK", "JPEG", (0, 255, 255, 0), RED),
        ("RGB", "PNG", GREEN, GREEN),
        ("RGBA", "PNG", (0, 0, 255, 255), BLUE),
        ("RGBA", "PNG", (0, 0, 0, 0), WHITE),
        ("RGBA", "PNG", (255, 0, 0, 128), (255, 127, 127)),
        ("LA", "PNG", (0, 0), WHITE),
        ("1", "PNG", 1, WHITE),
        ("I;16", "PNG", 65535, WHITE),
        ("I;16", "PNG", 32896, (128, 128, 128)),
        ("I", "TIFF", 65535, WHITE),
        ("F", "TIFF", 1.0, WHITE),
        ("RGB", "WEBP", BLUE, BLUE),
        ("RGB", "BMP", RED, RED),
        ("RGB", "GIF", RED, RED),
        ("RGB", "TIFF", GREEN, GREEN),
        ("LAB", "TIFF", (255, 128, 128), WHITE),
    ],
)
def test_every_mode_becomes_rgb(mode: str, format: str, fill: Any, colour: tuple[int, int, int]) -> None:
    pixels = decode(encoded(Image.new(mode, (100, 80), fill), format))
    assert pixels.shape == (SIZE, SIZE, 3) and pixels.dtype == np.uint8
    assert near(pixels[SIZE // 2, SIZE // 2], colour)


def test_a_transparent_palette_lies_over_white() -> None:
    image = Image.new("P", (50, 50), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    assert near(decode(encoded(image, "PNG", transparency=0))[5, 5], WHITE)


def test_of_an_animation_the_first_frame_counts() -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in (RED, BLUE)]
    assert near(decode(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))[9, 9], RED)


def test_the_largest_centred_square_is_taken() -> None:
    image = Image.new("RGB", (300, 100), RED)
    image.paste(GREEN, (100, 0, 200, 100))
    pixels = decode(encoded(image, "PNG"))
    assert near(pixels[0, 2], GREEN) and near(pixels[-1, -3], GREEN)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(orientation: int) -> None:
    """All eight ways to hold the camera show the same upright picture: red top left, green top right, blue below."""
    upright = Image.new("RGB", (160, 160), BLUE)
    upright.paste(RED, (0, 0, 80, 80))
    upright.paste(GREEN, (80, 0, 160, 80))
    stored_as = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = upright if stored_as is None else upright.transpose(stored_as)
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = decode(encoded(stored, "JPEG", exif=exif, quality=95))
    assert near(pixels[10, 10], RED, 40) and near(pixels[10, -10], GREEN, 40) and near(pixels[-10, 10], BLUE, 40)


PNG = encoded(Image.new("RGB", (100, 100), RED), "PNG")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", EmptyImageError),
        (b"hello, I am a text", NotAnImageError),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", NotAnImageError),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", NotAnImageError),
        (PNG[: len(PNG) // 2], BrokenImageError),
    ],
)
def test_what_cannot_be_decoded_says_why(body: bytes, error: type[ImageError]) -> None:
    with pytest.raises(error):
        decode(body)


def test_limits_on_bytes_and_pixels() -> None:
    with pytest.raises(ImageTooLargeError):
        decode(PNG, max_bytes=len(PNG) - 1)
    with pytest.raises(TooManyPixelsError, match="10,000 pixels"):
        decode(PNG, max_pixels=9_999)
    assert decode(PNG, max_bytes=len(PNG), max_pixels=10_000).shape == (SIZE, SIZE, 3)


@pytest.mark.parametrize(("size", "refused"), [((10, 1000), False), ((10, 1001), True), ((1001, 10), True)])
def test_images_of_extreme_aspect_are_refused(size: tuple[int, int], refused: bool) -> None:
    body = encoded(Image.new("RGB", size, RED), "PNG")
    if refused:
        with pytest.raises(ExtremeAspectError, match="100 times"):
            decode(body)
    else:
        assert decode(body).shape == (SIZE, SIZE, 3)


def test_large_images_are_held_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_module, "LARGE_PIXELS", 9_999)
    resize, held, most = decode_module._resize_centre, 0, 0

    def watch(*arguments: Any) -> Image.Image:
        nonlocal held, most
        held += 1
        most = max(most, held)
        time.sleep(0.02)
        held -= 1
        return resize(*arguments)

    monkeypatch.setattr(decode_module, "_resize_centre", watch)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(decode, [PNG] * 8))
    assert most == 1


def test_a_large_jpeg_decoded_at_reduced_scale_looks_the_same() -> None:
    rng = np.random.default_rng(1)
    coarse = Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).resize((1600, 1600), Image.Resampling.BICUBIC)
    full = np.asarray(coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC), int)
    drafted = decode(encoded(coarse, "JPEG", quality=95)).astype(int)
    assert np.abs(full - drafted).mean() < 2


JPEG = encoded(Image.effect_noise((120, 90), 80).convert("RGB"), "JPEG")


@settings(max_examples=examples(2))
@given(
    st.sampled_from([PNG, JPEG]),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=8),
    st.integers(0, 10_000),
)
def test_damaged_files_are_answered_and_never_raise_anything_else(
    body: bytes, changes: list[tuple[int, int]], cut: int
) -> None:
    damaged = bytearray(body[: len(body) - cut % 200])
    for position, value in changes:
        damaged[position % len(damaged)] = value
    try:
        assert decode(bytes(damaged)).shape == (SIZE, SIZE, 3)
    except ImageError as error:
        assert str(error)


def test_odd_files_are_decoded_or_refused_as_expected(all_odd_images: list[tuple[Path, bool]]) -> None:
    limits = DecodeLimits(Settings().max_image_bytes, Settings().max_image_pixels, Settings().max_aspect_ratio)

    def decodes(path: Path) -> bool:
        try:
            return decode_image(path.read_bytes(), SIZE, SIZE, limits).shape == (SIZE, SIZE, 3)
        except ImageError:
            return False

    assert {path.name: decodes(path) for path, _decodes in all_odd_images} == {
        path.name: ok for path, ok in all_odd_images
    }
