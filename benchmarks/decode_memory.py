"""Measure the memory that decoding takes, against what the worker counts, and a worker's peak under the worst images.

``python -m benchmarks.decode_memory [--megapixels N] [--json FILE]``

Each kind of file is decoded in a process of its own; then one process with the classifier's interpreters and all
threads of a worker decodes all of them at once.  The exit status is 1 if a file took more than was counted for it, or
the process, with the child that decodes suspect files, more than its bound.
"""

from __future__ import annotations

import functools
import io
import json
import os
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import numpy as np
import pillow_heif
import psutil
import tifffile
from PIL import Image
from rich.console import Console
from rich.table import Table

from app_tier.__main__ import IO_THREADS_PER_CORE
from app_tier.bundle import load_bundle
from app_tier.classifier import Classifier
from app_tier.decode import DecodeLimits, decode_file, needs_own_process
from app_tier.decode_memory import decoding_bytes
from app_tier.quarantine import Quarantine, QuarantineError
from benchmarks.report import json_option, machine, peak_rss_mib, write_json
from core.errors import ImageError
from core.image_header import read_header
from core.paths import REPOSITORY_ROOT
from core.settings import Settings
from core.sizes import format_bytes

MIB = 1024 * 1024
# What a worker, its interpreters and its child process have beside the images: a machine with 2 GiB has so much left.
BASE_MIB = 330
SIDE = 128
_SAMPLE_SECONDS = 0.01
_DRAFT_SIZE = (2 * SIDE, 2 * SIDE)


def _picture(width: int, height: int) -> Image.Image:
    """A gradient in both directions, which every encoder makes small."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[..., 0] = np.linspace(0, 255, width, dtype=np.uint8)
    pixels[..., 1] = np.linspace(255, 0, height, dtype=np.uint8)[:, np.newaxis]
    pixels[..., 2] = 90
    return Image.fromarray(pixels)


def _pillow(format: str, mode: str = "RGB", **options: Any) -> Callable[[int, int], bytes]:
    def encode(width: int, height: int) -> bytes:
        image = _picture(width, height)
        file = io.BytesIO()
        (image.quantize(16) if mode == "P" else image.convert(mode)).save(file, format, **options)
        return file.getvalue()

    return encode


def _png(depth: int, colour_type: int, samples: int) -> Callable[[int, int], bytes]:
    """Layouts that Pillow reads but does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def encode(width: int, height: int) -> bytes:
        header = chunk(b"IHDR", struct.pack(">2I5B", width, height, depth, colour_type, 0, 0, 0))
        rows = bytes(1 + width * samples * depth // 8) * height
        return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")

    return encode


def _tiff(dtype: str, mode: str = "RGB", **options: Any) -> Callable[[int, int], bytes]:
    def encode(width: int, height: int) -> bytes:
        samples = np.asarray(_picture(width, height).convert(mode)).astype(dtype)
        file = io.BytesIO()
        tifffile.imwrite(file, samples, compression="deflate", **options)
        return file.getvalue()

    return encode


def _heif(width: int, height: int) -> bytes:
    """Colour of ten bits, not subsampled."""
    samples = np.asarray(_picture(width, height)).astype(np.uint16) * 257
    image = pillow_heif.from_bytes("RGB;16", (width, height), samples.tobytes())
    file = io.BytesIO()
    image.save(file, quality=20, chroma=444)
    return file.getvalue()


def _icon(width: int, height: int) -> bytes:
    png = _pillow("PNG", "RGBA")(width, height)
    return struct.pack("<3H4B2H2I", 0, 1, 1, 0, 0, 0, 0, 1, 32, len(png), 22) + png


def _bitmap_with_masks(width: int, height: int) -> bytes:
    pixels = bytes(width * height * 4)
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<I2i2H6I", 56, width, height, 1, 32, 3, len(pixels), 0, 0, 0, 0) + masks
    return struct.pack("<2sI4xI", b"BM", 14 + len(header) + len(pixels), 14 + len(header)) + header + pixels


def _tiny_tiles(width: int, height: int) -> bytes:
    """A JPEG 2000 header of some ten thousand tiles, of which none follows."""
    side = max(1, int((width * height / 60_000) ** 0.5))
    size = struct.pack(">H8IH", 0, width, height, 0, 0, side, side, 0, 0, 3) + b"\x07\x01\x01" * 3
    coding, quantization = b"\0\0\0\1\1\5\4\4\0\1", b"\x40\x40" + b"\x48\x48\x50" * 5
    segments = ((0xFF51, size), (0xFF52, coding), (0xFF5C, quantization))
    markers = b"".join(struct.pack(">2H", code, len(data) + 2) + data for code, data in segments)
    return b"\xff\x4f" + markers + struct.pack(">3HI2BH", 0xFF90, 10, 0, 14, 0, 1, 0xFF93) + b"\xff\xd9"


def _false_size(encode: Callable[[int, int], bytes]) -> Callable[[int, int], bytes]:
    """A HEIF or AVIF file that gives a small size in its header."""

    def encode_falsely(width: int, height: int) -> bytes:
        return encode(width, height).replace(struct.pack(">2I", width, height), struct.pack(">2I", 64, 64))

    return encode_falsely


# The layouts that take most in each format.  The first word is the format's name.
FILES: dict[str, Callable[[int, int], bytes]] = {
    "JPEG": _pillow("JPEG"),
    "JPEG progressive": _pillow("JPEG", progressive=True, subsampling=0),
    "JPEG progressive CMYK": _pillow("JPEG", "CMYK", progressive=True),
    "PNG": _png(8, 2, 3),
    "PNG palette, transparent": _pillow("PNG", "P", transparency=0),
    "PNG 16 bits, alpha": _png(16, 6, 4),
    "GIF transparent": _pillow("GIF", "P", transparency=0),
    "WEBP": _pillow("WEBP", method=0),
    "WEBP lossless, alpha": _pillow("WEBP", "RGBA", lossless=True, method=0),
    "HEIF": _pillow("HEIF", "RGBA", quality=20),
    "HEIF 10 bits": _heif,
    "HEIF false size": _false_size(_pillow("HEIF", quality=20)),
    "AVIF": _pillow("AVIF", speed=10, quality=20, subsampling="4:4:4"),
    "AVIF false size": _false_size(_pillow("AVIF", speed=10, quality=20)),
    "TIFF LZW": _pillow("TIFF", "CMYK", compression="tiff_lzw"),
    "TIFF 16 bits, alpha": _tiff("uint16", "RGBA", photometric="rgb"),
    "TIFF floating point": _tiff("float64", "L"),
    "TIFF one large tile": _tiff("uint8", "L", tile=(4096, 4096)),
    "BMP masks": _bitmap_with_masks,
    "DIB": _pillow("DIB"),
    "ICO": _icon,
    "PPM": _pillow("PPM"),
    "PPM 16 bits": lambda width, height: b"P5\n%d %d\n65535\n" % (width, height) + bytes(2 * width * height),
    "JPEG2000": _pillow("JPEG2000", quality_mode="rates", quality_layers=[200], irreversible=True),
    "JPEG2000 alpha": _pillow("JPEG2000", "RGBA", quality_mode="rates", quality_layers=[200]),
    "JPEG2000 tiny tiles": _tiny_tiles,
}


def write_files(folder: Path, megapixels: float) -> None:
    """Write each file whose size is within the limits; other layouts cannot be that large."""
    width = round((megapixels * 4e6 / 3) ** 0.5)
    for name, encode in FILES.items():
        body = encode(width, width * 3 // 4)
        if len(body) <= Settings().max_image_bytes:
            (folder / name).write_bytes(body)


def decode_alone(path: Path) -> dict[str, Any]:
    """Decode one file in this process, which should be a new one; return what it took and what is counted, bytes."""
    body = path.read_bytes()
    limits = _limits()
    decode = functools.partial(decode_file, height=SIDE, width=SIDE, limits=limits)
    counted = decoding_bytes(read_header(io.BytesIO(body)), body, _DRAFT_SIZE)
    for encode in (FILES[path.name], FILES["TIFF floating point"]):
        _outcome(decode, encode(32, 32))  # what libraries allocate once
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # resets the peak, see proc(5)
    before = psutil.Process().memory_info().rss
    outcome = _outcome(decode, body)
    return {
        "kind": path.name,
        "held_bytes": round(peak_rss_mib() * MIB) - before,
        "counted_bytes": counted,
        "in_own_process": needs_own_process(body),
        "outcome": outcome,
    }


def decode_together(paths: list[Path]) -> dict[str, Any]:
    """Decode all files with a worker's threads and interpreters; return the peak of this process and its children."""
    settings = Settings()
    bundle = load_bundle(REPOSITORY_ROOT / settings.model_bundle)
    cores = os.cpu_count() or 1
    classifier = Classifier(bundle, cores, settings.top_k)
    decode = functools.partial(decode_file, height=bundle.input.height, width=bundle.input.width, limits=_limits())
    quarantine = Quarantine(decode)

    def answer(path: Path) -> str:
        body = path.read_bytes()
        return _outcome(quarantine.decode if needs_own_process(body) else decode, body, classifier)

    done = threading.Event()
    peaks: list[float] = []
    watcher = threading.Thread(target=_watch, args=(done, peaks), daemon=True)
    watcher.start()
    started = time.monotonic()
    with ThreadPoolExecutor(IO_THREADS_PER_CORE * cores) as pool:
        outcomes = list(pool.map(answer, paths))
    seconds = time.monotonic() - started
    done.set()
    watcher.join()
    quarantine.close()
    return {
        "threads": IO_THREADS_PER_CORE * cores,
        "files": len(paths),
        "decoded": outcomes.count("decoded"),
        "seconds": round(seconds, 1),
        "peak_mib": round(max(peaks)),
        "bound_mib": settings.decode_memory_bytes // MIB + BASE_MIB,
    }


def _limits() -> DecodeLimits:
    settings = Settings()
    return DecodeLimits(
        settings.max_image_bytes, settings.max_image_pixels, settings.max_aspect_ratio, settings.decode_memory_bytes
    )


def _outcome(decode: Callable[[bytes], Any], body: bytes, classifier: Classifier | None = None) -> str:
    try:
        decoded = decode(body)
    except (ImageError, MemoryError, QuarantineError) as error:
        return f"{type(error).__name__}: {error}"[:100]
    if classifier is not None:
        classifier.classify([decoded.pixels])
    return "decoded"


def _watch(done: threading.Event, peaks: list[float]) -> None:
    process = psutil.Process()
    while not done.wait(_SAMPLE_SECONDS):
        total = process.memory_info().rss
        for child in process.children():
            try:
                total += child.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        peaks.append(total / MIB)


def measure(megapixels: float, *, together: bool = True) -> dict[str, Any]:
    """Write the files and measure each alone, then all together, each time in a new process; return the report."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _in_process("write", str(folder), str(megapixels))
        paths = sorted(folder.iterdir())
        report: dict[str, Any] = {
            "megapixels": megapixels,
            "files": [_in_process("alone", str(path)) for path in paths],
            "left_out": sorted(FILES.keys() - {path.name for path in paths}),
        }
        if together:
            report["together"] = _in_process("together", str(folder))
    return report


def problems(report: dict[str, Any]) -> list[str]:
    """A sentence for each bound that does not hold."""
    found = [
        f"{entry['kind']}: {format_bytes(entry['held_bytes'])} held, {format_bytes(entry['counted_bytes'])} counted"
        for entry in report["files"]
        if entry["held_bytes"] > entry["counted_bytes"] and not entry["in_own_process"]
    ]
    together = report.get("together")
    if together is not None and together["peak_mib"] > together["bound_mib"]:
        peak, bound = (format_bytes(together[name] * MIB) for name in ("peak_mib", "bound_mib"))
        found.append(f"together: {peak}, more than {bound}")
    return found


def _in_process(*arguments: str) -> Any:
    command = [sys.executable, "-m", "benchmarks.decode_memory", "part", *arguments]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY_ROOT).stdout
    return json.loads(output or "null")


def _part(kind: str, *arguments: str) -> None:
    """One part of the measurement, in a process of its own."""
    if kind == "write":
        write_files(Path(arguments[0]), float(arguments[1]))
    elif kind == "alone":
        print(json.dumps(decode_alone(Path(arguments[0]))))
    else:
        print(json.dumps(decode_together(sorted(Path(arguments[0]).iterdir()))))


def _table(report: dict[str, Any]) -> Table:
    table = Table(title=f"Memory to decode {report['megapixels']:g} megapixels", title_justify="left")
    for column in ("file", "held, MiB", "counted, MiB"):
        table.add_column(column, justify="left" if column == "file" else "right")
    for entry in report["files"]:
        counted = "in a child" if entry["in_own_process"] else f"{entry['counted_bytes'] / MIB:.0f}"
        table.add_row(entry["kind"], f"{entry['held_bytes'] / MIB:.0f}", counted)
    if together := report.get("together"):
        table.add_row(f"all, {together['threads']} threads", str(together["peak_mib"]), str(together["bound_mib"]))
    return table


@click.command("decode-memory")
@click.option(
    "--megapixels", type=click.FloatRange(0.1, 60), default=60.0, show_default=True, help="Size of each picture."
)
@json_option
def command(megapixels: float, json_path: Path | None) -> None:
    """Measure what decoding takes, kind by kind and all at once, against what a worker counts."""
    report = measure(megapixels) | {"machine": machine()}
    Console().print(_table(report))
    if json_path is not None:
        write_json(report, json_path)
    for problem in (found := problems(report)):
        Console(stderr=True).print(problem, style="red", highlight=False)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["part"]:
        _part(*sys.argv[2:])
    else:
        command()
