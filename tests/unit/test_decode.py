"""Every kind of image becomes an upright RGB square; everything else a clear error."""

from __future__ import annotations

import io
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app_tier import decode as decode_module
from app_tier.decode import DecodeLimits, decode_file, decode_image
from app_tier.decode_memory import decoding_bytes
from core.errors import (
    BrokenImageError,
    EmptyImageError,
    ExtremeAspectError,
    ImageError,
    ImageTooLargeError,
    NotAnImageError,
    TooManyPixelsError,
    UnsupportedImageError,
)
from core.formats import format_name
from core.image_header import read_header
from core.settings import Settings
from tests.conftest import PHOTOS
from tests.image_samples import (
    BLUE,
    GREEN,
    ORIENTED,
    RED,
    bmp_with_masks,
    encoded,
    oriented,
    picture,
    png_chunk,
    samples,
)

SIZE = 64
WHITE = (255, 255, 255)
LIMITS = DecodeLimits(max_bytes=10_000_000, max_pixels=60_000_000, max_aspect_ratio=100)
FIELD_FILES = Path(__file__).parents[1] / "field_files"


def decode(body: bytes, max_bytes: int = 10_000_000, max_pixels: int = 60_000_000) -> np.ndarray[Any, Any]:
    return decode_image(body, SIZE, SIZE, DecodeLimits(max_bytes, max_pixels, max_aspect_ratio=100))


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
        ("I", "TIFF", 65535, (128, 128, 128)),  # without a range of its own
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
@pytest.mark.parametrize("kind", ORIENTED)
def test_orientation_is_honoured_once(kind: str, orientation: int) -> None:
    """All eight ways to hold the camera show the same upright picture: red top left, green top right, blue below."""
    pixels = decode(oriented(kind, orientation))
    assert near(pixels[10, 10], RED, 40) and near(pixels[10, -10], GREEN, 40)
    assert near(pixels[-10, 10], BLUE, 40) and near(pixels[-10, -10], BLUE, 40)


def test_damaged_metadata_hides_no_picture() -> None:
    body = encoded(picture(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + bytes(20))
    assert near(decode(body)[10, 10], RED, 40)


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


def test_images_that_do_not_fit_together_are_decoded_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app_tier.decode_memory.SMALL_BYTES", 0)
    needed = decoding_bytes(read_header(io.BytesIO(PNG)), PNG, (2 * SIZE, 2 * SIZE))
    limits = DecodeLimits(10**7, 10**8, 100, memory_bytes=2 * needed - 1)
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
        list(pool.map(lambda body: decode_image(body, SIZE, SIZE, limits), [PNG] * 8))
    assert most == 1


def test_a_large_jpeg_decoded_at_reduced_scale_looks_the_same() -> None:
    rng = np.random.default_rng(1)
    coarse = Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).resize((1600, 1600), Image.Resampling.BICUBIC)
    full = np.asarray(coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC), int)
    drafted = decode(encoded(coarse, "JPEG", quality=95)).astype(int)
    assert np.abs(full - drafted).mean() < 2


@pytest.mark.parametrize("name", samples())
def test_each_format_is_read_and_truncated_it_is_damaged(name: str) -> None:
    body = samples()[name]
    assert decode(body).shape == (SIZE, SIZE, 3)
    with pytest.raises(BrokenImageError, match=f"the {format_name(name.partition(' ')[0])} image is "):
        decode(body[: len(body) // (4 if "MPO" in name else 2)])  # half an MPO is one of two pictures


@pytest.mark.parametrize("name", [name for name in samples() if "text" not in name and "bits" not in name])
def test_each_format_shows_the_picture(name: str) -> None:
    if "gray" in name or ("16-bit" in name.split() and "PNG" in name) or "fax" in name:
        return
    pixels = decode(samples()[name])
    assert near(pixels[10, 10], RED) and near(pixels[10, -10], GREEN) and near(pixels[-10, 10], BLUE)


@pytest.mark.parametrize(
    ("bits", "masks"),
    [
        (16, (0x0F00, 0x00F0, 0x000F)),
        (16, (0x0F00, 0x00F0, 0x000F, 0xF000)),
        (16, (0xE000, 0x1C00, 0x03FF)),
        (16, (0x001F, 0x07E0, 0xF800)),
        (32, (0x000000FF, 0x0000FF00, 0x00FF0000)),
        (32, (0xFE000000, 0x01FFFF80, 0x0000007F)),
        (32, (0x3FF00000, 0x000FFC00, 0x000003FF, 0xC0000000)),
    ],
)
@pytest.mark.parametrize("top_down", [False, True])
def test_a_bmp_with_any_masks_is_read(bits: int, masks: tuple[int, ...], top_down: bool) -> None:
    body = bmp_with_masks(bits, masks, top_down)
    for pixels in (decode(body), decode(body[14:])):
        assert near(pixels[10, 10], RED) and near(pixels[10, -10], GREEN) and near(pixels[-10, 10], BLUE)


@pytest.mark.parametrize(("masks", "why"), [((0x0F0F, 0x00F0, 0x000F), "gaps"), ((0, 0, 0), "no masks")])
def test_masks_without_a_meaning_are_refused(masks: tuple[int, ...], why: str) -> None:
    with pytest.raises(UnsupportedImageError, match=f"the BMP image has a layout that cannot be read: .*{why}"):
        decode(bmp_with_masks(16, masks))


def test_what_its_library_does_not_support_is_no_damage() -> None:
    body = bytearray(samples()["BMP"])
    body[28] = 64  # bits per pixel
    with pytest.raises(UnsupportedImageError, match="the BMP image has a layout that cannot be read"):
        decode(bytes(body))


def with_chunks(*chunks: bytes) -> bytes:
    body = samples()["PNG"]
    return body[:33] + b"".join(chunks) + body[33:]


LONG = zlib.compress(bytes(3 << 20))


@pytest.mark.parametrize(
    "body",
    [
        (FIELD_FILES / "long-metadata.png").read_bytes(),
        with_chunks(png_chunk(b"zTXt", b"long\0\0" + LONG)),
        with_chunks(png_chunk(b"iTXt", b"long\0\1\0en\0long\0" + LONG)),
        with_chunks(png_chunk(b"iCCP", b"long\0\0" + LONG)),
        with_chunks(
            *(png_chunk(b"zTXt", f"{n}".encode() + b"\0\0" + zlib.compress(bytes(1 << 20))) for n in range(70))
        ),
        samples()["PNG"][:-12] + png_chunk(b"zTXt", b"after\0\0" + LONG) + samples()["PNG"][-12:],
    ],
)
def test_long_metadata_of_a_png_is_ignored(body: bytes) -> None:
    assert decode(body).std() > 10


def test_short_metadata_of_a_png_still_turns_the_picture() -> None:
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf tiff:Orientation=\"3\"/></x:xmpmeta>"
    packet = b"XML:com.adobe.xmp\0\0\0\0\0" + xmp
    plain, turned = decode(samples()["PNG"]), decode(with_chunks(png_chunk(b"iTXt", packet)))
    assert np.array_equal(turned, plain[::-1, ::-1])


def photo(**options: Any) -> bytes:
    with Image.open(PHOTOS / "coffee.jpg") as image:
        return encoded(image, "JPEG", quality=85, **options)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"subsampling": 0}])
def test_a_jpeg_without_its_end_marker_is_read_and_marked(options: dict[str, Any]) -> None:
    body = photo(**options)
    decoded = decode_file(body[:-2], SIZE, SIZE, LIMITS)
    assert np.array_equal(decoded.pixels, decode(body))
    assert decoded.note == "incomplete: only the end marker is missing"
    assert decode_file(body, SIZE, SIZE, LIMITS).note == ""


def test_a_jpeg_of_a_few_pixels_without_its_end_marker_is_read() -> None:
    decoded = decode_file((FIELD_FILES / "no-end-marker.jpg").read_bytes(), SIZE, SIZE, LIMITS)
    assert decoded.note == "incomplete: only the end marker is missing"
    assert decoded.pixels.std() > 10


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("draft", [False, True])
def test_a_jpeg_is_read_where_nearly_all_rows_are_there(progressive: bool, draft: bool) -> None:
    """A file cut anywhere is refused, or its picture is the whole one's, but for the last rows."""
    body, size = photo(progressive=progressive), 64 if draft else 300
    whole = decode_image(body, size, size, LIMITS).astype(int)
    accepted, before = 0, False
    for cut in range(len(body) // 4, len(body) - 2, len(body) // 60):
        try:
            decoded = decode_file(body[:cut], size, size, LIMITS)
        except BrokenImageError as error:
            assert "incomplete" in str(error)
            # A progressive file is whole in steps: each scan begins at the top again.
            assert progressive or not before
        else:
            accepted, before = accepted + 1, True
            assert "rows are there" in decoded.note or "end marker" in decoded.note
            differs = np.abs(decoded.pixels - whole).mean(axis=(1, 2))
            assert differs[: int(size * 0.93)].max() < 8
    assert accepted > 0


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_jpeg_with_half_its_picture_is_damaged(share: float) -> None:
    body = photo()
    with pytest.raises(BrokenImageError, match=r"only .* of its rows are there"):
        decode(body[: int(len(body) * share)])


def test_the_coarse_beginning_of_a_progressive_jpeg_is_no_picture() -> None:
    body = photo(progressive=True)
    second_scan = body.index(b"\xff\xda", body.index(b"\xff\xda") + 2)
    with pytest.raises(BrokenImageError, match="it ends before its picture is complete"):
        decode(body[:second_scan])


@pytest.mark.parametrize("kind", [RuntimeError, RecursionError, AssertionError, KeyError, OSError, ValueError])
def test_whatever_a_decoder_raises_the_image_is_damaged(kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: Any) -> None:
        raise kind("the decoder's own words")

    monkeypatch.setattr(decode_module, "_open", fail)
    with pytest.raises(BrokenImageError, match=r"the PNG image is damaged or incomplete: .*the decoder's own words"):
        decode(PNG)


def test_too_little_memory_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(decode_module, "_open", fail)
    with pytest.raises(MemoryError):
        decode(PNG)


def test_a_damaged_avif_is_damaged() -> None:
    with pytest.raises(BrokenImageError, match="the AVIF image is damaged or incomplete"):
        decode((FIELD_FILES / "corrupt.avif").read_bytes())


MUTATIONS = 250


def mutated(body: bytes, rng: np.random.Generator) -> bytes:
    """A file with a few bytes changed, a part removed, or cut off."""
    damaged = bytearray(body)
    kind = rng.integers(4)
    # The headers, at the beginning, have the most ways to be wrong; a TIFF may have its own at the end.
    reach = min(len(damaged), 600) if rng.integers(2) else len(damaged)
    if kind == 0:
        del damaged[int(rng.integers(reach)) :]
    elif kind == 1:
        start = int(rng.integers(reach))
        del damaged[start : start + int(rng.integers(1, 40))]
    else:
        for _ in range(int(rng.integers(1, 6))):
            damaged[int(rng.integers(reach))] = int(rng.choice([0, 1, 0x7F, 0xFF, int(rng.integers(256))]))
    return bytes(damaged)


@pytest.mark.slow
@pytest.mark.parametrize("name", samples())
def test_damaged_files_are_answered_quietly(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Pixels or an error that is an answer, nothing else; and decoders write nothing to standard error."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    for _ in range(MUTATIONS):
        damaged = mutated(samples()[name], rng)
        try:
            assert decode(damaged, max_pixels=1_000_000).shape == (SIZE, SIZE, 3)
        except ImageError as error:
            assert str(error) and "object at 0x" not in str(error)
    assert capfd.readouterr() == ("", "")


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
