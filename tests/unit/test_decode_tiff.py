"""Each layout of a TIFF's pixels is read as NumPy wrote it, or refused with a sentence."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app_tier.decode import DecodeLimits, decode_image
from core.errors import BrokenImageError, ImageError, TooManyPixelsError, UnsupportedImageError
from tests.tiff_files import DEFLATE, FLOAT, LZW, NONE, SIGNED, UNSIGNED, Layout, dtype_of, write_tiff

SIDE = 24
LIMITS = DecodeLimits(max_bytes=10_000_000, max_pixels=60_000_000, max_aspect_ratio=100)
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
COLOURS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, CMYK: 4, YCBCR: 3}
# A step of eight bits, and another of rounding.
TOLERANCE = 2

# What must be read, since cameras, scanners, microscopes and image editors write it; the rest may be refused.
MUST_READ = [
    *((photometric, bits, UNSIGNED, 1) for photometric in (0, 1) for bits in (1, 2, 4, 8, 16, 32)),
    *((photometric, bits, UNSIGNED, 1) for photometric in (RGB, CMYK) for bits in (8, 16)),
    *((RGB, bits, UNSIGNED, 2) for bits in (8, 16)),
    *((BLACK_IS_ZERO, bits, SIGNED, 1) for bits in (8, 16, 32)),
    *((BLACK_IS_ZERO, bits, FLOAT, 1) for bits in (16, 32, 64)),
    (RGB, 32, FLOAT, 1),
    (BLACK_IS_ZERO, 12, UNSIGNED, 1),
    (YCBCR, 8, UNSIGNED, 1),
]


def fractions(count: int) -> NDArray[np.float64]:
    """Smooth values between 0 and 1, all different along both axes, black and white among them in each channel."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / (SIDE - 1)
    channels = [x, y, 1 - (x + y) / 2, 1 - y, (x + y) / 2]
    return np.stack(channels[:count], axis=-1)


def stored(values: NDArray[np.float64], layout: Layout) -> NDArray[Any]:
    """The samples that a writer stores for values between 0 and 1; of signed ones, 0 is the most negative."""
    dtype = dtype_of(layout.bits, layout.sample_format)
    if layout.sample_format == FLOAT:
        return values.astype(dtype)
    most = 2 ** min(layout.bits, 53) - 1
    samples = np.rint(values * most).astype(np.int64)
    if layout.sample_format == SIGNED:
        samples -= 2 ** (min(layout.bits, 53) - 1)
    found: NDArray[Any] = samples.astype(dtype)
    return found


def expected(values: NDArray[np.float64], layout: Layout) -> NDArray[np.int64]:
    steps = min(255, 2**layout.bits - 1)
    eight_bits = np.ascontiguousarray(np.rint(values * steps) / steps * 255).astype(np.uint8)
    if layout.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO):
        return np.repeat(eight_bits[..., :1], 3, axis=-1).astype(np.int64)
    if layout.photometric == RGB:
        return eight_bits[..., :3].astype(np.int64)
    mode = "CMYK" if layout.photometric == CMYK else "YCbCr"
    return np.asarray(Image.fromarray(eight_bits[..., : len(mode) - (mode == "YCbCr") * 2], mode).convert("RGB"), int)


def decode(body: bytes) -> NDArray[np.int64]:
    return decode_image(body, SIDE, SIDE, LIMITS).astype(np.int64)


def made(layout: Layout) -> tuple[bytes, NDArray[np.int64]]:
    """A file of a layout, and the pixels to find in it; further samples are opaque."""
    values = fractions(COLOURS[layout.photometric])
    truth = expected(values, layout)
    values = 1 - values if layout.photometric == WHITE_IS_ZERO else values
    samples = stored(values, layout)
    most = 1 if layout.sample_format == FLOAT else np.iinfo(samples.dtype).max
    opaque = np.full((SIDE, SIDE, len(layout.extra_samples)), most, samples.dtype)
    return write_tiff(np.concatenate([samples, opaque], axis=-1), layout), truth


def variants(photometric: int, bits: int) -> Iterator[Layout]:
    """Layouts with each sample format, arrangement and compression; their other traits take turns."""
    orders = itertools.cycle(itertools.product((False, True), (False, True)))
    predictors, extras = itertools.cycle((1, 2)), itertools.cycle(((), (0,), (), (2,), (), (1,), ()))
    for sample_format, planar, compression in itertools.product(
        (UNSIGNED, SIGNED, FLOAT), (1, 2), (NONE, LZW, DEFLATE)
    ):
        if bits < {UNSIGNED: 1, SIGNED: 8, FLOAT: 16}[sample_format] or (bits == 12 and sample_format != UNSIGNED):
            continue
        layout = Layout(photometric, bits, sample_format, planar, compression)
        yield layout
        big_endian, big_tiff = next(orders)
        packed = bits < 8 or bits == 12
        predictor = 1 if compression == NONE or packed or sample_format == FLOAT else next(predictors)
        extra_samples = () if packed else next(extras)
        fill_order = 2 if bits < 8 and not big_tiff else 1
        yield replace(
            layout,
            big_endian=big_endian,
            big_tiff=big_tiff,
            predictor=predictor,
            extra_samples=extra_samples,
            fill_order=fill_order,
        )


@pytest.mark.slow
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16, 32, 64])
@pytest.mark.parametrize("photometric", [WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, CMYK, YCBCR])
def test_a_layout_is_read_rightly_or_refused(photometric: int, bits: int) -> None:
    for layout in variants(photometric, bits):
        body, truth = made(layout)
        try:
            pixels = decode(body)
        except UnsupportedImageError as error:
            assert "layout" in str(error) and f"{bits} bits" in str(error), layout
        else:
            assert np.abs(pixels - truth).max() <= TOLERANCE, layout


@pytest.mark.parametrize(("photometric", "bits", "sample_format", "planar"), MUST_READ)
@pytest.mark.parametrize("big_tiff", [False, True])
def test_common_layouts_are_read(photometric: int, bits: int, sample_format: int, planar: int, big_tiff: bool) -> None:
    body, truth = made(Layout(photometric, bits, sample_format, planar, big_tiff=big_tiff))
    assert np.abs(decode(body) - truth).max() <= TOLERANCE


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_a_big_endian_bigtiff_is_read(bits: int) -> None:
    body, truth = made(Layout(RGB, bits, big_endian=True, big_tiff=True))
    assert np.abs(decode(body) - truth).max() <= TOLERANCE


@pytest.mark.parametrize("photometric", [WHITE_IS_ZERO, BLACK_IS_ZERO, RGB])
@pytest.mark.parametrize("significant_bits", [10, 12, 14, 16])
def test_fewer_bits_in_sixteen_are_as_bright_as_sixteen(photometric: int, significant_bits: int) -> None:
    layout = Layout(photometric, 16)
    values = fractions(COLOURS[photometric])
    truth = expected(values, layout)
    if photometric == WHITE_IS_ZERO:
        values = 1 - values
    body = write_tiff(np.rint(values * (2**significant_bits - 1)).astype(np.uint16), layout)
    assert np.abs(decode(body) - truth).max() <= TOLERANCE


def test_twelve_bits_of_compressed_colour_in_sixteen_are_refused_not_nearly_black() -> None:
    body = write_tiff(np.rint(fractions(3) * 4095).astype(np.uint16), Layout(RGB, 16, compression=LZW))
    with pytest.raises(UnsupportedImageError, match="at most 14 bits in 16"):
        decode(body)


def test_samples_without_a_range_of_their_own_take_the_images() -> None:
    elevation = fractions(1) * 1400 - 200
    pixels = decode(write_tiff(elevation.astype(np.float32), Layout(BLACK_IS_ZERO, 32, FLOAT)))
    assert np.abs(pixels - expected(fractions(1), Layout(BLACK_IS_ZERO))).max() <= TOLERANCE
    level = np.full((SIDE, SIDE, 1), 7, np.int32)
    assert set(decode(write_tiff(level, Layout(BLACK_IS_ZERO, 32, SIGNED))).ravel()) == {128}


def test_what_is_no_number_is_black() -> None:
    samples = fractions(1).astype(np.float32)
    samples[12, 12], samples[3, 3] = np.nan, np.inf
    pixels = decode(write_tiff(samples, Layout(BLACK_IS_ZERO, 32, FLOAT)))
    assert pixels[12, 12].max() == 0 and abs(pixels[20, 20].mean() - 255 * 20 / 23) <= TOLERANCE


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        (Layout(32803, 16), "raw samples of a camera's sensor"),
        (Layout(BLACK_IS_ZERO, 64, 5), "format-5"),
        (Layout(RGB, 16, UNSIGNED, planar=2, compression=LZW), "RGB, 3 planes of 16 bits, compression 5"),
        (Layout(BLACK_IS_ZERO, 8, compression=34712), "compression 34712"),
        (Layout(PALETTE, 16), "palette"),
    ],
)
def test_a_refusal_names_the_layout(layout: Layout, words: str) -> None:
    samples = np.zeros((SIDE, SIDE, 3 if layout.photometric == RGB else 1), f"u{layout.bits // 8}")
    with pytest.raises(UnsupportedImageError, match=words):
        decode(write_tiff(samples, layout))


def test_subsampled_colour_differences_without_compression_are_refused() -> None:
    body = bytearray(write_tiff(stored(fractions(3), Layout(YCBCR)), Layout(YCBCR)))
    place = body.index(b"\x12\x02\x03\x00\x02\x00\x00\x00\x01\x00\x01\x00")
    body[place + 8 : place + 12] = b"\x02\x00\x02\x00"
    with pytest.raises(UnsupportedImageError, match="YCbCr"):
        decode(bytes(body))


@pytest.mark.parametrize(
    "layout", [Layout(RGB, 16), Layout(RGB, 8), Layout(RGB, 16, planar=2), Layout(RGB, 8, compression=LZW)]
)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_cut_off_file_is_damaged_never_half_a_picture(layout: Layout, share: float) -> None:
    body, _truth = made(layout)
    # The directory before the pixels, as many writers have it.
    for cut in (body[: int(len(body) * share)], _directory_first(body)[: int(len(body) * share)]):
        with pytest.raises(BrokenImageError, match="the TIFF image is damaged or incomplete"):
            decode(cut)


def _directory_first(body: bytes) -> bytes:
    """The same file with its pixels repeated behind the directory, to which the strips' offsets then point."""
    shift = len(body) - 8
    moved = bytearray(body + body[8:])
    (directory,) = np.frombuffer(body, "<u4", 1, 4)
    for entry in range(
        directory + 2, directory + 2 + 12 * int.from_bytes(body[directory : directory + 2], "little"), 12
    ):
        if body[entry : entry + 2] == b"\x11\x01":
            count = int.from_bytes(body[entry + 4 : entry + 8], "little")
            place = entry + 8 if count == 1 else int.from_bytes(body[entry + 8 : entry + 12], "little")
            offsets = np.frombuffer(body, "<u4", count, place) + np.uint32(shift)
            moved[place : place + 4 * count] = offsets.tobytes()
    return bytes(moved)


def test_samples_that_take_too_much_memory_are_refused() -> None:
    layout = Layout(BLACK_IS_ZERO, 64, FLOAT, extra_samples=(0,) * 4)
    body = write_tiff(np.zeros((SIDE, SIDE, 5)), layout)
    with pytest.raises(TooManyPixelsError, match="bytes of samples"):
        decode_image(body, SIDE, SIDE, DecodeLimits(10**7, SIDE * SIDE, 100))


def test_damage_anywhere_in_the_directory_is_an_answer() -> None:
    body, _truth = made(Layout(RGB, 16, big_endian=True))
    directory = int.from_bytes(body[4:8], "big")
    for position in range(directory, len(body)):
        for value in (0x00, 0xFF):
            damaged = body[:position] + bytes([value]) + body[position + 1 :]
            try:
                decode(damaged)
            except ImageError as error:
                assert str(error)
