"""Odd and malformed image files, made of a committed photo, and whether each can be decoded."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image

pillow_heif.register_heif_opener()

Made = tuple[str, bytes, bool]


def make_odd_images(photo: Path) -> list[Made]:
    """The name, the content and whether it can be decoded, of each file."""
    with Image.open(photo) as opened:
        image = opened.convert("RGB").resize((160, 120))
    whole = _encode(image, "JPEG")
    png = _encode(image, "PNG")
    return [*_unusual(image), *_damaged(whole, png)]


def _unusual(image: Image.Image) -> list[Made]:
    """What clients seldom send, and every decoder must read."""
    deep = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    turned = Image.Exif()
    turned[274] = 6  # the camera was held upright
    frames = [image.convert("P"), image.rotate(90).convert("P")]
    made: list[tuple[str, Image.Image, str, dict[str, Any]]] = [
        ("progressive.jpg", image, "JPEG", {"progressive": True}),
        ("cmyk.jpg", image.convert("CMYK"), "JPEG", {}),
        ("gray.jpg", image.convert("L"), "JPEG", {}),
        ("turned.jpg", image, "JPEG", {"exif": turned}),
        ("turned.tif", image, "TIFF", {"exif": turned}),
        ("photo.heic", image, "HEIF", {}),
        ("one-pixel.jpg", image.resize((1, 1)), "JPEG", {}),
        ("long.jpg", image.resize((800, 4)), "JPEG", {}),
        ("alpha.png", image.convert("RGBA"), "PNG", {}),
        ("palette.png", image.convert("P"), "PNG", {}),
        ("16-bit.png", deep, "PNG", {}),
        ("animated.gif", frames[0], "GIF", {"save_all": True, "append_images": frames[1:]}),
        ("lossy.webp", image, "WEBP", {}),
        ("plain.bmp", image, "BMP", {}),
        ("two-level.tif", image.convert("1"), "TIFF", {}),
        ("compressed.tif", image, "TIFF", {"compression": "tiff_lzw"}),
        ("stereo.mpo", image, "MPO", {"save_all": True, "append_images": [image.rotate(1)]}),
        # The content decides, not the ending.
        ("a-png.jpg", image, "PNG", {}),
    ]
    files = [(name, _encode(picture, format, **options), True) for name, picture, format, options in made]
    return [*files, ("no-end-marker.jpg", files[0][1][:-2], True)]


def _damaged(jpeg: bytes, png: bytes) -> list[Made]:
    """What is no image, or no longer one."""
    bomb = bytearray(png)
    bomb[16:24] = struct.pack(">II", 60_000, 60_000)
    made: dict[str, bytes] = {
        "cut-off.jpg": jpeg[: len(jpeg) // 2],
        "cut-off.png": png[: len(png) // 2],
        "letter.jpg": b"%PDF-1.7 a letter",
        "head-only.jpg": jpeg[:4],
        "text.jpg": b"this is no image",
        "page.png": b"<!doctype html><title>404</title>",
        "empty.jpg": b"",
        "zeros.gif": bytes(1000),
        "bomb.png": bytes(bomb),
    }
    return [(name, content, False) for name, content in made.items()]


def _encode(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def write_odd_images(photo: Path, folder: Path) -> list[tuple[Path, bool]]:
    """Writes the files; returns their paths, and whether each can be decoded."""
    written = []
    for name, content, decodes in make_odd_images(photo):
        (folder / name).write_bytes(content)
        written.append((folder / name, decodes))
    return written
