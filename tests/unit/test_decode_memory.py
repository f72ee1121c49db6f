"""What decoding takes is counted before it begins, for each format, and stays within a limit for all threads."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import benchmarks.decode_memory as measurement
from app_tier.decode import DecodeLimits, decode_file, needs_own_process
from app_tier.decode_jpeg import coefficient_bytes
from app_tier.decode_memory import SMALL_BYTES, DecodeMemory, decoding_bytes
from core.errors import TooManyPixelsError
from core.formats import ACCEPTED_FORMATS
from core.image_header import read_header
from core.settings import Settings
from tests.image_samples import encoded, enlarged, picture, samples

SIDE = 64
DRAFT_SIZE = (2 * SIDE, 2 * SIDE)
MIB = 1024 * 1024
FULL = 60_000_000


def counted(body: bytes) -> int:
    return decoding_bytes(read_header(io.BytesIO(body)), body, DRAFT_SIZE)


@pytest.mark.parametrize("name", samples())
def test_every_accepted_format_is_counted_by_its_size(name: str) -> None:
    small, large = samples()[name], enlarged(name, 8_000, 7_500)
    if read_header(io.BytesIO(large)).format == "JPEG":
        assert counted(large) >= 12 * FULL // 64
    else:
        assert counted(large) - counted(small) > 4 * FULL, "each pixel of the result alone takes three bytes"


def test_the_measurement_has_a_file_of_every_format() -> None:
    assert {name.split()[0] for name in measurement.FILES} >= set(ACCEPTED_FORMATS) - {"CUR"}  # a CUR is an ICO


@pytest.mark.slow
def test_no_decoder_takes_more_than_is_counted() -> None:
    report = measurement.measure(1.5, together=False)
    assert len(report["files"]) + len(report["left_out"]) == len(measurement.FILES)
    assert measurement.problems(report) == []


@pytest.mark.parametrize(
    ("options", "mode", "bytes_per_pixel"),
    [
        ({}, "RGB", 0),
        ({"progressive": True, "subsampling": 0}, "RGB", 6),
        ({"progressive": True}, "L", 2),
        ({"progressive": True}, "CMYK", 8),
    ],
)
def test_the_coefficients_of_a_jpeg_count_at_full_size(
    options: dict[str, object], mode: str, bytes_per_pixel: int
) -> None:
    body = encoded(picture(320, 640).convert(mode), "JPEG", **options)
    assert coefficient_bytes(body) == bytes_per_pixel * 320 * 640


def test_a_baseline_jpeg_whose_components_come_one_after_the_other_counts_at_full_size() -> None:
    body = encoded(picture(320, 640), "JPEG")
    scan = body.index(b"\xff\xda")
    assert coefficient_bytes(body[:scan] + b"\xff\xda\0\x08\x01\x01\0\0\x3f\0" + b"\0" * 9) == 6 * 320 * 640


@pytest.mark.parametrize("name", ["TIFF one large tile", "JPEG2000 tiny tiles"])
def test_tiles_count_whatever_the_size_of_the_picture(name: str) -> None:
    body = measurement.FILES[name](400, 300)
    assert counted(body) > SMALL_BYTES


def test_a_file_that_needs_more_than_all_the_memory_is_refused_in_a_sentence() -> None:
    body = measurement.FILES["JPEG progressive"](2_000, 1_500)
    limits = DecodeLimits(10**7, FULL, 100, memory_bytes=17 * MIB)
    with pytest.raises(TooManyPixelsError, match=r"takes up to 2\d MiB of memory, more than the limit of 17 MiB"):
        decode_file(body, SIDE, SIDE, limits)


@pytest.mark.parametrize("name", ACCEPTED_FORMATS)
def test_every_format_may_have_the_largest_picture(name: str) -> None:
    for kind, body in samples().items():
        if kind.split()[0] == name:
            assert counted(enlarged(kind, 8_000, 7_500)) + 2 * 10 * MIB < Settings().decode_memory_bytes, body[:20]


def test_a_format_whose_library_ignores_the_size_in_its_header_is_decoded_in_a_child() -> None:
    assert [name for name, body in samples().items() if needs_own_process(body)] == [
        name for name in samples() if name.startswith("AVIF")
    ]
    assert not needs_own_process(b"no image")


def test_what_is_held_together_never_exceeds_the_limit_and_nothing_waits_for_ever() -> None:
    memory, held, most, lock = DecodeMemory(), 0, 0, threading.Lock()

    def hold(size: int) -> None:
        nonlocal held, most
        with memory.reserve(size, 100 * MIB):
            with lock:
                held += size
                most = max(most, held)
            with lock:
                held -= size

    sizes = [(36 + 12 * (number % 6)) * MIB for number in range(120)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(hold, sizes))
    assert most <= 100 * MIB and held == 0


def test_a_small_image_waits_for_no_large_one() -> None:
    memory = DecodeMemory()
    with memory.reserve(100 * MIB, 100 * MIB), ThreadPoolExecutor(1) as pool:
        assert pool.submit(_hold, memory, SMALL_BYTES).result(10)


def _hold(memory: DecodeMemory, size: int) -> bool:
    with memory.reserve(size, 100 * MIB):
        return True
